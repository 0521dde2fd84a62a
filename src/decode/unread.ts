/** What the topic and the message key tell of a change that cannot be read. */
import type { DeadCause } from '../change/dead-cause.ts';
import { recordBytes, type LogRecord, type UnreadChange } from '../change/record.ts';
import type { TableId } from '../change/table-id.ts';
import type { RowImage } from '../change/value.ts';
import type { Connector } from './connectors/connector.ts';
import { NeedExact } from './envelope/exact-number.ts';
import type { RecordOpener } from './envelope/opener.ts';
import { placeOf, type SentChange } from './forms/form.ts';
import { headerKey, namesAnotherKey, NEW_KEY, OLD_KEY } from './header-keys.ts';
import { Problem } from './problem.ts';
import type { TableReader } from './table-reader.ts';

interface Surrounded {
  readonly connector: Connector;
  readonly cause: DeadCause;
  /**
   * What surrounds the rows, if that can be read. Then the change keeps its place in production's log
   * and its transaction, which else would wait for it as if a record were missing.
   */
  readonly sent: Pick<SentChange, 'position' | 'eventTimeMs' | 'transaction'> | null;
}

interface Parts extends Surrounded {
  readonly opener: RecordOpener;
  /** Of the table that the topic is named for. */
  readonly reader: TableReader;
}

/**
 * Null if the keys that it touches are not known for certain: without a message key, or one that has
 * not the table's whole key, that has what is no column (a transform brought several tables together
 * and tells them apart by it), or that cannot be read either.
 */
export function unreadChange(record: LogRecord, parts: Parts): UnreadChange | null {
  if (record.value === null) return null;
  try {
    const keys = parts.reader.table.key.length === 0 ? NO_KEYS : keysOf(record, parts);
    if (keys === null) return null;
    return { ...changeOf(record, { ...parts, table: parts.reader.table.id }), ...keys };
  } catch (error) {
    if (error instanceof Problem || error instanceof NeedExact) return null;
    if (error instanceof RangeError) return null;
    throw error;
  }
}

/** With all rows of its table, whichever it touches. */
export function heldChange(
  record: LogRecord,
  parts: Surrounded & { readonly table: TableId },
): UnreadChange {
  return { ...changeOf(record, parts), holds: true };
}

function changeOf(
  record: LogRecord,
  { connector, cause, table, sent }: Surrounded & { readonly table: TableId },
): UnreadChange {
  return {
    ...{ kind: 'change', op: 'unread', cause, table, at: placeOf(record), ...NO_KEYS },
    ...{ before: null, after: null, snapshot: 'no', bytes: recordBytes(record) },
    source: sent?.position ?? connector.position({}),
    eventTimeMs: sent?.eventTimeMs ?? null,
    transaction: sent?.transaction ?? null,
  };
}

type Keys = Readonly<Record<'key' | 'oldKey' | 'newKey', RowImage | null>>;

const NO_KEYS: Keys = { key: null, oldKey: null, newKey: null };

function keysOf(record: LogRecord, { opener, reader }: Parts): Keys | null {
  if (record.key === null) return null;
  const opened = opener.open(record, 'key', record.key, 'exact');
  const reading = reader.reading('exact', false);
  const key = reader.wholeKey(opened.schema, opened.payload, reading);
  if (key === null) return null;
  if (!namesAnotherKey(record.headers)) return { ...NO_KEYS, key };
  const other = (name: typeof OLD_KEY | typeof NEW_KEY): RowImage | null =>
    headerKey(record, name, { opener, reader, reading, key: opened });
  const [oldKey, newKey] = [other(OLD_KEY), other(NEW_KEY)];
  return oldKey === null && newKey === null ? null : { key, oldKey, newKey };
}
