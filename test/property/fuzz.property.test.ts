/**
 * Hostile bytes into the decoder: whatever comes, it is an error with its place, or a record whose
 * rows say what the bytes say. Seeds are records of real connectors in every form, with a marker in
 * the texts of their rows: no error may say any of it.
 */
import type avsc from 'avsc';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ChangeEvent, DecodedRecord, LogRecord } from '../../src/change/record.ts';
import { imageValue, UNAVAILABLE, type RowImage } from '../../src/change/value.ts';
import type { Decoder } from '../../src/decode/decoder.ts';
import { RecordOpener } from '../../src/decode/envelope/opener.ts';
import { isUnderstudyError, type UnderstudyError } from '../../src/errors/understudy-error.ts';
import type { SchemaCatalogue } from '../../src/schema/table-schema.ts';
import {
  captureDecoder,
  capturedCatalogue,
  capturedRecords,
  capturedRegistry,
  DEFAULT_MODES,
} from '../support/debezium-records.ts';
import { FORMS_CATALOGUE } from '../support/form-captures.ts';
import { plainAvsc } from '../support/plain-avsc.ts';

/** No name and no message has this letter, so that also a part of the marker is known again. */
const LETTER = 'Þ';
const MARKER = LETTER.repeat(6);
const OPENER = new RecordOpener(capturedRegistry());
const CAPTURED = capturedRegistry().schemas;
const TRACES = [LETTER, 'c39e', '\\u00de', Buffer.from(MARKER).toString('base64').slice(0, 4)];

interface Seeds {
  readonly name: string;
  readonly catalogue: SchemaCatalogue;
  readonly records: readonly LogRecord[];
  readonly decoder: () => Decoder;
  /** The row in the value's JSON, where it is JSON; for the comparison with what was decoded. */
  readonly row: ((payload: Json, side: 'before' | 'after') => unknown) | null;
  /** The values are Avro: read by the library alone for the comparison. */
  readonly avro?: true;
}

type Json = Readonly<Record<string, unknown>>;

function take(capture: string, encoding: 'json' | 'avro', topic: RegExp): readonly LogRecord[] {
  return [...capturedRecords(capture, encoding)]
    .filter((record) => topic.test(record.topic) && record.value !== null)
    .map((record) => ({
      ...record,
      value: record.value && (encoding === 'json' ? inJson(record.value) : inAvro(record.value)),
    }));
}

/** Columns of text in the captured rows; no schema has fields of these names. */
const TEXTS = /"(v|x y|big_text|txt|note)":"(?:[^"\\]|\\.)*"/g;

function inJson(value: Buffer): Buffer {
  return Buffer.from(value.toString('utf8').replaceAll(TEXTS, `"$1":"${MARKER}"`));
}

/** Every text of the rows that has room for a part of the marker: as many bytes of it. */
function inAvro(value: Buffer): Buffer {
  const frame = { topic: '', partition: 0, offset: 0n, timestampMs: 0, key: null, headers: [] };
  const opened = OPENER.open({ ...frame, value }, 'value', value, 'native').payload as Json;
  const bytes = Buffer.from(value);
  for (const side of ['before', 'after']) {
    for (const text of Object.values((opened[side] ?? {}) as Json)) {
      const sent = typeof text === 'string' ? Buffer.from(text) : Buffer.alloc(0);
      // With its length before it, in Avro's zigzag; that of a long one takes more bytes.
      if (sent.length < 3 || sent.length > 60) continue;
      const at = bytes.indexOf(Buffer.concat([Buffer.of(sent.length * 2), sent]));
      if (at >= 0) Buffer.from(markerOf(sent.length)).copy(bytes, at + 1);
    }
  }
  return bytes;
}

function markerOf(bytes: number): string {
  return LETTER.repeat(Math.floor(bytes / 2)) + '.'.repeat(bytes % 2);
}

