/** Exact inverses one by one: what no capture holds, and what is refused. */
import { describe, expect, test } from 'vitest';
import { ExactNumber } from '../../../src/decode/envelope/exact-number.ts';
import { columnReading } from '../../../src/decode/column.ts';
import type { ColumnType } from '../../../src/schema/table-schema.ts';
import {
  captureDecoder,
  capturedCatalogue,
  capturedRecords,
} from '../../support/debezium-records.ts';
import { columnOf, readValue, semantic, type ValueCase } from '../../support/read-column.ts';

const UNSIGNED = { unsigned: true } as const;
const TIME = 'io.debezium.time.';
const int = (sql: string, kind: 'int16' | 'int32' | 'int64', more: object = {}): ColumnType => ({
  ...{ sql, kind },
  ...more,
});
const HOUR = 3_600_000_000n;

describe('of MySQL and MariaDB', () => {
  const time6: ColumnType = { sql: 'time(6)', kind: 'time', precision: 6 };
  const datetime: ColumnType = { sql: 'datetime(6)', kind: 'timestamp', precision: 6 };
  const stamp: ColumnType = { sql: 'timestamp(6)', kind: 'timestamptz', precision: 6 };
  const binary4: ColumnType = { sql: 'binary(4)', kind: 'bytes', length: 4 };
  const labels: ColumnType = { sql: "enum('a','c,d')", kind: 'enum', labels: ['a', 'c,d'] };

  const CASES: readonly ValueCase[] = [
    [
      'an unsigned INTEGER in 32 bits',
      int('int unsigned', 'int32', UNSIGNED),
      { type: 'int32' },
      -1,
      '4294967295',
    ],
    [
      'an unsigned BIGINT in 64 bits',
      int('bigint unsigned', 'int64', UNSIGNED),
      { type: 'int64' },
      -1,
      '18446744073709551615',
    ],
    [
      'the least of the wrapped',
      int('bigint unsigned', 'int64', UNSIGNED),
      { type: 'int64' },
      new ExactNumber('-9223372036854775808'),
      '9223372036854775808',
    ],
    [
      'an unsigned MEDIUMINT',
      int('mediumint unsigned', 'int32', UNSIGNED),
      { type: 'int32' },
      -1,
      '16777215',
    ],
    [
      'an unsigned SMALLINT',
      int('smallint(5) unsigned', 'int16', UNSIGNED),
      { type: 'int16' },
      -2,
      '65534',
    ],
    [
      'an unsigned TINYINT',
      int('tinyint(3) unsigned zerofill', 'int16', UNSIGNED),
      { type: 'int16' },
      -1,
      '255',
    ],
    [
      'the least of an unsigned TINYINT',
      int('tinyint unsigned', 'int16', UNSIGNED),
      { type: 'int16' },
      -128,
      '128',
    ],
    [
      'an unsigned TINYINT that is less than any wrapped one',
      int('tinyint unsigned', 'int16', UNSIGNED),
      { type: 'int16' },
      -129,
      'VALUE_UNREADABLE',
    ],
    ['a signed one', int('int', 'int32'), { type: 'int32' }, -1, '-1'],
    ['a boolean', int('tinyint(1)', 'int16'), { type: 'boolean' }, true, '1'],
    [
      'a boolean without schema',
      int('tinyint(1)', 'int16'),
      { type: 'int16' },
      true,
      'VALUE_UNREADABLE',
    ],
    ['a boolean', int('tinyint(1)', 'int16'), { type: 'boolean' }, false, '0'],
    [
      'a precise BIGINT',
      int('bigint unsigned', 'int64', UNSIGNED),
      semantic('bytes', 'org.apache.kafka.connect.data.Decimal', { parameters: { scale: '0' } }),
      'AP//////////',
      '18446744073709551615',
    ],
    [
      'FLOAT(7,3)',
      { sql: 'float(7,3)', kind: 'float32' },
      { type: 'double' },
      1.100000023841858,
      '1.1',
    ],
    [
      'REAL that was sent as a float',
      { sql: 'double', kind: 'float64' },
      { type: 'float' },
      1.1,
      '1.1',
    ],
    [
      'a decimal that was sent as a double',
      { sql: 'decimal(10,3)', kind: 'numeric', precision: 10, scale: 3 },
      { type: 'double' },
      1e-7,
      '0.0000001',
    ],
    [
      'a decimal that was sent as a double',
      { sql: 'decimal(10,3)', kind: 'numeric', precision: 10, scale: 3 },
      { type: 'double' },
      2,
      '2.000',
    ],
    [
      'the longest TIME',
      time6,
      semantic('int64', `${TIME}MicroTime`),
      839n * HOUR - 1n,
      '838:59:59.999999',
    ],
    [
      'the longest negative TIME',
      time6,
      semantic('int64', `${TIME}MicroTime`),
      1n - 839n * HOUR,
      '-838:59:59.999999',
    ],
    ['a longer one', time6, semantic('int64', `${TIME}MicroTime`), 839n * HOUR, 'VALUE_UNREADABLE'],
    [
      'a TIME in nanoseconds',
      time6,
      semantic('int64', `${TIME}NanoTime`),
      -1000n,
      '-00:00:00.000001',
    ],
    ['one that is finer', time6, semantic('int64', `${TIME}NanoTime`), -1n, 'VALUE_UNREADABLE'],
    [
      'a TIME in milliseconds',
      time6,
      semantic('int32', 'org.apache.kafka.connect.data.Time'),
      86_400_000,
      '24:00:00',
    ],
    [
      'the first date',
      { sql: 'date', kind: 'date' },
      semantic('int32', `${TIME}Date`),
      -719_528,
      '0000-01-01',
    ],
    [
      'the last date',
      { sql: 'date', kind: 'date' },
      semantic('int32', 'org.apache.kafka.connect.data.Date'),
      2_932_896,
      '9999-12-31',
    ],
    [
      'a later one',
      { sql: 'date', kind: 'date' },
      semantic('int32', `${TIME}Date`),
      2_932_897,
      'VALUE_UNREADABLE',
    ],
    [
      'an earlier one',
      { sql: 'date', kind: 'date' },
      semantic('string', `${TIME}IsoDate`),
      '-0001-01-01Z',
      'VALUE_UNREADABLE',
    ],
    [
      'a DATETIME before the epoch',
      datetime,
      semantic('int64', `${TIME}MicroTimestamp`),
      -1n,
      '1969-12-31 23:59:59.999999',
    ],
    [
      'a DATETIME in the year 9999, wrapped',
      datetime,
      semantic('int64', `${TIME}NanoTimestamp`),
      -4_852_116_232_933_722_624n,
      '9999-12-31 23:59:59',
    ],
    [
      'a DATETIME in the year 2024',
      datetime,
      semantic('int64', `${TIME}NanoTimestamp`),
      1_704_067_200_000_001_000n,
      '2024-01-01 00:00:00.000001',
    ],
    [
      'the zero TIMESTAMP',
      stamp,
      semantic('string', `${TIME}ZonedTimestamp`),
      '1970-01-01T00:00:00.000000Z',
      '0000-00-00 00:00:00+00',
    ],
    [
      'the first TIMESTAMP',
      stamp,
      semantic('string', `${TIME}ZonedTimestamp`),
      '1970-01-01T00:00:00.000001Z',
      '1970-01-01 00:00:00.000001+00',
    ],
    [
      'one with digits padded',
      stamp,
      semantic('string', `${TIME}ZonedTimestamp`),
      '2024-02-29T10:11:12.120000Z',
      '2024-02-29 10:11:12.12+00',
    ],
    [
      'YEAR 0000 of the stream',
      { sql: 'year', kind: 'year' },
      semantic('int32', `${TIME}Year`),
      1900,
      '0000',
    ],
    [
      'a year out of range',
      { sql: 'year', kind: 'year' },
      semantic('int32', `${TIME}Year`),
      2156,
      'VALUE_UNREADABLE',
    ],
    [
      'a label with its comma escaped',
      labels,
      semantic('string', 'io.debezium.data.Enum'),
      String.raw`c\,d`,
      'c,d',
    ],
    [
      'a label with its comma as it is',
      labels,
      semantic('string', 'io.debezium.data.Enum'),
      'c,d',
      'c,d',
    ],
    ['an invalid label', labels, semantic('string', 'io.debezium.data.Enum'), '', ''],
    [
      'labels that cannot be told apart',
      { ...labels, labels: ['c,d', String.raw`c\,d`] },
      semantic('string', 'io.debezium.data.Enum'),
      String.raw`c\,d`,
      'VALUE_UNREADABLE',
    ],
    [
      'a label with a backslash of its own',
      { ...labels, labels: [String.raw`c\,d`] },
      semantic('string', 'io.debezium.data.Enum'),
      String.raw`c\,d`,
      String.raw`c\,d`,
    ],
    ['BINARY that lost its padding', binary4, { type: 'bytes' }, 'YWI=', Buffer.from('ab\0\0')],
    [
      'CHAR of bytes, sent as text',
      binary4,
      { type: 'string' },
      'ab',
      Buffer.from('ab\0\0'),
      { binary: 'bytes' },
    ],
    [
      'CHAR of bytes that are no text',
      binary4,
      { type: 'string' },
      'é',
      'VALUE_UNREADABLE',
      { binary: 'bytes' },
    ],
    [
      'CHAR of bytes, told by its source type',
      binary4,
      { type: 'string', parameters: { '__debezium.source.column.type': 'CHAR' } },
      '6162',
      Buffer.from('6162'),
      { binary: 'hex' },
    ],
    [
      'BINARY in hex',
      binary4,
      { type: 'string', parameters: { '__debezium.source.column.type': 'BINARY BINARY' } },
      '6162',
      Buffer.from('ab\0\0'),
      { binary: 'hex' },
    ],
    ['bytes in a mode that is not declared', binary4, { type: 'string' }, '6162', 'TYPE_UNKNOWN'],
    [
      'VARBINARY as text in a mode of bytes',
      { sql: 'varbinary(4)', kind: 'bytes', length: 4 },
      { type: 'string' },
      'ab',
      'TYPE_UNKNOWN',
      { binary: 'bytes' },
    ],
    [
      'bits',
      { sql: 'bit(12)', kind: 'bits', length: 12 },
      semantic('bytes', 'io.debezium.data.Bits'),
      'AQA=',
      '000000000001',
    ],
    [
      'a vector',
      { sql: 'vector(2)', kind: 'vector' },
      semantic('array', 'io.debezium.data.FloatVector', { items: { type: 'float' } }),
      [1.5, 0.1],
      Buffer.from('0000c03fcdcccc3d', 'hex'),
    ],
    [
      'a geometry with an srid',
      { sql: 'point', kind: 'geometry' },
      semantic('struct', 'io.debezium.data.geometry.Point'),
      { x: 20, y: 10, wkb: 'AQEAAAAAAAAAAAA0QAAAAAAAACRA', srid: 4326 },
      Buffer.from('e6100000010100000000000000000034400000000000002440', 'hex'),
    ],
    [
      'a geometry that is none',
      { sql: 'point', kind: 'geometry' },
      semantic('struct', 'io.debezium.data.geometry.Point'),
      { wkb: 'AQ==', srid: null },
      'VALUE_UNREADABLE',
    ],
    [
      'a kind of another engine',
      { sql: 'hstore', kind: 'hstore' },
      { type: 'map' },
      {},
      'TYPE_UNKNOWN',
    ],
  ];

  test.each(CASES.map((each) => [each[0], each] as const))('%s', (_, each) => {
    expect(readValue('mysql', each)).toEqual(each[4]);
    expect(readValue('mariadb', each)).toEqual(each[4]);
  });
});

