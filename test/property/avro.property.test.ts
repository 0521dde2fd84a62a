/** A row is the same row in JSON and in Avro, whatever its values. */
import avsc from 'avsc';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { SourcePosition } from '../../src/change/position.ts';
import { RecordOpener } from '../../src/decode/envelope/opener.ts';
import { TableCodecs } from '../../src/decode/row-codec.ts';
import type { ColumnType, TableSchema } from '../../src/schema/table-schema.ts';

interface Sample {
  readonly json: unknown;
  readonly avro: unknown;
}
interface Kind {
  readonly name: string;
  readonly type: ColumnType;
  readonly connect: object;
  readonly avro: object;
  readonly values: fc.Arbitrary<Sample>;
}

/** A 64-bit integer in a JSON text: replaced after JSON.stringify, which cannot write it. */
const marked = (value: bigint): string => `#${value}#`;
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
const word = (value: number): unknown => (Number.isFinite(value) ? value : String(value));
const bytesOf = (value: Uint8Array): Sample => ({ json: base64(value), avro: Buffer.from(value) });
const int64 = fc
  .bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
  .map((value): Sample => ({ json: marked(value), avro: value }));
const column = (kind: ColumnType['kind'], sql: string, more: object = {}): ColumnType => ({
  kind,
  sql,
  ...more,
});
const DECIMAL = 'org.apache.kafka.connect.data.Decimal';

const semantic = (
  type: string,
  name: string,
  more: object = {},
): Pick<Kind, 'connect' | 'avro'> => {
  const avroType = { int32: 'int', int64: 'long' }[type] ?? type;
  return {
    connect: { type, name, ...more },
    avro: {
      type: avroType,
      'connect.name': name,
      ...('parameters' in more && { 'connect.parameters': more.parameters }),
    },
  };
};
const same = (value: unknown): Sample => ({ json: value, avro: value });

const POINT = 'io.debezium.data.geometry.Point';
const VARIABLE = 'io.debezium.data.VariableScaleDecimal';
const TIME = 'io.debezium.time.';

const finite = fc
  .double({ noNaN: true, noDefaultInfinity: true })
  .filter((value) => !Object.is(value, -0));

/** A struct with a name and the fields: their names, their types in Connect and in Avro. */
const record = (
  name: string,
  fields: readonly (readonly [field: string, connect: string, avro: string])[],
): Pick<Kind, 'connect' | 'avro'> => ({
  connect: { type: 'struct', name, fields: fields.map(([field, type]) => ({ field, type })) },
  avro: {
    type: 'record',
    name: name.split('.').at(-1),
    'connect.name': name,
    fields: fields.map(([field, , type]) => ({ name: field, type })),
  },
});

const array = (name: string, items: 'double' | 'float'): Pick<Kind, 'connect' | 'avro'> => ({
  connect: { type: 'array', name, items: { type: items } },
  avro: { type: 'array', items, 'connect.name': name },
});

