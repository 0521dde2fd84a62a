/** A row is the same row in JSON and in Avro, whatever its values. */
import avsc from 'avsc';
import fc from 'fast-check';
import { expect, test } from 'vitest';
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

const KINDS: readonly Kind[] = [
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
];

const TABLE: TableSchema = {
  id: { schema: 'public', name: 'sample' },
  columns: KINDS.map(({ name, type }) => ({
    ...{ name, type, nullable: true, toastable: false },
    generated: 'no',
    identity: 'no',
  })),
  key: [],
  uniques: [],
  foreignKeys: [],
  partitioned: false,
};

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
const SCHEMA = {
  type: 'record',
  name: 'Value',
  fields: KINDS.map(({ name, avro }) => ({ name, type: ['null', avro], default: null })),
};
const writer = avsc.Type.forSchema(SCHEMA as unknown as avsc.Schema, {
  wrapUnions: 'never',
  typeHook: (schema) =>
    schema === 'long' || (typeof schema === 'object' && 'type' in schema && schema.type === 'long')
      ? long
      : undefined,
});
const CONNECT = {
  type: 'struct',
  fields: KINDS.map(({ name, connect }) => ({ field: name, ...connect })),
};

function decode(bytes: Buffer): unknown {
  const opener = new RecordOpener({
    wire: { api: 'confluent' },
    schemas: { schema: () => SCHEMA },
  });
  const record = {
    ...{ topic: 't', partition: 0, offset: 0n, timestampMs: 0 },
    ...{ key: null, value: bytes, headers: [] },
  };
  const { schema, payload, exactness } = opener.open(record, 'value', bytes, 'exact');
  const codec = new TableCodecs(TABLE, { connector: 'postgresql', modes: {} }).forFields(
    schema?.fields ?? [],
  );
  const reading = { exactness, partial: false, onDoubtfulNull: () => undefined };
  return codec.read(payload, reading).values;
}

test('JSON and Avro of the same generated row decode to the same values', () => {
  const rows = fc.tuple(...KINDS.map(({ values }) => fc.option(values, { freq: 5 })));
  fc.assert(
    fc.property(rows, (samples) => {
      const entries = (side: keyof Sample): Record<string, unknown> =>
        Object.fromEntries(KINDS.map(({ name }, i) => [name, samples[i]?.[side] ?? null]));
      const payload = JSON.stringify(entries('json')).replaceAll(/"#(-?\d+)#"/g, '$1');
      const json = Buffer.from(`{"schema":${JSON.stringify(CONNECT)},"payload":${payload}}`);
      const avro = Buffer.concat([Buffer.from([0, 0, 0, 0, 1]), writer.toBuffer(entries('avro'))]);
      expect(decode(avro)).toEqual(decode(json));
    }),
    { numRuns: 400 },
  );
});
