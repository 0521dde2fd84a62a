/** Exact inverses one by one: what no capture holds, and what is refused. */
import { describe, expect, test } from 'vitest';
import { columnReading } from '../../../src/decode/column.ts';
import type { ConnectSchema } from '../../../src/decode/envelope/connect-schema.ts';
import { ExactNumber } from '../../../src/decode/envelope/exact-number.ts';
import type { ColumnType } from '../../../src/schema/table-schema.ts';
import { columnOf, readValue, semantic, type ValueCase } from '../../support/read-column.ts';

const TIME = 'io.debezium.time.';

describe('of PostgreSQL', () => {
  const wkb = '0101000000000000000000f03f0000000000000040';
  const ewkb = '0101000020e6100000000000000000f03f0000000000000040';
  const base64 = (hex: string): string => Buffer.from(hex, 'hex').toString('base64');
  const geometry: ColumnType = { sql: 'public.geometry(Point,4326)', kind: 'geometry' };
  const GEOMETRY = semantic('struct', 'io.debezium.data.geometry.Geometry');
  const sparse: ColumnType = { sql: 'public.sparsevec(5)', kind: 'vector' };
  const SPARSE = semantic('struct', 'io.debezium.data.SparseDoubleVector');
  const varbit: ColumnType = { sql: 'bit varying(8)', kind: 'bits', length: 8 };
  const bits: ColumnType = {
    sql: 'bit(3)[]',
    kind: 'array',
    element: { sql: 'bit(3)', kind: 'bits', length: 3 },
  };
  const matrix: ColumnType = {
    sql: 'text[]',
    kind: 'array',
    element: { sql: 'text', kind: 'text' },
  };

  const CASES: readonly ValueCase[] = [
    [
      'a geometry whose srid is in its bytes',
      geometry,
      GEOMETRY,
      { wkb: base64(ewkb), srid: 4326 },
      ewkb.toUpperCase(),
    ],
    [
      'a geometry whose srid is beside them',
      geometry,
      GEOMETRY,
      { wkb: base64(wkb), srid: 4326 },
      ewkb.toUpperCase(),
    ],
    [
      'a geometry without srid',
      geometry,
      GEOMETRY,
      { wkb: base64(wkb), srid: null },
      wkb.toUpperCase(),
    ],
    [
      'a geometry in the other byte order',
      geometry,
      GEOMETRY,
      { wkb: base64('00000000013ff00000000000004000000000000000'), srid: 4326 },
      '0020000001000010E63FF00000000000004000000000000000',
    ],
    [
      'a geography',
      { sql: 'public.geography', kind: 'geometry' },
      semantic('struct', 'io.debezium.data.geometry.Geography'),
      { wkb: base64(ewkb), srid: 4326 },
      ewkb.toUpperCase(),
    ],
    [
      'a vector',
      { sql: 'public.vector(3)', kind: 'vector' },
      semantic('array', 'io.debezium.data.DoubleVector', { items: { type: 'double' } }),
      [1, 2.5, -0.1],
      '[1,2.5,-0.1]',
    ],
    [
      'a vector of 32-bit numbers',
      { sql: 'public.vector(1)', kind: 'vector' },
      semantic('array', 'io.debezium.data.DoubleVector', { items: { type: 'double' } }),
      [0.10000000149011612],
      '[0.1]',
    ],
    [
      'a half vector',
      { sql: 'public.halfvec(2)', kind: 'vector' },
      semantic('array', 'io.debezium.data.FloatVector', { items: { type: 'float' } }),
      [1.5, 2],
      '[1.5,2]',
    ],
    [
      'a sparse vector',
      sparse,
      SPARSE,
      {
        dimensions: 5,
        vector: [
          [3, 2],
          [1, 1.5],
        ],
      },
      '{1:1.5,3:2}/5',
    ],
    [
      'a sparse vector with texts as keys',
      sparse,
      SPARSE,
      { dimensions: 5, vector: { 3: 2, 1: 1.5 } },
      '{1:1.5,3:2}/5',
    ],
    [
      'a sparse vector that is none',
      sparse,
      SPARSE,
      { dimensions: 5, vector: [[1]] },
      'VALUE_UNREADABLE',
    ],
    [
      'bits whose number is not sent',
      varbit,
      semantic('bytes', 'io.debezium.data.Bits'),
      'AQ==',
      'TYPE_UNKNOWN',
    ],
    ['an array of bits', bits, semantic('bytes', 'io.debezium.data.Bits'), 'AQ==', 'TYPE_UNKNOWN'],
    [
      'an array of arrays of texts',
      matrix,
      { type: 'array', items: { type: 'string' } },
      ['[Ljava.lang.String;@7ce59c76'],
      'VALUE_UNREADABLE',
    ],
    [
      'a decimal that was sent as a double',
      { sql: 'numeric(10,2)', kind: 'numeric', precision: 10, scale: 2 },
      { type: 'double' },
      1.1,
      '1.10',
    ],
    [
      'the same without a scale',
      { sql: 'numeric', kind: 'numeric' },
      { type: 'double' },
      1.1,
      '1.1',
    ],
    [
      'no number',
      { sql: 'numeric(10,2)', kind: 'numeric', precision: 10, scale: 2 },
      { type: 'double' },
      'NaN',
      'NaN',
    ],
    [
      'a composite in base64',
      { sql: 'public.comp', kind: 'composite' },
      { type: 'string' },
      'KDEsKQ==',
      '(1,)',
      { binary: 'base64' },
    ],
    [
      'a composite in a mode that is not declared',
      { sql: 'public.comp', kind: 'composite' },
      { type: 'string' },
      'KDEsKQ==',
      'TYPE_UNKNOWN',
    ],
    ...[50_000_000, -50_000_000, 16_384].map((scale): ValueCase => [
      `a decimal of scale ${scale}`,
      { sql: 'numeric', kind: 'numeric' },
      semantic('struct', 'io.debezium.data.VariableScaleDecimal'),
      { scale, value: 'AQ==' },
      'VALUE_UNREADABLE',
    ]),
    ...['1e50000000', '1e-50000000', '1e-16384'].map((sent): ValueCase => [
      `a decimal text ${sent}`,
      { sql: 'numeric', kind: 'numeric' },
      { type: 'string' },
      sent,
      'VALUE_UNREADABLE',
    ]),
    [
      'a bare number of a huge exponent',
      { sql: 'numeric(10,2)', kind: 'numeric', precision: 10, scale: 2 },
      semantic('bytes', 'org.apache.kafka.connect.data.Decimal', { parameters: { scale: '2' } }),
      new ExactNumber('1e50000000'),
      'VALUE_UNREADABLE',
    ],
    [
      'the finest decimal',
      { sql: 'numeric', kind: 'numeric' },
      semantic('struct', 'io.debezium.data.VariableScaleDecimal'),
      { scale: 16_383, value: 'AQ==' },
      `0.${'1'.padStart(16_383, '0')}`,
    ],
    ...['abcde', 'YQ', 'YR==', 'YWJjZ', 'YWI', '_w==', '=', 'AAAA==='].map((sent): ValueCase => [
      `no base64: ${sent}`,
      { sql: 'bytea', kind: 'bytes' },
      { type: 'bytes' },
      sent,
      'VALUE_UNREADABLE',
    ]),
    ...['_x==', '/w==', '_w', 'abc'].map((sent): ValueCase => [
      `no base64 for URLs: ${sent}`,
      { sql: 'bytea', kind: 'bytes' },
      { type: 'string' },
      sent,
      'VALUE_UNREADABLE',
      { binary: 'base64-url-safe' },
    ]),
    [
      'base64 for URLs',
      { sql: 'bytea', kind: 'bytes' },
      { type: 'string' },
      '_-8=',
      Buffer.from([255, 239]),
      { binary: 'base64-url-safe' },
    ],
    [
      'half a byte in hex',
      { sql: 'bytea', kind: 'bytes' },
      { type: 'string' },
      'abc',
      'VALUE_UNREADABLE',
      { binary: 'hex' },
    ],
    [
      'a year of another engine',
      { sql: 'year', kind: 'year' },
      semantic('int32', `${TIME}Year`),
      2024,
      'TYPE_UNKNOWN',
    ],
    [
      'a timestamp that clamped',
      { sql: 'timestamp', kind: 'timestamp' },
      semantic('int64', `${TIME}MicroTimestamp`),
      2n ** 63n - 1n,
      'VALUE_UNREADABLE',
    ],
  ];

  test.each(CASES.map((each) => [each[0], each] as const))('%s', (_, each) => {
    expect(readValue('postgresql', each)).toEqual(each[4]);
  });
});

