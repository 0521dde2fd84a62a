/**
 * `understudy run`: follows the trunk and every rollout, each by a runner of its own. Rollouts
 * that appear are picked up, expired ones are deleted. A rollout that cannot go on is marked
 * `failed` and the others go on; a trunk that cannot go on, or a lost fence, ends the process.
 */
import type { ControlStore, RolloutRow } from '../dialect/dialect.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import { sleep } from '../util/wait.ts';
import type { RuntimeContext } from './context.ts';
import { removeRollout } from './remove-rollout.ts';
import { runDatabase, type RunState } from './runner.ts';
import { ensureTrunk } from './trunk.ts';

/** Clocks that differ by less are told of nowhere. */
const CLOCKS_APART_MS = 60_000;

export interface SuperviseOptions {
  readonly signal: AbortSignal;
  /** Only these databases: `trunk` or rollout names. Null for all. */
  readonly only: ReadonlySet<string> | null;
  readonly onState?: (name: string, state: RunState) => void;
}

/** Runs until the signal aborts; rejects with what ended it otherwise. */
export async function supervise(context: RuntimeContext, options: SuperviseOptions): Promise<void> {
  const { database } = await ensureTrunk(context);
  await database[Symbol.asyncDispose]();
  const control = await context.control();
  await new Supervisor(context, control, options).run();
}

class Supervisor {
  readonly #context: RuntimeContext;
  readonly #control: ControlStore;
  readonly #options: SuperviseOptions;
  readonly #stop = new AbortController();
  readonly #runners = new Map<string, Promise<void>>();
  /** Expired rollouts, by name, that this process deletes or soon tries to delete again. */
  readonly #expiring = new Map<string, Promise<void>>();
  #away = false;
  #clocksApart = false;
  #failure: unknown = null;

  constructor(context: RuntimeContext, control: ControlStore, options: SuperviseOptions) {
    this.#context = context;
    this.#control = control;
    this.#options = options;
  }

  async run(): Promise<void> {
    await this.#warnOfUnknown();
    const onAbort = (): void => {
      this.#stop.abort(new UnderstudyError('INTERRUPTED', 'understudy run was stopped'));
    };
    this.#options.signal.addEventListener('abort', onAbort, { once: true });
    if (this.#options.signal.aborted) onAbort();
    try {
      if (this.#wanted('trunk')) this.#start('trunk', this.#context.config.trunk.name, 'trunk');
      for (const row of await this.#control.rollouts()) await this.#retryFailed(row);
      while (!this.#stop.signal.aborted) {
        await this.#tendAll();
        await sleep(500, this.#stop.signal).catch(() => undefined);
      }
    } finally {
      this.#stop.abort();
      this.#options.signal.removeEventListener('abort', onAbort);
      await Promise.all([...this.#runners.values(), ...this.#expiring.values()]);
    }
    if (this.#failure !== null) throw this.#failure;
  }

  #wanted(name: string): boolean {
    return this.#options.only === null || this.#options.only.has(name);
  }

  /** A name that is not there may yet be made; a misspelt one would follow nothing in silence. */
  async #warnOfUnknown(): Promise<void> {
    const known = new Set((await this.#control.rollouts()).map((row) => row.name)).add('trunk');
    for (const name of this.#options.only ?? []) {
      if (!known.has(name)) this.#context.logger.warn('there is no such rollout yet', { name });
    }
  }

  /** A new `run` tries rollouts again that an earlier one gave up. */
  async #retryFailed(row: RolloutRow): Promise<void> {
    if (row.state === 'failed' && this.#wanted(row.name)) {
      await this.#control.updateRollout(row.name, { state: 'following' });
    }
  }

  /** A server that is away for a moment ends nothing: the followers wait for it likewise. */
  async #tendAll(): Promise<void> {
    try {
      const rows = await this.#control.rollouts();
      const nowMs = await this.#agreedNow(rows);
      for (const row of rows) this.#tend(row, nowMs);
      this.#away = false;
    } catch (error) {
      if (!isUnderstudyError(error, 'SHADOW_UNREACHABLE')) throw error;
      if (!this.#away) this.#context.logger.warn('cannot look for rollouts', { error });
      this.#away = true;
    }
  }

  /**
   * The earlier of our clock and the server's: a rollout and what its candidate wrote must not be
   * deleted because one of them was set wrongly.
   */
  async #agreedNow(rows: readonly RolloutRow[]): Promise<number> {
    const own = Date.now();
    if (!rows.some((row) => row.expiresAt !== null && row.expiresAt.getTime() < own)) return own;
    const theirs = (await this.#control.now()).getTime();
    const apart = own - theirs > CLOCKS_APART_MS;
    if (apart && !this.#clocksApart) {
      const what = 'our clock is ahead of the shadow server’s: rollouts expire by the latter';
      this.#context.logger.warn(what, { aheadMs: own - theirs });
    }
    this.#clocksApart = apart;
    return Math.min(own, theirs);
  }

  #tend(row: RolloutRow, nowMs: number): void {
    if (!this.#wanted(row.name) || this.#expiring.has(row.name)) return;
    if (row.state !== 'following' && row.state !== 'failed') return;
    if (row.expiresAt !== null && row.expiresAt.getTime() < nowMs) {
      this.#context.logger.info('the rollout has expired', { rollout: row.name });
      const ending = this.#expire(row).finally(() => {
        this.#expiring.delete(row.name);
      });
      this.#expiring.set(row.name, ending);
      return;
    }
    if (row.state === 'following' && !this.#runners.has(row.database)) {
      this.#start(row.name, row.database, 'rollout');
    }
  }

  /** Carried out by the runner that holds it, here or in another process. Never rejects. */
  async #expire(row: RolloutRow): Promise<void> {
    const { signal } = this.#stop;
    try {
      await removeRollout(this.#context, row, { timeoutMs: 60_000, signal });
    } catch (error) {
      // Another process was faster.
      if (signal.aborted || isUnderstudyError(error, 'ROLLOUT_NOT_FOUND', 'TRUNK_NOT_FOUND'))
        return;
      const what = 'an expired rollout could not be deleted; trying again in a minute';
      this.#context.logger.error(what, { rollout: row.name, error });
      await sleep(60_000, signal).catch(() => undefined);
    }
  }

  #start(name: string, database: string, kind: 'trunk' | 'rollout'): void {
    const runner = runDatabase(this.#context, {
      database,
      kind,
      signal: this.#stop.signal,
      onState: (state) => this.#options.onState?.(name, state),
    })
      .catch((error: unknown) => this.#onFailure(name, kind, error))
      .finally(() => {
        this.#runners.delete(database);
      });
    this.#runners.set(database, runner);
  }

  async #onFailure(name: string, kind: 'trunk' | 'rollout', error: unknown): Promise<void> {
    if (kind === 'trunk' || isUnderstudyError(error, 'FENCED')) {
      this.#failure ??= error;
      this.#stop.abort();
      return;
    }
    this.#context.logger.error('the rollout cannot go on', { rollout: name, error });
    try {
      await this.#control.updateRollout(name, { state: 'failed' });
    } catch (reason) {
      this.#context.logger.error('could not note that', { rollout: name, error: reason });
    }
  }
}
