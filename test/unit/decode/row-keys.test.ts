/**
 * Where a change's key comes from: the row where it is known to be real and to have kept its key,
 * else the message key.
 */
import { expect, test } from 'vitest';
import type { ChangeEvent, LogRecord } from '../../../src/change/record.ts';
import { imageValue, type ColumnValue, type RowImage } from '../../../src/change/value.ts';
import type { ColumnType, SchemaCatalogue } from '../../../src/schema/table-schema.ts';
import { captureDecoder, DEFAULT_MODES } from '../../support/debezium-records.ts';
import { textTable } from '../../support/change-events.ts';

const BINARY: ColumnType = { sql: 'binary(4)', kind: 'bytes', length: 4 };
const TEXT: ColumnType = { sql: 'varchar(9)', kind: 'text' };

function catalogue(keyType: ColumnType): SchemaCatalogue {
  const table = textTable('t', ['id', 'v']);
  const columns = table.columns.map((column) =>
    column.name === 'id' ? { ...column, type: keyType } : column,
  );
  return new Map([['public.t', { ...table, columns }]]);
}

const SOURCES = {
  mysql: { connector: 'mysql', db: 'public', file: 'b.1', pos: 4, row: 0, gtid: null },
  postgresql: { connector: 'postgresql', db: 'd', schema: 'public', lsn: 99, txId: 5 },
} as const;

interface Written {
  readonly op: 'c' | 'u' | 'd';
  readonly key: unknown;
  readonly before?: unknown;
  readonly after?: unknown;
  readonly row?: object;
}

function decode(
  connector: keyof typeof SOURCES,
  { op, key, before = null, after = null, row }: Written,
  keyType: ColumnType = TEXT,
): ChangeEvent {
  const source = { ...SOURCES[connector], name: 'p', table: 't', snapshot: 'false', ts_ms: 1 };
  const payload = { before, after, source, transaction: null, op, ts_ms: 1 };
  const schema = {
    type: 'struct',
    fields: [
      { ...row, field: 'before' },
      { ...row, field: 'after' },
    ],
  };
  const value = row === undefined ? payload : { schema, payload };
  const record: LogRecord = {
    ...{ topic: 'p.public.t', partition: 0, offset: 0n, timestampMs: 0, headers: [] },
    key: Buffer.from(typeof key === 'string' ? key : JSON.stringify(key)),
    value: Buffer.from(JSON.stringify(value)),
  };
  const modes = { ...DEFAULT_MODES, binary: 'base64' } as const;
  const decoder = captureDecoder('p', catalogue(keyType), modes, null, 'debezium', connector);
  const decoded = decoder.decode(record);
  if (decoded.kind !== 'change') throw new Error('expected a change');
  return decoded;
}

const id = (image: RowImage | null): ColumnValue => image && imageValue(image, 'id');

test('an update under a message key without the table’s key is a change of the key', () => {
  const moved = decode('mysql', {
    ...{ op: 'u', key: { v: 'x' } },
    ...{ before: { id: '1', v: 'x' }, after: { id: '2', v: 'x' } },
  });
  expect([id(moved.key), id(moved.oldKey)]).toEqual(['2', '1']);
  const kept = decode('mysql', {
    ...{ op: 'u', key: { v: 'y' } },
    ...{ before: { id: '1', v: 'x' }, after: { id: '1', v: 'y' } },
  });
  expect([id(kept.key), id(kept.oldKey)]).toEqual(['1', null]);
});

test('a row without its key has that of the message', () => {
  const change = decode('mysql', { op: 'c', key: { id: '5' }, after: { v: 'x' } });
  expect(id(change.key)).toBe('5');
});

test('only a real old row gives the key of a delete', () => {
  const written = { op: 'd', key: { id: '5' }, before: { id: '0', v: '' } } as const;
  expect(id(decode('postgresql', written).key)).toBe('5');
  expect(id(decode('mysql', { ...written, before: { id: '5', v: 'x' } }).key)).toBe('5');
});

test('what only the row’s schema tells of a key holds for deletes as for inserts', () => {
  // CHAR … CHARACTER SET binary in the binlog's DDL: text, in spite of the mode.
  const parameters = {
    '__debezium.source.column.type': 'CHAR',
    '__debezium.source.column.length': '4',
  };
  const row = {
    ...{ type: 'struct', optional: true },
    fields: [
      { field: 'id', type: 'string', optional: false, parameters },
      { field: 'v', type: 'string', optional: true },
    ],
  };
  const key = {
    schema: { type: 'struct', fields: [{ field: 'id', type: 'string', optional: false }] },
    payload: { id: 'abcd' },
  };
  const image = { id: 'abcd', v: 'x' };
  const created = decode('mysql', { op: 'c', key, after: image, row }, BINARY);
  const deleted = decode('mysql', { op: 'd', key, before: image, row }, BINARY);
  expect(Buffer.from(id(created.key) as Uint8Array).toString()).toBe('abcd');
  expect(id(deleted.key)).toEqual(id(created.key));
});

test.each(['5x', '{"id":"5"', ''])('a message key of the bytes %j is corrupt', (key) => {
  expect(() => decode('mysql', { op: 'c', key, after: { id: '5', v: 'x' } })).toThrowError(
    expect.objectContaining({ code: 'RECORD_CORRUPT' }) as Error,
  );
});