describe('an unchanged array of PostgreSQL that was not sent', () => {
  const PLACEHOLDER = '__debezium_unavailable_value';
  const BYTES = Buffer.from(PLACEHOLDER);
  const arrayOf = (element: ColumnType, items: ConnectSchema): ReturnType<typeof columnReading> =>
    columnReading(
      { connector: 'postgresql', modes: {} },
      { type: 'array', items },
      columnOf({ sql: `${element.sql}[]`, kind: 'array', element }),
    );

  test.each([
    ['a domain', { sql: 'public.d_text', kind: 'text' }],
    ['a domain over integers', { sql: 'public.d_int', kind: 'int32' }],
    ['a composite', { sql: 'public.comp', kind: 'composite' }],
  ] as const)('is unknown by NULL and by bytes, as elements of %s are sent', (_, element) => {
    const { availability } = arrayOf(element, { type: 'bytes' });
    expect(availability?.nullIsDoubtful).toBe(true);
    expect(availability?.isPlaceholder([BYTES.toString('base64')])).toBe(true);
    expect(availability?.isPlaceholder([BYTES])).toBe(true);
    expect(availability?.isPlaceholder(['YQ=='])).toBe(false);
    expect(availability?.isPlaceholder([BYTES, BYTES])).toBe(false);
  });

  test('has a text of its own in an array of texts, whose NULL is real', () => {
    const { availability } = arrayOf({ sql: 'text', kind: 'text' }, { type: 'string' });
    expect(availability?.nullIsDoubtful).toBe(false);
    expect(availability?.isPlaceholder([PLACEHOLDER])).toBe(true);
  });
});
