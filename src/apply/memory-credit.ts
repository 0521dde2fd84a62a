/**
 * Accounts for the bytes of undecoded and unapplied records against the source's budget.
 *
 * Invariant: the source never waits for bytes that only more records could free. A transaction
 * whose remaining events lie in a partition that is not fetched, because the budget is full of
 * other partitions' events, would wait for ever; `lend` then hands the held bytes back early,
 * and what is released later pays the loan off first.
 */
export class MemoryCredit {
  readonly #released: (bytes: number) => void;
  #held = 0;
  #lent = 0;

  constructor(released: (bytes: number) => void) {
    this.#released = released;
  }

  get heldBytes(): number {
    return this.#held;
  }

  hold(bytes: number): void {
    this.#held += bytes;
  }

  free(bytes: number): void {
    this.#held -= bytes;
    const repaid = Math.min(this.#lent, bytes);
    this.#lent -= repaid;
    if (bytes > repaid) this.#released(bytes - repaid);
  }

  /** Hands back what is held: it is not, for now, counted against the budget. */
  lend(): void {
    const more = this.#held - this.#lent;
    if (more <= 0) return;
    this.#lent += more;
    this.#released(more);
  }
}
