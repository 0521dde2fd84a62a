/**
 * Holds records back for longer than a mirrored request takes, so that the candidate has handled it before
 * production's own change of the same row comes: else it would act on its own effect (`n = n - 1` twice).
 */
import { sleep } from '../util/wait.ts';

export class HoldBack {
  readonly #delayMs: number;
  readonly #now: () => number;
  /** By how much the clock that stamps records is ahead of ours, as far as it was seen. */
  #aheadMs = 0;

  /** `now`: epoch milliseconds. */
  constructor(delayMs: number, now: () => number = Date.now) {
    this.#delayMs = delayMs;
    this.#now = now;
  }

  /**
   * How long a record has to wait yet that was written to the log at `timestampMs` (negative: not known).
   * Never longer than the delay, whatever the clocks say.
   */
  waitMs(timestampMs: number): number {
    if (timestampMs < 0) return 0;
    const now = this.#now();
    this.#aheadMs = Math.max(this.#aheadMs, timestampMs - now);
    return Math.max(0, timestampMs - this.#aheadMs + this.#delayMs - now);
  }

  /** Null if it need not wait. */
  wait(timestampMs: number, signal: AbortSignal): Promise<void> | null {
    const ms = this.waitMs(timestampMs);
    return ms === 0 ? null : sleep(ms, signal);
  }
}