const POSTGRESQL: readonly Kind[] = [
  {
    name: 'int16',
    type: column('int16', 'smallint'),
    connect: { type: 'int16' },
    avro: { type: 'int', 'connect.type': 'int16' },
    values: fc.integer({ min: -32768, max: 32767 }).map((value) => ({ json: value, avro: value })),
  },
  {
    name: 'int64',
    type: column('int64', 'bigint'),
    connect: { type: 'int64' },
    avro: { type: 'long' },
    values: int64,
  },
  {
    name: 'micros',
    type: column('time', 'time'),
    connect: { type: 'int64', name: 'io.debezium.time.MicroTime' },
    avro: { type: 'long', 'connect.name': 'io.debezium.time.MicroTime' },
    values: fc
      .bigInt({ min: 0n, max: 86_400_000_000n })
      .map((value): Sample => ({ json: marked(value), avro: value })),
  },
  {
    name: 'real',
    type: column('float32', 'real'),
    connect: { type: 'float' },
    avro: { type: 'float' },
    values: fc
      .float()
      .filter((value) => !Object.is(value, -0))
      .map((value): Sample => ({ json: word(value), avro: value })),
  },
  {
    name: 'double',
    type: column('float64', 'double precision'),
    connect: { type: 'double' },
    avro: { type: 'double' },
    values: fc
      .double()
      .filter((value) => !Object.is(value, -0))
      .map((value): Sample => ({ json: word(value), avro: value })),
  },
  {
    name: 'text',
    type: column('text', 'text'),
    connect: { type: 'string' },
    avro: { type: 'string' },
    values: fc.string({ unit: 'grapheme' }).map((value) => ({ json: value, avro: value })),
  },
  {
    name: 'flag',
    type: column('boolean', 'boolean'),
    connect: { type: 'boolean' },
    avro: { type: 'boolean' },
    values: fc.boolean().map((value) => ({ json: value, avro: value })),
  },
  {
    name: 'bytea',
    type: column('bytes', 'bytea'),
    connect: { type: 'bytes' },
    avro: { type: 'bytes' },
    values: fc.uint8Array().map(bytesOf),
  },
  {
    name: 'decimal',
    type: column('numeric', 'numeric(30,4)', { precision: 30, scale: 4 }),
    connect: { type: 'bytes', name: DECIMAL, parameters: { scale: '4' } },
    avro: {
      type: 'bytes',
      logicalType: 'decimal',
      scale: 4,
      precision: 3,
      'connect.name': DECIMAL,
      'connect.parameters': { scale: '4' },
    },
    values: fc.uint8Array({ minLength: 1, maxLength: 14 }).map(bytesOf),
  },
  {
    name: 'list',
    type: column('array', 'bigint[]', { element: column('int64', 'bigint') }),
    connect: { type: 'array', items: { type: 'int64', optional: true } },
    avro: { type: 'array', items: ['null', 'long'] },
    values: fc.array(fc.option(int64)).map((items): Sample => ({
      json: items.map((item) => item?.json ?? null),
      avro: items.map((item) => item?.avro ?? null),
    })),
  },
  {
    name: 'hstore',
    type: column('hstore', 'hstore'),
    connect: { type: 'map' },
    avro: { type: 'map', values: ['null', 'string'] },
    values: fc
      .dictionary(fc.string(), fc.option(fc.string()), { noNullPrototype: true })
      .map((value): Sample => ({ json: value, avro: value })),
  },
  {
    name: 'day',
    type: column('date', 'date'),
    ...semantic('int32', `${TIME}Date`),
    values: fc.integer({ min: -2_440_588, max: 106_751_991 }).map(same),
  },
  {
    name: 'moment',
    type: column('timestamp', 'timestamp'),
    ...semantic('int64', `${TIME}MicroTimestamp`),
    // Years 1 to 9999.
    values: fc
      .bigInt({ min: -62_135_596_800_000_000n, max: 253_402_300_799_999_999n })
      .map((value): Sample => ({ json: marked(value), avro: value })),
  },
  {
    name: 'zoned',
    type: column('timestamptz', 'timestamp with time zone'),
    ...semantic('string', `${TIME}ZonedTimestamp`),
    values: fc
      .date({
        min: new Date(-62_135_596_800_000),
        max: new Date(253_402_300_799_999),
        noInvalidDate: true,
      })
      .map((date) => same(date.toISOString().replace('Z', '000Z'))),
  },
  {
    name: 'span',
    type: column('interval', 'interval'),
    ...semantic('string', `${TIME}Interval`),
    values: fc
      .tuple(fc.integer({ min: -99, max: 99 }), fc.integer({ min: -11, max: 11 }), fc.nat(59))
      .map(([years, months, seconds]) => same(`P${years}Y${months}M0DT0H0M${seconds}S`)),
  },
  {
    name: 'mood',
    type: column('enum', 'public.mood', { labels: ['a', 'b,c'] }),
    ...semantic('string', 'io.debezium.data.Enum', { parameters: { allowed: 'a,b,c' } }),
    values: fc.constantFrom('a', 'b,c').map(same),
  },
  {
    name: 'code',
    type: column('uuid', 'uuid'),
    ...semantic('string', 'io.debezium.data.Uuid'),
    values: fc.uuid().map(same),
  },
  {
    name: 'doc',
    type: column('jsonb', 'jsonb'),
    ...semantic('string', 'io.debezium.data.Json'),
    values: fc.json().map(same),
  },
  {
    name: 'any',
    type: column('numeric', 'numeric'),
    ...record(VARIABLE, [
      ['scale', 'int32', 'int'],
      ['value', 'bytes', 'bytes'],
    ]),
    values: fc
      .tuple(fc.nat(200), fc.uint8Array({ minLength: 1, maxLength: 14 }))
      .map(([scale, value]): Sample => ({
        json: { scale, value: base64(value) },
        avro: { scale, value: Buffer.from(value) },
      })),
  },
  {
    name: 'place',
    type: column('point', 'point'),
    ...record(POINT, [
      ['x', 'double', 'double'],
      ['y', 'double', 'double'],
    ]),
    values: fc.tuple(finite, finite).map(([x, y]): Sample => same({ x, y })),
  },
  {
    name: 'embedding',
    type: column('vector', 'public.vector(3)'),
    ...array('io.debezium.data.DoubleVector', 'double'),
    values: fc.array(finite, { minLength: 3, maxLength: 3 }).map(same),
  },
];

