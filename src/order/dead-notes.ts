/** What is set aside of the changes, and how a batch changes that: see dead-keys.ts for the rules. */
import type { DeadCause } from '../change/dead-cause.ts';
import type { LogOffset } from '../change/position.ts';
import type { TableId } from '../change/table-id.ts';
import type { KnownValue } from '../change/value.ts';

export interface NewLetter extends DeadCause {
  readonly id: string;
  /** The table whose rows are concerned: of a partition its root. */
  readonly table: TableId;
  /** The event that cannot be applied. */
  readonly at: LogOffset;
  readonly transactionId: string | null;
}

export interface DeadKey {
  readonly letter: string;
  readonly table: TableId;
  readonly id: string;
  /** In key order; null for all rows of the table. */
  readonly key: readonly KnownValue[] | null;
}

export interface DeadEvent {
  readonly letter: string;
  readonly at: LogOffset;
  /** As the event names it: perhaps a partition. */
  readonly table: TableId;
  /** It could not be read: where in production's log it belongs only its partition tells. */
  readonly unread: boolean;
}

/** What a batch changes in the letters. Taken in this order: merged, cleared, the rest. */
export interface DeadNotes {
  /** All that belongs to `from` belongs to `into` afterwards. */
  readonly merged: readonly { readonly from: string; readonly into: string }[];
  readonly cleared: readonly string[];
  readonly letters: readonly NewLetter[];
  readonly keys: readonly DeadKey[];
  /** In the order in which they would have been applied. */
  readonly events: readonly DeadEvent[];
}
