/**
 * How long who applies waits for rows that others are at. At first as the servers do at least; who held a row for
 * as long holds it on, mostly, so that nobody of the table is waited for in the time that follows: what is held
 * waits by itself (waiting-rows.ts). So a transaction that idles costs one such wait, and not one for each batch.
 */
import { steadyNow } from '../../../util/clock.ts';
import { withSettings, type Client } from '../session/client.ts';
import type { Flavour } from '../session/flavour.ts';

/** Longer waits are the caller's, who tries again. Whole seconds; MySQL's least. */
export const LOCK_WAIT_S = 1;
const TIMEOUT = 'innodb_lock_wait_timeout';
const IMPATIENT_MS = 10_000;
/** Between two tries of what can be found out only by waiting: at first, and at most. */
const PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 8_000;

/** Of one table, in a session that applies. */
export class Patience {
  readonly engine: Flavour['engine'];
  #overUntil = 0;
  #insertsUntil = 0;
  #tryAt = 0;
  #pauseMs = PAUSE_MS;

  constructor(engine: Flavour['engine']) {
    this.engine = engine;
  }

  /** Nobody is waited for. */
  get isOver(): boolean {
    return steadyNow() < this.#overUntil;
  }

  end(): void {
    this.#overUntil = steadyNow() + IMPATIENT_MS;
  }

  /** The last row that was inserted had to wait, and nothing tells which others need not. */
  get doubtsInserts(): boolean {
    return steadyNow() < this.#insertsUntil;
  }

  doubtInserts(): void {
    this.#insertsUntil = steadyNow() + IMPATIENT_MS;
  }

  /** Whether what could be found out only by waiting may be tried again. */
  get mayTry(): boolean {
    return this.engine === 'mariadb' || steadyNow() >= this.#tryAt;
  }

  waitedInVain(): void {
    this.#tryAt = steadyNow() + this.#pauseMs;
    this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS);
  }

  succeeded(): void {
    this.#insertsUntil = 0;
    this.#tryAt = 0;
    this.#pauseMs = PAUSE_MS;
  }

  /** Runs what waits as long as it may: where patience is over not at all, as far as the server can. */
  during<T>(client: Client, fn: () => Promise<T>, isOver = this.isOver): Promise<T> {
    if (this.engine !== 'mariadb' || !isOver) return fn();
    return withSettings(client, `${TIMEOUT} = 0`, `${TIMEOUT} = ${String(LOCK_WAIT_S)}`, fn);
  }
}
