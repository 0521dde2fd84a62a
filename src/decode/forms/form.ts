/**
 * The shapes in which a change reaches the log: Debezium's own envelope, or what a transform or a
 * converter of the connector made of it. Each has a reader beside this file that gives the same
 * `SentChange`; what a form cannot carry stands in `limits.ts`.
 */
import type { LogOffset, SourcePosition } from '../../change/position.ts';
import type {
  ChangeEvent,
  LogRecord,
  Op,
  OtherRecord,
  TransactionBoundary,
  TransactionMark,
} from '../../change/record.ts';
import type { SchemaChangeRecord } from '../../change/table-change.ts';
import { tableName, type TableId } from '../../change/table-id.ts';
import type { Connector } from '../connectors/connector.ts';
import type { ConnectSchema } from '../envelope/connect-schema.ts';
import type { Exactness } from '../envelope/exact-number.ts';
import type { RecordOpener } from '../envelope/opener.ts';
import type { SchemaRef } from '../envelope/schema-store.ts';

export type RecordForm = 'debezium' | 'flat' | 'cloudevents';

/** delete.tombstone.handling.mode of ExtractNewRecordState. */
export type FlatDeletes =
  'drop' | 'tombstone' | 'rewrite' | 'rewrite-with-tombstone' | 'delete-to-tombstone';

/** A row as it was sent, not read yet. */
export interface SentRow {
  readonly schema: ConnectSchema | null;
  readonly row: unknown;
  /** It may have fields `__…` that the form added and that are no columns. */
  readonly extended: boolean;
}

/** A change of rows, as far as the form says it. */
export interface SentChange {
  readonly kind: 'sent';
  readonly op: Op;
  readonly table: TableId;
  readonly before: SentRow | null;
  readonly after: SentRow | null;
  /** A key change in one record: the row leaves the key that the header names. */
  readonly moves: boolean;
  readonly position: SourcePosition;
  readonly snapshot: ChangeEvent['snapshot'];
  readonly eventTimeMs: number | null;
  readonly transaction: TransactionMark | null;
}

export type Sent = SentChange | TransactionBoundary | SchemaChangeRecord | OtherRecord;

/** Reads the records of one form. */
export interface FormReader {
  /** Throws a Problem (RECORD_CORRUPT, RECORD_UNKNOWN, TABLE_UNKNOWN and those of the opener). */
  read(record: LogRecord, exactness: Exactness): Sent;
  /** The schemas that must be fetched before `read`, and the reading of the key, can be done. */
  missing(record: LogRecord): readonly SchemaRef[];
}

/** What every form's reader needs. */
export interface FormContext {
  readonly connector: Connector;
  readonly topicPrefix: string;
  readonly opener: RecordOpener;
}

export const OPS: ReadonlyMap<unknown, Op> = new Map([
  ['c', 'create'],
  ['u', 'update'],
  ['d', 'delete'],
  ['r', 'read'],
  ['t', 'truncate'],
]);

/** A record without rows. */
export function other(
  kind: OtherRecord['kind'],
  at: LogOffset,
  eventTimeMs: number | null = null,
): OtherRecord {
  return { kind, at, eventTimeMs };
}

export function placeOf({ topic, partition, offset }: LogRecord): LogOffset {
  return { topic, partition, offset };
}

/** The first header of that name. A plain loop: this runs twice for every change. */
export function headerNamed(headers: LogRecord['headers'], name: string): Buffer | null {
  for (let i = 0; i < headers.length; i += 1) {
    const header = headers[i];
    if (header !== undefined && header[0] === name) return header[1];
  }
  return null;
}

/** A change of a table that is not here. `isCounted`: tables of its name are followed. */
export function passedOver(
  record: LogRecord,
  { eventTimeMs, table, transaction }: SentChange,
  isCounted: boolean,
): OtherRecord {
  const other = { kind: 'ignored', at: placeOf(record), eventTimeMs } as const;
  if (!isCounted || transaction === null) return other;
  return { ...other, passedOver: { transaction: transaction.id, collection: tableName(table) } };
}
