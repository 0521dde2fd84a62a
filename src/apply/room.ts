import type { TransactionAssembler } from '../order/assembler.ts';
import type { ChangeStream } from '../source/change-source.ts';
import type { MemoryCredit } from './memory-credit.ts';

/** Of budgets: while more is held, what waits is given up, for it would end the process. */
const MOST_BUDGETS = 4;
const NONE: ReadonlySet<string> = new Set();

/** From where records come, and what of them is held. */
export interface Reading {
  readonly credit: MemoryCredit;
  readonly stream: Pick<ChangeStream, 'pause' | 'commit'>;
}

export interface RoomOptions {
  /** The source's budget. */
  readonly budgetBytes: number;
  readonly assembler: Pick<TransactionAssembler, 'stream' | 'degrade' | 'ahead' | 'goesInParts'>;
  /** May a transaction go in parts that is not here as a whole? */
  readonly mayStream: boolean;
  /** Those that must not go in parts that belong together. */
  readonly apart: ReadonlySet<string>;
}

/**
 * To be called when nothing can be applied. Hands back what is held, so that the source reads on;
 * beyond one budget the transaction in turn goes in parts, so that what is held does not grow with
 * it; and where what is held waits for partitions that are behind, what is ahead of them is paused.
 * True if something can be applied now.
 */
export function makeRoom({ credit, stream }: Reading, options: RoomOptions): boolean {
  const { budgetBytes, assembler, mayStream, apart } = options;
  const held = credit.heldBytes;
  const streams = held > budgetBytes && mayStream && assembler.stream(apart);
  readNeeded({ credit, stream }, options);
  if (streams) return true;
  if (held <= budgetBytes / 2) return false;
  if (held > budgetBytes * MOST_BUDGETS) assembler.degrade();
  credit.lend();
  return false;
}

/**
 * While more than half a budget is held, reads on only what is needed for what waits to go; else all. To
 * be called as well when something was applied, for it may have been what others waited for.
 */
export function readNeeded(
  { credit, stream }: Reading,
  { budgetBytes, assembler }: Pick<RoomOptions, 'budgetBytes' | 'assembler'>,
): void {
  // What goes in parts waits for its own partitions, too.
  const all = credit.heldBytes <= budgetBytes / 2 || assembler.goesInParts;
  stream.pause(all ? NONE : assembler.ahead());
}
