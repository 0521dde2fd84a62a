import type { DecodedRecord } from '../change/record.ts';
import { steadyNow } from '../util/clock.ts';

/** How many of the last pauses between heartbeats are looked at. */
const PAUSES = 3;

/**
 * When something last came from the log, and when something was last written: by these the idle are
 * told from the stalled. Times are epoch milliseconds of the steady clock.
 */
export class Pulse {
  readonly #now: () => number;
  readonly #pauses: number[] = [];
  #heartbeatTimeMs: number | null = null;
  #recordMs: number;
  #heartbeatMs: number | null = null;
  #writtenMs: number;

  constructor(now: () => number = steadyNow) {
    this.#now = now;
    this.#recordMs = now();
    this.#writtenMs = now();
  }

  /** A record came, of whatever kind. */
  came(record: Pick<DecodedRecord, 'kind' | 'eventTimeMs'>): void {
    this.#recordMs = this.#now();
    if (record.kind !== 'heartbeat') return;
    this.#heartbeatMs = this.#recordMs;
    // By the connector's own clock: of a backlog they come all at once.
    const [before, time] = [this.#heartbeatTimeMs, record.eventTimeMs];
    this.#heartbeatTimeMs = time;
    if (before === null || time === null || time <= before) return;
    this.#pauses.push(time - before);
    if (this.#pauses.length > PAUSES) this.#pauses.shift();
  }

  wrote(): void {
    this.#writtenMs = this.#now();
  }

  /** Since the last record; since the beginning, if none came. */
  get silentMs(): number {
    return this.#now() - this.#recordMs;
  }

  /** Since the last heartbeat; null if none came. */
  get heartbeatMs(): number | null {
    return this.#heartbeatMs === null ? null : this.#now() - this.#heartbeatMs;
  }

  /** The least of the last pauses between two heartbeats; null if not two came. */
  get heartbeatEveryMs(): number | null {
    return this.#pauses.length === 0 ? null : Math.min(...this.#pauses);
  }

  /** Since the last commit; since the beginning, if there was none. */
  get unwrittenMs(): number {
    return this.#now() - this.#writtenMs;
  }
}
