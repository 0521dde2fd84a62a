/**
 * `understudy run`: follows the trunk and every rollout, each by a runner of its own. Rollouts
 * that appear are picked up, expired ones are deleted. A rollout that cannot go on is marked
 * `failed` and the others go on; a trunk that cannot go on, or a lost fence, ends the process.
 */
import type { ControlStore, RolloutRow } from '../dialect/dialect.ts';
import { isUnderstudyError } from '../errors/understudy-error.ts';
import { sleep } from '../util/wait.ts';
import type { RuntimeContext } from './context.ts';
import { perform } from './requests.ts';
import { runDatabase } from './runner.ts';
import { ensureTrunk } from './trunk.ts';

export interface SuperviseOptions {
  readonly signal: AbortSignal;
  /** Only these databases: `trunk` or rollout names. Null for all. */
  readonly only: ReadonlySet<string> | null;
  readonly onState?: (name: string, state: 'standing-by' | 'following' | 'ended') => void;
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
  #failure: unknown = null;

  constructor(context: RuntimeContext, control: ControlStore, options: SuperviseOptions) {
    this.#context = context;
    this.#control = control;
    this.#options = options;
  }

  async run(): Promise<void> {
    const onAbort = (): void => {
      this.#stop.abort();
    };
    this.#options.signal.addEventListener('abort', onAbort, { once: true });
    if (this.#options.signal.aborted) onAbort();
    try {
      if (this.#wanted('trunk')) this.#start('trunk', this.#context.config.trunk.name, 'trunk');
      for (const row of await this.#control.rollouts()) await this.#retryFailed(row);
      while (!this.#stop.signal.aborted) {
        for (const row of await this.#control.rollouts()) await this.#tend(row);
        await sleep(500, this.#stop.signal).catch(() => undefined);
      }
    } finally {
      this.#stop.abort();
      this.#options.signal.removeEventListener('abort', onAbort);
      await Promise.all(this.#runners.values());
    }
    if (this.#failure !== null) throw this.#failure;
  }

  #wanted(name: string): boolean {
    return this.#options.only === null || this.#options.only.has(name);
  }

  /** A new `run` tries rollouts again that an earlier one gave up. */
  async #retryFailed(row: RolloutRow): Promise<void> {
    if (row.state === 'failed' && this.#wanted(row.name)) {
      await this.#control.updateRollout(row.name, { state: 'following' });
    }
  }

  async #tend(row: RolloutRow): Promise<void> {
    if (!this.#wanted(row.name) || row.state !== 'following') return;
    if (row.expiresAt !== null && row.expiresAt.getTime() < Date.now()) {
      this.#context.logger.info('the rollout has expired', { rollout: row.name });
      await this.#control.updateRollout(row.name, { state: 'deleting' });
      // Carried out by the runner that holds it, here or in another process.
      void perform(this.#context, {
        kind: 'rollout-delete',
        database: row.database,
        args: { name: row.name },
        timeoutMs: 60_000,
      }).catch((error: unknown) => {
        this.#context.logger.error('an expired rollout could not be deleted', {
          rollout: row.name,
          error,
        });
      });
      return;
    }
    if (!this.#runners.has(row.database)) this.#start(row.name, row.database, 'rollout');
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
    await this.#control.updateRollout(name, { state: 'failed' });
  }
}
