import type { TransactionAssembler } from '../order/assembler.ts';
import type { MemoryCredit } from './memory-credit.ts';

/** Of budgets: while more is held, what waits is given up, for it would end the process. */
const MOST_BUDGETS = 4;

export interface RoomOptions {
  /** The source's budget. */
  readonly budgetBytes: number;
  readonly assembler: Pick<TransactionAssembler, 'stream' | 'degrade'>;
  /** May a transaction go in parts that is not here as a whole? */
  readonly mayStream: boolean;
  /** Those that must not go in parts that belong together. */
  readonly apart: ReadonlySet<string>;
}

/**
 * To be called when nothing can be applied. Hands back what is held, so that the source reads on;
 * beyond one budget the transaction in turn goes in parts, so that what is held does not grow with
 * it. True if something can be applied now.
 */
export function makeRoom(credit: MemoryCredit, options: RoomOptions): boolean {
  const { budgetBytes, assembler, mayStream, apart } = options;
  const held = credit.heldBytes;
  if (held <= budgetBytes / 2) return false;
  if (held > budgetBytes && mayStream && assembler.stream(apart)) return true;
  if (held > budgetBytes * MOST_BUDGETS) assembler.degrade();
  credit.lend();
  return false;
}
