/** Who holds the rollout's fence in the storm, how it is killed, and who comes after it. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Fence, ShadowServer } from '../../../src/dialect/dialect.ts';
import type { WaitingShadow } from '../../../src/dialect/waiting.ts';
import type { MigratingShadow } from '../../../src/dialect/migrating.ts';
import { isUnderstudyError } from '../../../src/errors/understudy-error.ts';
import type { Random } from '../random.ts';

export interface Holder {
  readonly database: MigratingShadow & WaitingShadow;
  readonly fence: Fence;
}

export type Acted<T> =
  | { readonly kind: 'done'; readonly value: T }
  /** It gave way to the candidate, and did nothing. */
  | { readonly kind: 'blocked' }
  /** The holder was killed meanwhile: whether it was done is not known. Another one holds the fence. */
  | { readonly kind: 'lost' };

/**
 * - `break`: its connections break, and what the server is doing goes on
 * - `end`: the server ends its sessions
 * - `stop`: it is silent, and another one takes over while it goes on
 */
const KILLS = ['break', 'end', 'stop'] as const;
type Kill = (typeof KILLS)[number];

/** How often a new holder asks for the fence; sessions take a moment to end. */
const TRIES = 400;

export interface HoldersOptions {
  readonly server: ShadowServer;
  readonly rollout: string;
  readonly random: Random;
  readonly signal: AbortSignal;
  readonly note: (line: string) => void;
  /** Ends the holder's sessions at the server. */
  readonly end: () => Promise<void>;
}

export class Holders {
  readonly #options: HoldersOptions;
  readonly #leaving: Promise<unknown>[] = [];
  #now: Holder | null = null;
  #serial = 0;
  /** By how they were killed. */
  readonly kills: Record<Kill, number> = { break: 0, end: 0, stop: 0 };

  constructor(options: HoldersOptions) {
    this.#options = options;
  }

  get now(): Holder {
    if (this.#now === null) throw new Error('nobody holds the fence');
    return this.#now;
  }

  /** An act of the holder's, which is killed in its midst at random: with `likelihood`, within some ms. */
  async act<T>(
    what: string,
    act: (holder: Holder) => Promise<T>,
    { likelihood, withinMs }: { readonly likelihood: number; readonly withinMs: number },
  ): Promise<Acted<T>> {
    const { random, note } = this.#options;
    const holder = this.now;
    const kill = random.chance(likelihood) ? random.pick(KILLS) : null;
    const after = random.integer(0, withinMs);
    const acted = act(holder).then(
      (value) => ({ kind: 'done', value }) as const,
      (error: unknown) => ({ kind: 'failed', error }) as const,
    );
    if (kill !== null) {
      const first = await Promise.race([acted, pause(after).then(() => null)]);
      if (first === null || random.chance(0.3)) {
        note(
          `${what}: ${kill} after ${String(after)} ms${first === null ? '' : ', when it was over'}`,
        );
        await this.#strike(holder, kill);
        await this.takeOver();
        const late = await acted;
        this.#leave(holder.database);
        if (late.kind === 'failed' && !isKilled(late.error)) throw late.error;
        return { kind: 'lost' };
      }
    }
    const over = await acted;
    note(`${what} ${over.kind}`);
    if (over.kind === 'done') return over;
    if (isUnderstudyError(over.error, 'APPLY_BLOCKED')) return { kind: 'blocked' };
    throw over.error;
  }

  async #strike({ database }: Holder, kill: Kill): Promise<void> {
    this.kills[kill] += 1;
    if (kill === 'break') database.breakConnections();
    if (kill === 'end') await this.#options.end();
  }

  /** A new holder: it opens the database anew, and may be killed as well while it takes the fence. */
  async takeOver(): Promise<void> {
    const { server, rollout, random, signal, note } = this.#options;
    this.#now = null;
    for (let i = 0; i < TRIES; i += 1) {
      signal.throwIfAborted();
      const database = (await server.open(rollout)) as Holder['database'] | null;
      if (database === null) throw new Error('there is no such rollout');
      this.#serial += 1;
      const taken = database.takeFence(`storm/${String(this.#serial)}`).catch((error: unknown) => {
        if (isKilled(error)) return null;
        throw error;
      });
      if (random.chance(0.15)) {
        await Promise.race([taken, pause(random.integer(0, 150))]);
        note(`a new holder: break`);
        await this.#strike({ database } as Holder, 'break');
        await taken;
        this.#leave(database);
        continue;
      }
      const fence = await taken;
      if (fence !== null) {
        this.#now = { database, fence };
        return;
      }
      this.#leave(database);
      await pause(25);
    }
    throw new Error('nobody can take the fence');
  }

  #leave(database: Holder['database']): void {
    this.#leaving.push(Promise.allSettled([database[Symbol.asyncDispose]()]));
  }

  async end(): Promise<void> {
    if (this.#now !== null) this.#leave(this.#now.database);
    await Promise.all(this.#leaving);
  }
}

/** What a holder is told that is killed. */
function isKilled(error: unknown): boolean {
  return isUnderstudyError(error, 'SHADOW_UNREACHABLE', 'FENCED', 'APPLY_BLOCKED');
}
