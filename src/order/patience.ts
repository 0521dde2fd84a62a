/** A caller that did not ask for so long was held up itself: that is no stall of the log. */
const ABSENCE_MS = 5_000;

/** How long is waited for what may never come. */
export class Patience {
  readonly #limitMs: number;
  readonly #now: () => number;
  #sinceMs: number | null = null;
  #askedMs: number | null = null;
  #ended = false;

  constructor(limitMs: number, now: () => number) {
    this.#limitMs = limitMs;
    this.#now = now;
  }

  /** Has somebody ended it for the next that waits? */
  get isEnded(): boolean {
    return this.#ended;
  }

  /** To be called whenever somebody asks. How long nobody did, if that is a frozen caller's absence. */
  asked(): number {
    const now = this.#now();
    const absent = this.#askedMs === null ? 0 : now - this.#askedMs;
    this.#askedMs = now;
    if (absent <= ABSENCE_MS) return 0;
    if (this.#sinceMs !== null) this.#sinceMs += absent;
    return absent;
  }

  /** Something went: the wait for the next begins when it is asked for. */
  restart(): void {
    this.#sinceMs = null;
  }

  /** Ends it for the next that waits. */
  end(): void {
    this.#ended = true;
  }

  /** What waits was let go for another reason than the limit. */
  used(): void {
    this.#ended = false;
  }

  /** Has nothing come since then that could end the wait, for too long? */
  isOver(lastMs: number): boolean {
    const now = this.#now();
    this.#sinceMs ??= now;
    if (!this.#ended && now - Math.max(this.#sinceMs, lastMs) < this.#limitMs) return false;
    this.#ended = false;
    return true;
  }
}
