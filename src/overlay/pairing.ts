/**
 * Which tables have rows that both sides make of the same thing under keys of their own, as mirrored requests
 * do where servers hand out ids; and by which columns, as production names them, such rows are the same.
 */
import type { TableId } from '../change/table-id.ts';

export interface PairRule {
  readonly columns: readonly string[];
  /** It names the table, and no pattern: the table has to have these columns. */
  readonly isExact: boolean;
}

/** Null: rows of the table are the same by their key alone. */
export type PairsOn = (table: TableId) => PairRule | null;
