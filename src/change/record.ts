import type { DeadCause } from './dead-cause.ts';
import type { LogOffset, SourcePosition } from './position.ts';
import type { SchemaChangeRecord } from './table-change.ts';
import type { TableId } from './table-id.ts';
import type { RowImage } from './value.ts';

/** Debezium's c, u, d, r, t. */
export type Op = 'create' | 'update' | 'delete' | 'read' | 'truncate';

/** A record of the event log as it was read: bytes, undecoded. */
export interface LogRecord extends LogOffset {
  /** Broker or producer time, epoch milliseconds. */
  readonly timestampMs: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly (readonly [name: string, value: Buffer])[];
}

/** Bytes of a record on the heap, for budgets. */
export function recordBytes(record: LogRecord): number {
  return (record.key?.length ?? 0) + (record.value?.length ?? 0) + 128;
}

/** Marks a change as a part of a source transaction (provide.transaction.metadata). */
export interface TransactionMark {
  /** The transaction's identity: on PostgreSQL the part of Debezium's id before the colon. */
  readonly id: string;
  readonly totalOrder: bigint;
}

interface Change {
  readonly kind: 'change';
  readonly table: TableId;
  /** The name that it was sent under, where its table gave that up since, if only for a while. */
  readonly formerly?: TableId;
  readonly at: LogOffset;
  /**
   * The image of the key columns that the shadow's catalogue names, whatever the message key was.
   * Null for truncates and keyless tables.
   */
  readonly key: RowImage | null;
  /** The old row. Null unless the connector sends it (REPLICA IDENTITY FULL, binlogs). */
  readonly before: RowImage | null;
  /** The new row. Null for deletes and truncates. */
  readonly after: RowImage | null;
  /**
   * For the create half of a key change: the row's old key. On an update: the row left that key in
   * this very event, and no delete of it comes.
   */
  readonly oldKey: RowImage | null;
  /** For the delete half of a key change: the row's new key. */
  readonly newKey: RowImage | null;
  readonly source: SourcePosition;
  /** 'incremental' marks rows read by an incremental snapshot at a time of their own. */
  readonly snapshot: 'no' | 'initial' | 'incremental';
  /** Commit time in production, epoch milliseconds; null where the connector sent none. */
  readonly eventTimeMs: number | null;
  readonly transaction: TransactionMark | null;
  /** Bytes of the record, for budgets. */
  readonly bytes: number;
}

export interface RowChange extends Change {
  readonly op: Op;
}

/**
 * A change that cannot be read, of which the topic and the message key tell the table and the keys
 * it touches: it can be set aside, and not applied. Its place in production's log and its transaction
 * are known where what surrounds the rows can be read; with a message key it is no truncate.
 */
export interface UnreadChange extends Change {
  readonly op: 'unread';
  readonly cause: DeadCause;
  /** It holds back all rows of its table, whichever they are: from it on, they wait together. */
  readonly holds?: true;
  readonly before: null;
  readonly after: null;
}

export type ChangeEvent = RowChange | UnreadChange;

export interface TransactionBoundary {
  readonly kind: 'begin' | 'end';
  readonly at: LogOffset;
  readonly id: string;
  /** Only on `end`: events per `schema.table`, in Debezium's data_collection spelling. */
  readonly counts: ReadonlyMap<string, bigint> | null;
  readonly eventTimeMs: number | null;
  /** Only on `end`, where its id tells it: the place in production's log behind the commit. */
  readonly committedAt?: bigint;
}

/** What needs no row written but moves the position. */
export interface OtherRecord {
  readonly kind: 'tombstone' | 'heartbeat' | 'message' | 'ignored' | 'gap';
  readonly at: LogOffset;
  readonly eventTimeMs: number | null;
  /** Of `ignored`: its transaction's END counts it all the same, with changes of a table that is followed. */
  readonly passedOver?: PassedOver;
}

/** A change that was passed over, of a table of before whose name another one has. */
export interface PassedOver {
  /** The transaction's id. */
  readonly transaction: string;
  /** As Debezium counts it: `schema.table`. */
  readonly collection: string;
}

/**
 * One decoded record. `at.offset` is the record's own offset; a `gap` stands for offsets that
 * hold no record (control records, compaction): all before `at.offset + 1` is passed.
 */
export type DecodedRecord = ChangeEvent | TransactionBoundary | SchemaChangeRecord | OtherRecord;
