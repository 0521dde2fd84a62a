/**
 * Counts the bytes handed out and not yet released, so that a source stops reading while more
 * than its budget is outstanding. The limit may be overshot by what one read returns.
 */
export class ByteBudget {
  readonly #limit: number;
  #outstanding = 0;
  #waiters: (() => void)[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  get full(): boolean {
    return this.#outstanding > this.#limit;
  }

  take(bytes: number): void {
    this.#outstanding += bytes;
  }

  release(bytes: number): void {
    this.#outstanding -= bytes;
    if (!this.full) this.#wake();
  }

  /** Resolves as soon as there is room, or when the signal aborts. */
  async whenFree(signal: AbortSignal): Promise<void> {
    while (this.full && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const done = (): void => {
          signal.removeEventListener('abort', done);
          resolve();
        };
        signal.addEventListener('abort', done, { once: true });
        this.#waiters.push(done);
      });
    }
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter();
  }
}
