/** Pauses shorter than this are saved up. */
const SHORTEST_PAUSE_MS = 4;

/** Spaces records as their own times are, or a factor faster. */
export class Pacer {
  readonly #factor: number | null;
  #first: { readonly recorded: number; readonly now: number } | null = null;

  constructor(pace: 'full' | 'recorded' | number) {
    this.#factor = pace === 'full' ? null : pace === 'recorded' ? 1 : pace;
  }

  /** Milliseconds to wait before a record of this time (epoch milliseconds) is due; 0 if it is. */
  pauseBefore(recordedMs: number): number {
    if (this.#factor === null) return 0;
    const now = performance.now();
    this.#first ??= { recorded: recordedMs, now };
    const due = this.#first.now + (recordedMs - this.#first.recorded) / this.#factor;
    return due - now < SHORTEST_PAUSE_MS ? 0 : due - now;
  }
}
