import type { SourcePosition } from '../change/position.ts';

/** What one snapshot of production sees. Pure: made from the snapshot's text. */
export interface SnapshotView {
  /** Engine text of the snapshot, e.g. `100:104:100,102`. */
  readonly snapshot: string;
  /** Is the change's transaction part of the snapshot? Null if its source does not tell. */
  sees(source: SourcePosition): boolean | null;
  /** The same by the id that its boundaries bear (TransactionBoundary.id). */
  seesTransaction(id: string): boolean | null;
  /**
   * Is this source transaction part of the snapshot? Takes Debezium's 32-bit xid. This and the next
   * are false on engines whose transactions have none.
   */
  visible(txId: number): boolean;
  /** True if no transaction as old as `txId`, or older, was still running in the snapshot. */
  complete(txId: number): boolean;
}

/**
 * How a snapshot and the log are tied together: by the ids of the transactions that it sees, or by the
 * place in the log where it was taken.
 */
export type PinProof = 'xid-barrier' | 'log-position';