describe('a table that the connector knows from the DDL in the binlog', () => {
  const row = (
    name: string,
    prefix: string,
    connector: 'mysql' | 'mariadb',
    f4: string,
  ): unknown => {
    const catalogue = new Map(
      [...capturedCatalogue(connector)].map(([id, table]) => [
        id,
        {
          ...table,
          columns: table.columns.map((each) =>
            each.name === 'a_f4' ? { ...each, type: { ...each.type, sql: f4 } } : each,
          ),
        },
      ]),
    );
    const decoder = captureDecoder(
      prefix,
      catalogue,
      { binary: 'bytes' },
      null,
      'debezium',
      connector,
    );
    for (const record of capturedRecords(name)) {
      if (!record.topic.endsWith('.al')) continue;
      const event = decoder.decode(record);
      if (event.kind !== 'change' || event.after === null) continue;
      const { shape, values } = event.after;
      return Object.fromEntries(shape.columns.map((each, i) => [each, values[i]]));
    }
    return null;
  };

  test.each([
    ['mysql', 'obs_myal'],
    ['mariadb', 'obs_maal'],
  ] as const)('reads as the same rows as from a snapshot (%s)', (connector, prefix) => {
    const snapshot = row(`${connector}.probe.alias-snapshot`, `${prefix}2`, connector, 'float');
    const lost = { a_f4: null, ...(connector === 'mysql' && { a_js: '{"a":1}' }) };
    expect(snapshot).toMatchObject({ a_integer_u: '4294967295', a_bool: '1', a_e: 'a,b' });
    // As if its FLOAT4 were one that may be NULL.
    const ddl = row(`${connector}.probe.alias-ddl-in-binlog`, prefix, connector, 'float(7,3)');
    expect(ddl).toEqual({ ...(snapshot as object), ...lost });
  });

  test.each([
    ['mysql', 'obs_myal'],
    ['mariadb', 'obs_maal'],
  ] as const)('has FLOAT4 that is always NULL, which is refused (%s)', (connector, prefix) => {
    const reading = (): unknown =>
      row(`${connector}.probe.alias-ddl-in-binlog`, prefix, connector, 'float');
    expect(reading).toThrow(
      expect.objectContaining({
        code: 'VALUE_UNREADABLE',
        context: expect.objectContaining({ column: 'a_f4' }) as unknown,
      }),
    );
  });
});