const BINLOG: readonly Kind[] = [
  {
    name: 'wrapped',
    type: column('int32', 'int unsigned', { unsigned: true }),
    connect: { type: 'int32' },
    avro: { type: 'int' },
    values: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }).map(same),
  },
  {
    name: 'big',
    type: column('int64', 'bigint unsigned', { unsigned: true }),
    connect: { type: 'int64' },
    avro: { type: 'long' },
    values: int64,
  },
  {
    name: 'tiny',
    type: column('int16', 'tinyint(1)'),
    connect: { type: 'boolean' },
    avro: { type: 'boolean' },
    values: fc.boolean().map(same),
  },
  {
    name: 'digits',
    type: column('float32', 'float(7,3)'),
    connect: { type: 'double' },
    avro: { type: 'double' },
    values: fc
      .float({ noNaN: true, noDefaultInfinity: true })
      .filter((value) => !Object.is(value, -0))
      .map(same),
  },
  {
    name: 'price',
    type: column('numeric', 'decimal(20,4)', { precision: 20, scale: 4 }),
    connect: { type: 'double' },
    avro: { type: 'double' },
    values: fc
      .double({ noNaN: true, noDefaultInfinity: true, min: -1e15, max: 1e15 })
      .filter((value) => !Object.is(value, -0))
      .map(same),
  },
  {
    name: 'bits',
    type: column('bits', 'bit(16)', { length: 16 }),
    ...semantic('bytes', 'io.debezium.data.Bits', { parameters: { length: '16' } }),
    values: fc.uint8Array({ minLength: 2, maxLength: 2 }).map(bytesOf),
  },
  {
    name: 'padded',
    type: column('bytes', 'binary(8)', { length: 8 }),
    connect: { type: 'bytes' },
    avro: { type: 'bytes' },
    values: fc.uint8Array({ maxLength: 8 }).map(bytesOf),
  },
  {
    name: 'day',
    type: column('date', 'date'),
    ...semantic('int32', 'io.debezium.time.Date'),
    values: fc.integer({ min: -719_528, max: 2_932_896 }).map(same),
  },
  {
    name: 'span',
    type: column('time', 'time(6)', { precision: 6 }),
    ...semantic('int64', 'io.debezium.time.MicroTime'),
    values: fc
      .bigInt({ min: -3_020_399_999_999n, max: 3_020_399_999_999n })
      .map((value): Sample => ({ json: marked(value), avro: value })),
  },
  {
    name: 'moment',
    type: column('timestamp', 'datetime(6)', { precision: 6 }),
    ...semantic('int64', 'io.debezium.time.NanoTimestamp'),
    // Any microsecond of the years 0000 to 9999, wrapped in 64 bits as the connector does.
    values: fc
      .bigInt({ min: -62_167_219_200_000_000n, max: 253_402_300_799_999_999n })
      .map((micros) => BigInt.asIntN(64, micros * 1000n))
      .map((value): Sample => ({ json: marked(value), avro: value })),
  },
  {
    name: 'year',
    type: column('year', 'year'),
    ...semantic('int32', 'io.debezium.time.Year'),
    values: fc.integer({ min: 1900, max: 2155 }).map(same),
  },
  {
    name: 'label',
    type: column('enum', "enum('a','c,d')", { labels: ['a', 'c,d'] }),
    ...semantic('string', 'io.debezium.data.Enum', { parameters: { allowed: String.raw`a,c\,d` } }),
    values: fc.constantFrom('a', 'c,d', String.raw`c\,d`, '').map(same),
  },
  {
    name: 'vector',
    type: column('vector', 'vector(3)'),
    connect: { type: 'array', name: 'io.debezium.data.FloatVector', items: { type: 'float' } },
    avro: { type: 'array', items: 'float', 'connect.name': 'io.debezium.data.FloatVector' },
    values: fc
      .array(
        fc.float({ noNaN: true, noDefaultInfinity: true }).filter((value) => !Object.is(value, -0)),
      )
      .map(same),
  },
  {
    name: 'point',
    type: column('geometry', 'point'),
    connect: {
      type: 'struct',
      name: POINT,
      fields: [
        { field: 'wkb', type: 'bytes' },
        { field: 'srid', type: 'int32', optional: true },
      ],
    },
    avro: {
      type: 'record',
      name: 'Point',
      fields: [
        { name: 'wkb', type: 'bytes' },
        { name: 'srid', type: ['null', 'int'] },
      ],
      'connect.name': POINT,
    },
    values: fc
      .tuple(fc.uint8Array({ minLength: 21, maxLength: 21 }), fc.option(fc.nat()))
      .map(([wkb, srid]): Sample => ({
        json: { wkb: base64(wkb), srid },
        avro: { wkb: Buffer.from(wkb), srid },
      })),
  },
];

