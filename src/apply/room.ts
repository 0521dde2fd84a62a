import type { TransactionAssembler } from '../order/assembler.ts';
import type { ChangeStream } from '../source/change-source.ts';
import type { MemoryCredit } from './memory-credit.ts';

/** Of budgets: while more is held, what waits is given up, for it would end the process. */
const MOST_BUDGETS = 4;
const NONE: ReadonlySet<string> = new Set();

/**
 * What is paused may be what a transaction waits for after all, if the log holds it in no order that is
 * known: then it is read on, until little is held.
 */
const PAUSED_MS = 15_000;

export interface RoomParts {
  readonly credit: MemoryCredit;
  readonly stream: Pick<ChangeStream, 'pause'>;
  /** The source's. */
  readonly budgetBytes: number;
  readonly assembler: Pick<TransactionAssembler, 'stream' | 'degrade' | 'ahead' | 'goesInParts'>;
  /** Those that must not go in parts that belong together. */
  readonly apart: ReadonlySet<string>;
  /** Milliseconds. */
  readonly now: () => number;
}

/** Keeps what is held within bounds, by what is read. */
export class Room {
  readonly #parts: RoomParts;
  #isPaused = false;
  /** Since when nothing was applied, though it was tried. */
  #waitsSince: number | null = null;
  #inVain = false;

  constructor(parts: RoomParts) {
    this.#parts = parts;
  }

  /**
   * To be called when nothing can be applied. Hands back what is held, so that the source reads on;
   * where what is held waits for partitions that are behind, what is ahead of them is paused; and
   * beyond one budget the transaction in turn goes in parts, if it is what is held, so that that does
   * not grow with it. `mayStream`: one may that is not here as a whole. True if something can be
   * applied now.
   */
  make(mayStream: boolean): boolean {
    const { credit, budgetBytes, assembler, apart } = this.#parts;
    const held = credit.heldBytes;
    this.#waitsSince ??= this.#parts.now();
    const streams = held > budgetBytes && mayStream && assembler.stream(apart, budgetBytes / 2);
    this.#readNeeded();
    if (streams) return true;
    if (held <= budgetBytes / 2) return false;
    if (held > budgetBytes * MOST_BUDGETS) assembler.degrade();
    credit.lend();
    return false;
  }

  /** To be called when something was applied: what was freed may be what others waited for. */
  applied(freedBytes: number): void {
    // Not a mere move: a heartbeat is none of what is waited for.
    if (freedBytes > 0) this.#waitsSince = null;
    // What is read ahead of a writer that is busy waits for nothing else.
    if (this.#isPaused || this.#inVain) this.#readNeeded();
  }

  /** While more than half a budget is held, reads on only what is needed for what waits; else all. */
  #readNeeded(): void {
    const { credit, stream, budgetBytes, assembler, now } = this.#parts;
    const little = credit.heldBytes <= budgetBytes / 2;
    const since = this.#waitsSince ?? now();
    this.#inVain = !little && (this.#inVain || (this.#isPaused && now() - since > PAUSED_MS));
    // What goes in parts waits for its own partitions, too.
    const all = little || assembler.goesInParts;
    const ahead = all ? NONE : assembler.ahead(this.#inVain ? 'of truncates' : 'of all');
    this.#isPaused = ahead.size > 0;
    stream.pause(ahead);
  }
}
