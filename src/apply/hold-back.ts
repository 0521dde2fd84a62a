/**
 * Holds records back for longer than a mirrored request takes, so that the candidate has handled it before
 * production's own change of the same row comes: else it would act on its own effect (`n = n - 1` twice).
 */
import { sleep } from '../util/wait.ts';

/** How long it is remembered how far ahead a clock was; twice that at most. */
const STRETCH_MS = 60_000;

export class HoldBack {
  readonly #delayMs: number;
  readonly #now: () => number;
  /** By how much the clock that stamps records was ahead of ours, in this stretch and in the one before. */
  #ahead = { since: 0, ms: 0, beforeMs: 0 };

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
    const aheadMs = this.#aheadMs(now, timestampMs - now);
    return Math.min(this.#delayMs, Math.max(0, timestampMs - aheadMs + this.#delayMs - now));
  }

  /** One stamp that was off is forgotten: else nothing would be held back ever after. */
  #aheadMs(now: number, ms: number): number {
    if (now - this.#ahead.since > STRETCH_MS) {
      this.#ahead = { since: now, ms: 0, beforeMs: this.#ahead.ms };
    }
    this.#ahead.ms = Math.max(this.#ahead.ms, ms);
    return Math.max(this.#ahead.ms, this.#ahead.beforeMs);
  }

  /** Null if it need not wait. */
  wait(timestampMs: number, signal: AbortSignal): Promise<void> | null {
    const ms = this.waitMs(timestampMs);
    return ms === 0 ? null : sleep(ms, signal);
  }
}