const long = avsc.types.LongType.__with({
  fromBuffer: (bytes: Buffer) => bytes.readBigInt64LE(),
  toBuffer: (value: bigint) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(value);
    return bytes;
  },
  fromJSON: BigInt,
  toJSON: String,
  isValid: (value: unknown) => typeof value === 'bigint',
  compare: () => 0,
});
/** Reads and writes rows of some kinds as one connector would. */
function bothEncodings(
  kinds: readonly Kind[],
  connector: SourcePosition['connector'],
): (samples: readonly (Sample | null)[]) => { readonly json: unknown; readonly avro: unknown } {
  const table: TableSchema = {
    id: { schema: 'public', name: 'sample' },
    columns: kinds.map(({ name, type }) => ({
      ...{ name, type, nullable: true, toastable: false },
      generated: 'no',
      identity: 'no',
    })),
    key: [],
    uniques: [],
    foreignKeys: [],
    partitioned: false,
  };
  const schema = {
    type: 'record',
    name: 'Value',
    fields: kinds.map(({ name, avro }) => ({ name, type: ['null', avro], default: null })),
  };
  const connect = {
    type: 'struct',
    fields: kinds.map((kind) => ({ field: kind.name, ...kind.connect })),
  };
  const writer = avsc.Type.forSchema(schema as unknown as avsc.Schema, {
    wrapUnions: 'never',
    typeHook: (each) =>
      each === 'long' || (typeof each === 'object' && 'type' in each && each.type === 'long')
        ? long
        : undefined,
  });
  const codecs = new TableCodecs(table, { connector, modes: {} });
  const decode = (bytes: Buffer): unknown => {
    const opener = new RecordOpener({
      wire: { api: 'confluent' },
      schemas: { schema: () => schema },
    });
    const record = {
      ...{ topic: 't', partition: 0, offset: 0n, timestampMs: 0 },
      ...{ key: null, value: bytes, headers: [] },
    };
    const opened = opener.open(record, 'value', bytes, 'exact');
    const reading = {
      exactness: opened.exactness,
      partial: false,
      onDoubtfulNull: () => undefined,
    };
    return codecs.forFields(opened.schema?.fields ?? []).read(opened.payload, reading).values;
  };
  return (samples) => {
    const entries = (side: keyof Sample): Record<string, unknown> =>
      Object.fromEntries(kinds.map(({ name }, i) => [name, samples[i]?.[side] ?? null]));
    const payload = JSON.stringify(entries('json')).replaceAll(/"#(-?\d+)#"/g, '$1');
    const json = Buffer.from(`{"schema":${JSON.stringify(connect)},"payload":${payload}}`);
    const avro = Buffer.concat([Buffer.from([0, 0, 0, 0, 1]), writer.toBuffer(entries('avro'))]);
    return { json: decode(json), avro: decode(avro) };
  };
}

test.each([
  ['postgresql', POSTGRESQL],
  ['mysql', BINLOG],
  ['mariadb', BINLOG],
] as const)(
  'JSON and Avro of the same generated row decode to the same values: %s',
  (connector, kinds) => {
    const decoded = bothEncodings(kinds, connector);
    const rows = fc.tuple(...kinds.map(({ values }) => fc.option(values, { freq: 5 })));
    fc.assert(
      fc.property(rows, (samples) => {
        const { json, avro } = decoded(samples);
        expect(avro).toEqual(json);
      }),
      { numRuns: 150 },
    );
  },
);

test('a DATETIME of any year that wrapped in nanoseconds is unwrapped exactly', () => {
  const moment = BINLOG.filter(({ name }) => name === 'moment');
  const decoded = bothEncodings(moment, 'mariadb');
  const days = fc.integer({ min: -719_528, max: 2_932_896 });
  fc.assert(
    fc.property(days, (day) => {
      const value = BigInt.asIntN(64, BigInt(day) * 86_400_000_000_000n + 1000n);
      const year = Math.floor(new Date(day * 86_400_000).getUTCFullYear());
      const { json } = decoded([{ json: marked(value), avro: value }]);
      const date = new Date(day * 86_400_000).toISOString().slice(-20, -14);
      expect(json).toEqual([`${String(year).padStart(4, '0')}${date} 00:00:00.000001`]);
    }),
  );
});