const enveloped: Seeds['row'] = (payload, side) => payload[side];
const TYPES = capturedCatalogue('types');
const BEHAVIOUR = capturedCatalogue('behaviour');
const MYSQL = capturedCatalogue('mysql');
const MARIADB = capturedCatalogue('mariadb');
const MYSQL_TABLES = /\.obs_my\./;
const MYSQL_MODES = {
  ...DEFAULT_MODES,
  time: 'adaptive_time_microseconds',
  bigintUnsigned: 'long',
} as const;

/** The same record from a connector whose converters write no schemas. */
function withoutSchemas(record: LogRecord): LogRecord {
  const payload = (bytes: Buffer | null): Buffer | null => {
    const text = bytes?.toString('utf8') ?? '';
    const start = text.indexOf(',"payload":');
    return start < 0 ? bytes : Buffer.from(text.slice(start + 11, -1));
  };
  return { ...record, key: payload(record.key), value: payload(record.value) };
}

const SEEDS: readonly Seeds[] = [
  {
    name: 'JSON with schemas',
    catalogue: BEHAVIOUR,
    records: take('pg.behaviour.default', 'json', /tx\d|cpk|pku|del_|trunc|transaction|heartbeat/),
    decoder: () => captureDecoder('obs_beh', BEHAVIOUR),
    row: enveloped,
  },
  {
    name: 'flattened rows without schemas',
    catalogue: FORMS_CATALOGUE,
    records: take('pg.forms.flat-noschema', 'json', /./),
    decoder: () => captureDecoder('cap_flatnoschema', FORMS_CATALOGUE, DEFAULT_MODES, null, 'flat'),
    row: (payload) => payload,
  },
  {
    name: 'flattened rows with added fields',
    catalogue: FORMS_CATALOGUE,
    records: take('pg.forms.flat-added', 'json', /public/),
    decoder: () => captureDecoder('cap_flatall', FORMS_CATALOGUE, DEFAULT_MODES, null, 'flat'),
    row: (payload) => payload,
  },
  {
    name: 'CloudEvents',
    catalogue: FORMS_CATALOGUE,
    records: take('pg.forms.cloudevents', 'json', /public/),
    decoder: () =>
      captureDecoder('cap_ceplain', FORMS_CATALOGUE, DEFAULT_MODES, null, 'cloudevents'),
    row: (payload, side) => {
      const data = payload['data'] as Json | undefined;
      return ((data?.['payload'] ?? data) as Json | undefined)?.[side];
    },
  },
  {
    name: 'Avro',
    catalogue: TYPES,
    records: take('pg.types.default', 'avro', /./),
    decoder: () =>
      captureDecoder(
        prefixOf(take('pg.types.default', 'avro', /public/)),
        TYPES,
        { ...DEFAULT_MODES, names: 'avro' },
        capturedRegistry(),
      ),
    row: enveloped,
    avro: true,
  },
  {
    name: 'JSON of MySQL with schemas',
    catalogue: MYSQL,
    records: take('mysql.types.default', 'json', MYSQL_TABLES),
    decoder: () => captureDecoder('obs_my', MYSQL, MYSQL_MODES, null, 'debezium', 'mysql'),
    row: enveloped,
  },
  {
    name: 'JSON of MySQL without schemas',
    catalogue: MYSQL,
    records: take('mysql.types.default', 'json', MYSQL_TABLES).map(withoutSchemas),
    decoder: () => captureDecoder('obs_my', MYSQL, MYSQL_MODES, null, 'debezium', 'mysql'),
    row: enveloped,
  },
  {
    name: 'Avro of MySQL',
    catalogue: MYSQL,
    records: take('mysql.types.default', 'avro', MYSQL_TABLES),
    decoder: () => {
      const modes = { ...MYSQL_MODES, names: 'avro' } as const;
      return captureDecoder('obs_myavro', MYSQL, modes, capturedRegistry(), 'debezium', 'mysql');
    },
    row: enveloped,
    avro: true,
  },
  ...(['json', 'avro'] as const).map((encoding): Seeds => {
    const records = take('mariadb.types.default', encoding, /\.obs_ma/);
    const modes = { ...MYSQL_MODES, ...(encoding === 'avro' && { names: 'avro' as const }) };
    const registry = encoding === 'avro' ? capturedRegistry() : null;
    return {
      name: `${encoding === 'avro' ? 'Avro' : 'JSON'} of MariaDB`,
      catalogue: MARIADB,
      records,
      decoder: () =>
        captureDecoder(prefixOf(records), MARIADB, modes, registry, 'debezium', 'mariadb'),
      row: enveloped,
      ...(encoding === 'avro' && { avro: true }),
    };
  }),
];

