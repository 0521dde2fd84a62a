import type { TransactionAssembler } from '../order/assembler.ts';

/** Of budgets: while more is held, what waits is given up, for it would end the process. */
const MOST_BUDGETS = 4;

export interface RoomOptions {
  /** The source's budget. */
  readonly budgetBytes: number;
  readonly assembler: Pick<TransactionAssembler, 'stream' | 'degrade'>;
  /** May transactions go in parts that are not here as a whole? */
  readonly mayStream: () => boolean;
  /** Those that must not go in parts that belong together. */
  readonly apart: ReadonlySet<string>;
}

/**
 * Accounts for the bytes of undecoded and unapplied records against the source's budget.
 *
 * Invariant: the source never waits for bytes that only more records could free. A transaction
 * whose remaining events lie in a partition that is not fetched, because the budget is full of
 * other partitions' events, would wait for ever; `makeRoom` then hands the held bytes back early,
 * and what is released later pays the loan off first. Beyond one budget the transaction that is in
 * turn goes in parts, so that what is held does not grow with it.
 */
export class MemoryCredit {
  readonly #released: (bytes: number) => void;
  readonly #options: RoomOptions | null;
  #held = 0;
  #lent = 0;

  /** `options`: how room is made. Default: by loans alone. */
  constructor(released: (bytes: number) => void, options: RoomOptions | null = null) {
    this.#released = released;
    this.#options = options;
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

  /** Called when nothing can be applied. True if something can be now. */
  makeRoom(): boolean {
    if (this.#options === null) {
      this.lend();
      return false;
    }
    const { budgetBytes, assembler, mayStream, apart } = this.#options;
    if (this.#held <= budgetBytes / 2) return false;
    if (this.#held > budgetBytes && mayStream() && assembler.stream(apart)) return true;
    if (this.#held > budgetBytes * MOST_BUDGETS) assembler.degrade();
    this.lend();
    return false;
  }

  /** Hands back what is held: it is not, for now, counted against the budget. */
  lend(): void {
    const more = this.#held - this.#lent;
    if (more <= 0) return;
    this.#lent += more;
    this.#released(more);
  }
}
