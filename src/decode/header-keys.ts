/** The other key of a key change, which Debezium says in a header of each half. */
import type { LogRecord } from '../change/record.ts';
import type { RowImage } from '../change/value.ts';
import type { Opened } from './envelope/json.ts';
import type { RecordOpener } from './envelope/opener.ts';
import { headerNamed } from './forms/form.ts';
import type { RowReading } from './row-codec.ts';
import type { TableReader } from './table-reader.ts';

/** Of a key change: the half that deletes names the new key, the half that creates the old one. */
export const OLD_KEY = '__debezium.oldkey';
export const NEW_KEY = '__debezium.newkey';

/** A plain loop: most records have headers, but none of these. */
export function namesAnotherKey(headers: LogRecord['headers']): boolean {
  for (let i = 0; i < headers.length; i += 1) {
    const name = headers[i]?.[0];
    if (name === OLD_KEY || name === NEW_KEY) return true;
  }
  return false;
}

/**
 * JSON text in a header, of the types of the record's key. Null if the header is not there, or has
 * not the table's key: then the halves are a delete and an insert of their own.
 */
export function headerKey(
  record: LogRecord,
  name: typeof OLD_KEY | typeof NEW_KEY,
  by: {
    readonly opener: RecordOpener;
    readonly reader: TableReader;
    readonly reading: RowReading;
    /** The message key. */
    readonly key: Opened;
  },
): RowImage | null {
  const bytes = headerNamed(record.headers, name);
  if (bytes === null) return null;
  const opened = by.opener.openJson(`${record.topic}#${name}`, bytes, by.reading.exactness);
  return by.reader.key(by.key.schema, opened.payload, by.reading);
}
