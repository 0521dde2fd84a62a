import { describe, expect, test } from 'vitest';
import type { SourcePosition } from '../../../src/change/position.ts';
import { expectedSchema, isSent, lossesOf } from '../../../src/decode/column.ts';
import type { ConnectSchema } from '../../../src/decode/envelope/connect-schema.ts';
import type { ConnectorModes } from '../../../src/decode/modes.ts';
import type { ColumnSchema, ColumnType } from '../../../src/schema/table-schema.ts';
import { columnOf } from '../../support/read-column.ts';

type Connector = SourcePosition['connector'];

describe('what is lost of a column', () => {
  const ids = (
    connector: Connector,
    type: ColumnType,
    modes: ConnectorModes,
    schema: ConnectSchema | null = expectedSchema({ connector, modes }, columnOf(type)),
  ): readonly string[] => lossesOf(connector, schema, columnOf(type)).map(({ id }) => id);
  const timestamp6: ColumnType = { sql: 'timestamp', kind: 'timestamp' };
  const timestamp3: ColumnType = { sql: 'timestamp(3)', kind: 'timestamp', precision: 3 };
  const numeric: ColumnType = { sql: 'numeric', kind: 'numeric' };
  const times: ColumnType = {
    sql: 'time[]',
    kind: 'array',
    element: { sql: 'time', kind: 'time' },
  };

  test('follows from the modes', () => {
    expect(ids('postgresql', timestamp6, { time: 'connect' })).toEqual(['time-connect']);
    expect(ids('postgresql', timestamp3, { time: 'connect' })).toEqual([]);
    expect(ids('postgresql', timestamp6, { time: 'microseconds' })).toEqual(['timestamp-range']);
    expect(ids('postgresql', numeric, { decimal: 'precise' })).toEqual([
      'numeric-nan',
      'numeric-scale',
    ]);
    expect(ids('postgresql', numeric, { decimal: 'double' })).toEqual(['decimal-double']);
    expect(ids('postgresql', numeric, { decimal: 'string' })).toEqual([]);
    expect(
      ids('postgresql', { sql: 'interval', kind: 'interval' }, { interval: 'string' }),
    ).toEqual(['interval-infinity']);
    expect(ids('postgresql', times, { time: 'connect' })).toEqual([
      ...['array-bounds', 'array-dimensions', 'array-time', 'time-connect'],
    ]);
    expect(
      ids('mysql', { sql: 'time', kind: 'time', precision: 0 }, { time: 'isostring' }),
    ).toEqual(['time-midnight', 'time-beyond-day']);
    expect(
      ids(
        'mysql',
        { sql: 'bigint unsigned', kind: 'int64', unsigned: true },
        { bigintUnsigned: 'long' },
      ),
    ).toEqual([]);
  });

  test('follows from an observed schema', () => {
    expect(ids('mysql', { sql: 'tinyint(1)', kind: 'int16' }, {}, { type: 'boolean' })).toEqual([
      'boolean-integer',
    ]);
    expect(ids('mysql', { sql: 'double', kind: 'float64' }, {}, { type: 'float' })).toEqual([
      'real-as-float',
    ]);
    expect(ids('mysql', { sql: 'float', kind: 'float32' }, {}, { type: 'double' })).toEqual([
      'float4-null',
    ]);
    expect(ids('mysql', { sql: 'float(7,3)', kind: 'float32' }, {}, { type: 'double' })).toEqual([
      'float-snapshot',
    ]);
  });

  test('is another one on MariaDB, which wraps in nanoseconds and has no JSON of its own', () => {
    const datetime: ColumnType = { sql: 'datetime', kind: 'timestamp', precision: 0 };
    expect(ids('mysql', datetime, { time: 'nanoseconds' })).toContain('timestamp-nanoseconds');
    expect(ids('mariadb', datetime, { time: 'nanoseconds' })).not.toContain(
      'timestamp-nanoseconds',
    );
  });

  test('comes with the setting and its cure', () => {
    const schema: ConnectSchema = { type: 'double' };
    expect(lossesOf('postgresql', schema, columnOf(numeric, 'price'))).toEqual([
      {
        column: 'price',
        id: 'decimal-double',
        setting: 'decimal.handling.mode=double',
        loses: 'digits beyond the 15 to 17 that a double has',
        cure: 'decimal.handling.mode=string or precise',
      },
    ]);
  });

  test('is all of it where the column is not sent', () => {
    expect(ids('postgresql', { sql: 'public.comp', kind: 'composite' }, {}, null)).toEqual([
      'columns-omitted',
    ]);
  });
});

test('whether a column is sent is known beforehand', () => {
  const arrayOf = (element: ColumnType): ColumnSchema =>
    columnOf({ sql: `${element.sql}[]`, kind: 'array', element });
  const money: ColumnType = { sql: 'money', kind: 'money' };
  const composite: ColumnType = { sql: 'public.comp', kind: 'composite' };
  const domain: ColumnType = { sql: 'public.d_num', kind: 'numeric' };
  const sent = (each: ColumnSchema): readonly boolean[] =>
    [false, true].map((unknown) => isSent('postgresql', each, unknown));
  expect(sent(columnOf(money))).toEqual([true, true]);
  expect(sent(columnOf(domain))).toEqual([true, true]);
  expect(sent(columnOf(composite))).toEqual([false, true]);
  expect(sent(arrayOf(composite))).toEqual([false, true]);
  expect(sent(arrayOf(domain))).toEqual([false, true]);
  expect(sent(arrayOf(money))).toEqual([false, false]);
  expect(sent(arrayOf({ sql: 'name', kind: 'text' }))).toEqual([false, false]);
  expect(isSent('mysql', columnOf({ sql: 'json', kind: 'json' }), false)).toBe(true);
});
