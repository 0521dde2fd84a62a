import { describe, expect, test } from 'vitest';
import type { KnownValue } from '../../../src/change/value.ts';
import type { SchemaCatalogue } from '../../../src/schema/table-schema.ts';
import { tableName } from '../../../src/change/table-id.ts';
import { isUnderstudyError } from '../../../src/errors/understudy-error.ts';
import type { ConnectorModes } from '../../../src/decode/modes.ts';
import {
  captureDecoder,
  capturedCatalogue,
  capturedRecords,
  capturedRows,
  DEFAULT_MODES,
} from '../../support/debezium-records.ts';

/** Columns whose length is not sent are read as if they had one, so that the others are seen. */
const catalogue: SchemaCatalogue = new Map(
  [...capturedCatalogue('types')].map(([name, table]) => [
    name,
    {
      ...table,
      columns: table.columns.map((column) =>
        column.type.sql.startsWith('bit varying')
          ? { ...column, type: { ...column.type, sql: 'bit(12)', length: 12 } }
          : column,
      ),
    },
  ]),
);
const rows = capturedRows();

/** As the database prints a value, so that it can be compared with the captured rows. */
function print(value: KnownValue): string | null {
  if (value === null) return null;
  if (typeof value === 'boolean') return String(value);
  if (value instanceof Uint8Array) return `\\x${Buffer.from(value).toString('hex')}`;
  if (typeof value === 'string') return value;
  return `{${value.map((item) => element(print(item))).join(',')}}`;
}

function element(text: string | null): string {
  if (text === null) return 'NULL';
  const bare = text !== '' && text.toUpperCase() !== 'NULL' && !/[{},"\\\s]/.test(text);
  const short = text === 'true' ? 't' : text === 'false' ? 'f' : text;
  return bare ? short : `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
}

/** Every value that does not read as the database prints it, as `table.column#id: ours | theirs`. */
function differences(capture: string, prefix: string, modes: ConnectorModes): readonly string[] {
  const decoder = captureDecoder(prefix, catalogue, modes);
  const found: string[] = [];
  for (const record of capturedRecords(capture)) {
    try {
      const event = decoder.decode(record);
      if (event.kind !== 'change' || event.after === null || event.op === 'update') continue;
      const { shape, values } = event.after;
      const id = Number(values[shape.index.get('id') ?? 0]);
      const name = tableName(event.table);
      const truth = rows[name]?.find((row) => row['id'] === String(id % 100));
      if (truth === undefined) continue;
      shape.columns.forEach((column, i) => {
        const value = values[i] ?? null;
        if (column === 'id' || typeof value === 'symbol') return;
        const ours = print(value);
        const theirs = truth[column] ?? null;
        if (ours !== theirs) {
          found.push(`${name.slice(7)}.${column}#${id}: ${String(ours)} | ${String(theirs)}`);
        }
      });
    } catch (error) {
      if (!isUnderstudyError(error)) throw error;
      const { table, column } = error.context;
      found.push(`${String(table).slice(7)}.${String(column)}: ${error.code}`);
    }
  }
  return found;
}

describe('captured rows read as the database prints them', () => {
  test.each([
    ['pg.types.default', 'obs_pg', DEFAULT_MODES],
    [
      'pg.types.isostring-string-hex-ivstring-unknown-propagate',
      'obs_pgiso',
      { time: 'isostring', decimal: 'string', binary: 'hex', hstore: 'json', interval: 'string' },
    ],
    [
      'pg.types.connect-double-base64-map-ivstring',
      'obs_pgconn',
      { time: 'connect', decimal: 'double', binary: 'base64', hstore: 'map', interval: 'string' },
    ],
    ['pg.types.microseconds', 'obs_pgus', { ...DEFAULT_MODES, time: 'microseconds' }],
  ] as const)('%s', (capture, prefix, modes) => {
    expect(differences(capture, prefix, modes).join('\n')).toMatchSnapshot();
  });
});