function prefixOf(records: readonly LogRecord[]): string {
  return records[0]?.topic.split('.')[0] ?? '';
}

/** What is put into JSON in place of a byte: broken text, traps of objects, numbers, depth. */
const FRAGMENTS = [
  ...['"', '\\', '\0', '{', '}', '[', ']', ',', ':', 'null', '""', '[]', '{}', '1e999', '-0'],
  ...[
    '1e-400',
    '123456789012345678901234567890',
    '0.1000000000000000000000001',
    '\\ud800',
    '\\u0000',
  ],
  ...['"__proto__":{"op":"d"},', '"constructor":null,', '"op":"d",', '"op":"t",', '"after":null,'],
  ...['"payload":null,', '"schema":null,', '"id":"x",', '"source":{},', '\ud83d', '\ufffd'],
].map((text) => Buffer.from(text));
const RAW = [Buffer.from([0xff]), Buffer.from([0xc0, 0x80]), Buffer.from([0xed, 0xa0, 0x80])];
const AVRO = ['ffffffffffffffffff7f', 'feffffff0f', '0000000000', '01', '8080808080808080808001'];
const PIECES = [...FRAGMENTS, ...RAW, ...AVRO.map((hex) => Buffer.from(hex, 'hex'))];

/** One act of sabotage on bytes; `other` are those of another record. */
type Sabotage = (bytes: Buffer, other: Buffer) => Buffer;
const at = (share: number, bytes: Buffer): number => Math.floor(share * bytes.length);
const share = fc.double({ min: 0, max: 0.999_999, noNaN: true });
const sabotage: fc.Arbitrary<Sabotage> = fc.oneof(
  fc.tuple(share, fc.nat(255)).map(([where, byte]): Sabotage => (bytes) => {
    const copy = Buffer.from(bytes);
    if (copy.length > 0) copy[at(where, copy)] = byte;
    return copy;
  }),
  share.map(
    (where): Sabotage =>
      (bytes) =>
        bytes.subarray(0, at(where, bytes)),
  ),
  fc.tuple(share, share).map(
    ([a, b]): Sabotage =>
      (bytes, other) =>
        Buffer.concat([bytes.subarray(0, at(a, bytes)), other.subarray(at(b, other))]),
  ),
  // Beside a marker, where an error is near to quote it.
  fc
    .tuple(fc.integer({ min: -4, max: 16 }), fc.constantFrom(...PIECES), fc.nat(4))
    .map(([by, piece, gone]): Sabotage => (bytes) => {
      const start = Math.max(0, bytes.lastIndexOf(LETTER.repeat(2)) + by);
      return Buffer.concat([bytes.subarray(0, start), piece, bytes.subarray(start + gone)]);
    }),
  fc
    .tuple(share, fc.constantFrom(...PIECES), fc.nat(4))
    .map(([where, piece, gone]): Sabotage => (bytes) => {
      const start = at(where, bytes);
      return Buffer.concat([bytes.subarray(0, start), piece, bytes.subarray(start + gone)]);
    }),
);

function asWritten(_: string, item: unknown, context?: { readonly source?: string }): unknown {
  return typeof item === 'number' ? { number: context?.source } : item;
}