test('NULL in a FLOAT that takes none is a FLOAT4 that the connector could not convert', () => {
  const type: ColumnType = { sql: 'float', kind: 'float32' };
  const lost = (nullable: boolean): string | null =>
    columnReading(
      { connector: 'mysql', modes: {} },
      { type: 'float' },
      { ...columnOf(type), nullable },
    ).lostNull;
  expect(lost(true)).toBeNull();
  expect(lost(false)).toMatch(/takes none.*FLOAT4.*MODIFY/);
});

describe('a text in a character set of its own', () => {
  const read = (charset: string, sent: string, connector: 'mysql' | 'mariadb' = 'mysql'): unknown =>
    readValue(connector, [
      charset,
      { sql: 'varchar(9)', kind: 'text', charset },
      { type: 'string' },
      sent,
      null,
    ]);

  test('has back the characters that arrive as others which the set has not', () => {
    expect(read('koi8u', 'a╢∙')).toBe('aЄ•');
    expect(read('sjis', '＼あ')).toBe('\\あ');
    expect(read('swe7', '[]^\\')).toBe('ÄÅÜÖ');
    expect(read('koi8r', 'a╢∙')).toBe('a╢∙');
  });

  test('is refused where the connector had no character for it', () => {
    expect(read('latin1', 'a\uFFFD')).toBe('VALUE_UNREADABLE');
    expect(read('euckr', '\uFFFDA')).toBe('VALUE_UNREADABLE');
    expect(read('gb18030', '\uFFFD')).toBe('\uFFFD');
  });

  test('is ASCII or nothing in cp932 on MariaDB', () => {
    expect(read('cp932', 'あ')).toBe('あ');
    expect(read('cp932', 'a~', 'mariadb')).toBe('a~');
    expect(read('cp932', 'あ', 'mariadb')).toBe('VALUE_UNREADABLE');
  });
});