/** The value's JSON, numbers as they are written; undefined if it is none. */
function parsed(value: Buffer | null): unknown {
  try {
    return JSON.parse(value?.toString('utf8') ?? '', asWritten) as unknown;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

const WRITERS = new Map<string, avsc.Type>();

/** What the library reads of a value in Confluent's framing; undefined where it reads none. */
function parsedAvro(value: Buffer | null): unknown {
  if (value === null || value[0] !== 0 || value.length < 5) return undefined;
  const id = String(value.readUInt32BE(1));
  const schema = CAPTURED.schema({ kind: 'id', id });
  if (schema === undefined) return undefined;
  const type = WRITERS.get(id) ?? plainAvsc(schema);
  WRITERS.set(id, type);
  return numbersAsWritten(type.fromBuffer(value.subarray(5)));
}

function numbersAsWritten(item: unknown): unknown {
  if (typeof item === 'number' || typeof item === 'bigint') return { number: String(item) };
  if (item === null || typeof item !== 'object' || Buffer.isBuffer(item)) return item;
  if (Array.isArray(item)) return item.map(numbersAsWritten);
  return Object.fromEntries(
    Object.entries(item).map(([name, part]) => [name, numbersAsWritten(part)]),
  );
}

/** Every text and integer of a decoded row is the one in the bytes. */
function expectSame(
  image: RowImage | null,
  row: unknown,
  catalogue: SchemaCatalogue,
  change: ChangeEvent,
): void {
  if (image === null) return;
  const table = catalogue.get(`${change.table.schema}.${change.table.name}`);
  for (const { name, type } of table?.columns ?? []) {
    if (type.domainOf !== undefined || !image.shape.index.has(name)) continue;
    const value = imageValue(image, name);
    const sent = (row as Json)[name];
    // A name that Avro does not allow is another one in the record.
    if (!/^[A-Za-z_]\w*$/.test(name)) continue;
    if (value === UNAVAILABLE) continue;
    if (value === null) expect(sent).toBeNull();
    else if (type.kind === 'text') expect(value).toBe(sent);
    else if (/^int(?:16|32|64)$/.test(type.kind) && !Buffer.isBuffer(sent)) {
      const written = (sent as { number: string }).number;
      // `1e2` is one too, and `1e-999` is 0 to every parser.
      const number = BigInt(/^-?\d+$/.test(written) ? written : Number(written));
      // A negative one in an unsigned column is one that wrapped.
      if (number >= 0 || type.unsigned !== true) expect(BigInt(String(value))).toBe(number);
      else expect(BigInt(String(value))).toBeGreaterThan(0n);
    }
  }
}

function expectHonest(seeds: Seeds, record: LogRecord, decoded: DecodedRecord): void {
  expect(decoded.at).toEqual({
    topic: record.topic,
    partition: record.partition,
    offset: record.offset,
  });
  if (decoded.kind !== 'change' || seeds.row === null) return;
  const json = (seeds.avro ? parsedAvro(record.value) : parsed(record.value)) as
    Json | null | undefined;
  if (json === null || json === undefined) {
    // A null is the delete of the key.
    expect(json).toBeNull();
    expect(decoded.op).toBe('delete');
    return;
  }
  const payload = ('schema' in json && 'payload' in json ? json['payload'] : json) as Json | null;
  if (payload === null) {
    expect(decoded.op).toBe('delete');
    return;
  }
  expectSame(decoded.after, seeds.row(payload, 'after'), seeds.catalogue, decoded);
}

/** Bounded by what a record may cost on a busy machine; a hang is far beyond. */
const LIMIT_MS = 5_000;

function attempt(seeds: Seeds, decoder: Decoder, record: LogRecord): 'decoded' | 'refused' {
  const started = performance.now();
  try {
    expectHonest(seeds, record, decoder.decode(record));
    return 'decoded';
  } catch (error) {
    if (!isUnderstudyError(error)) throw error;
    expectPlaced(error, record);
    return 'refused';
  } finally {
    expect(performance.now() - started).toBeLessThan(LIMIT_MS);
  }
}

function expectPlaced(error: UnderstudyError, record: LogRecord): void {
  const { topic, partition, offset } = record;
  expect(error.context).toMatchObject({ topic, partition, offset });
  expect(error.message.length).toBeLessThan(400);
  for (const trace of TRACES) expect(said(error)).not.toContain(trace);
}

/** All that an error says but names of columns and schemas, which sabotage can make of a value. */
function said(error: unknown): string {
  if (!(error instanceof Error)) return '';
  const detail = isUnderstudyError(error) ? (error.context.detail ?? '') : '';
  const message = error.message.replace(/guid [0-9a-f-]+/, 'guid');
  return `${message} ${detail} ${said(error.cause)}`;
}

describe.each(SEEDS)('$name', (seeds) => {
  test('changed bytes are errors with their place, or say what was decoded', () => {
    const decoder = seeds.decoder();
    expect(seeds.records.length).toBeGreaterThan(10);
    const marked = seeds.records.filter((record) => record.value?.includes(LETTER) === true);
    expect(marked.length).toBeGreaterThan(10);
    const ends = { decoded: 0, refused: 0 };
    const record = fc.constantFrom(...seeds.records);
    const side = fc.constantFrom('value', 'value', 'value', 'key');
    fc.assert(
      fc.property(
        record,
        record,
        fc.array(sabotage, { minLength: 1, maxLength: 3 }),
        side,
        (seed, other, acts, where) => {
          const bytes = seed[where] ?? seed.value ?? Buffer.alloc(0);
          const strange = other[where] ?? other.value ?? Buffer.alloc(0);
          const broken = acts.reduce((now, act) => act(now, strange), bytes);
          ends[attempt(seeds, decoder, { ...seed, [where]: broken })] += 1;
        },
      ),
      { numRuns: 1_500 },
    );
    // Both happen, or the fuzz has no teeth.
    expect(ends.decoded).toBeGreaterThan(10);
    expect(ends.refused).toBeGreaterThan(100);
  });

  test('whole records are decoded', () => {
    const decoder = seeds.decoder();
    const ends = seeds.records.map((record) => attempt(seeds, decoder, record));
    expect(ends.filter((end) => end === 'decoded').length).toBeGreaterThan(ends.length / 2);
  });
});

describe('values within values without end', () => {
  const DEEP = 200_000;
  const nested = `${'['.repeat(DEEP)}${']'.repeat(DEEP)}`;
  const schemas = `${'{"type":"array","items":'.repeat(DEEP / 4)}{"type":"int32"}${'}'.repeat(DEEP / 4)}`;
  const text = {
    'in a row': `{"op":"c","source":{"connector":"postgresql","name":"cap_ceplain","schema":"public","table":"item","ts_ms":1},"before":null,"after":{"id":${nested}}}`,
    'where an exact number is': `{"op":"c","source":{"connector":"postgresql","name":"cap_ceplain","schema":"public","table":"item","ts_ms":1},"before":null,"after":{"id":9007199254740993,"v":${nested}}}`,
    'in a schema': `{"schema":${schemas},"payload":{}}`,
    alone: nested,
  };

  test.each(Object.entries(text))('are an error of the record: %s', (_, value) => {
    for (const form of ['debezium', 'flat', 'cloudevents'] as const) {
      const decoder = captureDecoder('cap_ceplain', FORMS_CATALOGUE, DEFAULT_MODES, null, form);
      const record: LogRecord = {
        topic: 'cap_ceplain.public.item',
        partition: 1,
        offset: 7n,
        timestampMs: 0,
        key: Buffer.from('{"id":1}'),
        value: Buffer.from(value),
        headers: [],
      };
      const seeds: Seeds = { ...(SEEDS[1] ?? never()), row: null };
      expect(attempt(seeds, decoder, record)).toBe('refused');
    }
  });
});

function never(): never {
  throw new Error('there are seeds');
}
