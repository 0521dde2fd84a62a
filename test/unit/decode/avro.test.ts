import { describe, expect, test } from 'vitest';
import type { ChangeEvent, DecodedRecord, LogRecord } from '../../../src/change/record.ts';
import { tableName } from '../../../src/change/table-id.ts';
import { UNAVAILABLE, type RowImage } from '../../../src/change/value.ts';
import { RecordOpener } from '../../../src/decode/envelope/opener.ts';
import type { SchemaRef, WireFormat } from '../../../src/decode/envelope/schema-store.ts';
import { isUnderstudyError, type UnderstudyError } from '../../../src/errors/understudy-error.ts';
import type { SchemaCatalogue } from '../../../src/schema/table-schema.ts';
import {
  captureDecoder,
  capturedCatalogue,
  capturedRecords,
  capturedRegistry,
  DEFAULT_MODES,
} from '../../support/debezium-records.ts';

const registry = capturedRegistry();
const AVRO = { ...DEFAULT_MODES, names: 'avro' } as const;

function decodeAll(
  records: Iterable<LogRecord>,
  decoder: ReturnType<typeof captureDecoder>,
): { readonly records: readonly DecodedRecord[]; readonly errors: readonly UnderstudyError[] } {
  const decoded: DecodedRecord[] = [];
  const errors: UnderstudyError[] = [];
  for (const record of records) {
    try {
      decoded.push(decoder.decode(record));
    } catch (error) {
      if (!isUnderstudyError(error)) throw error;
      errors.push(error);
    }
  }
  return { records: decoded, errors };
}

function avroRecords(
  capture: string,
  prefix: string,
  catalogue: SchemaCatalogue,
): ReturnType<typeof decodeAll> {
  const decoder = captureDecoder(prefix, catalogue, AVRO, registry);
  return decodeAll(capturedRecords(capture, 'avro'), decoder);
}

const types = capturedCatalogue('types');

function changes(records: readonly DecodedRecord[]): readonly ChangeEvent[] {
  return records.filter((record) => record.kind === 'change');
}

/** Rows by table, operation and key. Clock columns aside, both captures are of the same rows. */
function images(events: readonly ChangeEvent[]): ReadonlyMap<string, unknown> {
  return new Map(
    events.map((event) => [
      `${tableName(event.table)} ${event.op} ${JSON.stringify(object(event.key))}`,
      { after: object(event.after), before: object(event.before) },
    ]),
  );
}

function object(image: RowImage | null): unknown {
  if (image === null) return null;
  const entries = image.shape.columns.map((name, i) => [name, image.values[i]] as const);
  return Object.fromEntries(
    entries.map(([name, value]) => [name, value === UNAVAILABLE ? 'unavailable' : value]),
  );
}

describe('captured rows in Avro', () => {
  const avro = avroRecords('pg.types.default', 'obs_pgavro', types);
  const json = decodeAll(capturedRecords('pg.types.default'), captureDecoder('obs_pg', types));

  test('are the rows that JSON carried, value by value', () => {
    const expected = images(changes(json.records));
    const found = images(changes(avro.records));
    const shared = [...found].filter(([key]) => expected.has(key));
    expect(shared.length).toBeGreaterThan(60);
    const differing = shared.filter(
      ([key, image]) => JSON.stringify(image) !== JSON.stringify(expected.get(key)),
    );
    expect(differing.map(([key, image]) => [key, image, expected.get(key)])).toEqual([]);
  });

  test('fail where JSON fails, and where two columns have the same name in Avro', () => {
    const told = (errors: readonly UnderstudyError[]): readonly string[] => [
      ...new Set(
        errors.map((e) => `${e.code} ${String(e.context.table)} ${String(e.context.column)}`),
      ),
    ];
    const unlikeJson = told(avro.errors).filter((error) => !told(json.errors).includes(error));
    expect(unlikeJson).toEqual(['COLUMN_UNKNOWN public.Weird Näme-1 a-b']);
  });
});

test('other names come back: replaced ones by the columns, escaped ones by themselves', () => {
  const records = [...capturedRecords('pg.types.avro_unicode', 'avro')];
  const modes = { ...DEFAULT_MODES, names: 'avro_unicode' } as const;
  const { errors, records: decoded } = decodeAll(
    records,
    captureDecoder('obs_pgavrou', types, modes, registry),
  );
  expect(errors).toEqual([]);
  const odd = changes(decoded).find((event) => event.table.name === 'Weird Näme-1');
  expect(Object.keys(object(odd?.after ?? null) as object)).toEqual(
    types.get('public.Weird Näme-1')?.columns.map((column) => column.name),
  );
  const table = types.get('public.Weird Näme-1');
  const columns = table?.columns.filter(({ name }) => !['a_b', 'a.b'].includes(name)) ?? [];
  const fewer = new Map([['public.Weird Näme-1', { ...(table ?? never()), columns }]]);
  const replaced = changes(avroRecords('pg.types.default', 'obs_pgavro', fewer).records);
  expect(Object.keys(object(replaced[0]?.after ?? null) as object)).toEqual(
    columns.map((column) => column.name),
  );
});

test('values that were not sent are unavailable in Avro too', () => {
  const behaviour = capturedCatalogue('behaviour');
  const { records, errors } = avroRecords('pg.behaviour', 'obs_behavro', behaviour);
  expect(errors).toEqual([]);
  const json = decodeAll(
    capturedRecords('pg.behaviour.default'),
    captureDecoder('obs_beh', behaviour),
  );
  const kept = (events: readonly DecodedRecord[]): readonly string[] =>
    changes(events)
      .filter((event) => event.after?.values.includes(UNAVAILABLE) === true)
      .map((event) => `${event.op} ${event.table.name} ${JSON.stringify(object(event.oldKey))}`)
      .toSorted();
  const found = kept(records);
  // The Avro capture has two of the many tables.
  const ofBoth = (name: string): boolean => / toast_(?:text|bytea) /.test(name);
  expect(found.some((name) => name.includes('toast_bytea'))).toBe(true);
  expect(new Set(found)).toEqual(new Set(kept(json.records).filter(ofBoth)));
});

test.each(['mysql.types.default', 'mariadb.types.default'])('%s: every record opens', (capture) => {
  const opener = new RecordOpener(registry);
  let opened = 0;
  for (const record of capturedRecords(capture, 'avro')) {
    if (record.key !== null) opener.open(record, 'key', record.key, 'native');
    if (record.value !== null) opener.open(record, 'value', record.value, 'native');
    opened += 1;
  }
  expect(opened).toBeGreaterThan(70);
});

describe('how a record names its schema', () => {
  const [record = never()] = capturedRecords('pg.types.avro_unicode', 'avro');
  const body = (record.value ?? never()).subarray(5);
  const key = (record.key ?? never()).subarray(5);
  const id = (record.value ?? never()).readInt32BE(1);
  const keyId = (record.key ?? never()).readInt32BE(1);
  const guid = Buffer.from('00112233445566778899aabbccddeeff', 'hex');
  const schemaOf = (n: number): unknown => registry.schemas.schema({ kind: 'id', id: String(n) });

  function int(value: number): Buffer {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32BE(value);
    return bytes;
  }
  function long(value: number): Buffer {
    return Buffer.concat([Buffer.alloc(4), int(value)]);
  }
  const of = (...parts: readonly (Buffer | number)[]): Buffer =>
    Buffer.concat(parts.map((part) => (typeof part === 'number' ? Buffer.of(part) : part)));
  const apicurio = (ids: 'contentId' | 'globalId', idBytes: 4 | 8): WireFormat => ({
    api: 'apicurio',
    ids,
    idBytes,
  });
  type Headers = LogRecord['headers'];

  test.each([
    ['an id', { api: 'confluent' }, { kind: 'id', id: String(id) }, of(0, int(id), body), []],
    [
      'a GUID',
      { api: 'confluent' },
      { kind: 'guid', id: '00112233-4455-6677-8899-aabbccddeeff' },
      of(1, guid, body),
      [],
    ],
    [
      'a GUID in a header',
      { api: 'confluent' },
      { kind: 'guid', id: '00112233-4455-6677-8899-aabbccddeeff' },
      body,
      [['__value_schema_id', of(1, guid)]],
    ],
    [
      'an id in a header',
      { api: 'confluent' },
      { kind: 'id', id: String(id) },
      body,
      [['__value_schema_id', of(0, int(id))]],
    ],
    [
      'a content id',
      apicurio('contentId', 4),
      { kind: 'contentId', id: String(id) },
      of(0, int(id), body),
      [],
    ],
    [
      'a global id',
      apicurio('globalId', 8),
      { kind: 'globalId', id: String(id) },
      of(0, long(id), body),
      [],
    ],
    [
      'a content id in a header',
      apicurio('globalId', 8),
      { kind: 'contentId', id: String(id) },
      body,
      [
        ['apicurio.value.encoding', Buffer.from('BINARY')],
        ['apicurio.value.contentId', long(id)],
      ],
    ],
  ] as readonly (readonly [string, WireFormat, SchemaRef, Buffer, Headers])[])(
    '%s',
    (_, wire, expected, value, headers) => {
      const asked: SchemaRef[] = [];
      const opener = new RecordOpener({
        wire,
        schemas: {
          schema: (ref) => {
            asked.push(ref);
            return schemaOf(id);
          },
        },
      });
      const made = { ...record, headers, value, key: null };
      const { payload } = opener.open(made, 'value', value, 'native');
      expect(asked).toEqual([expected]);
      expect(payload).toMatchObject({ op: 'r', source: { connector: 'postgresql' } });
    },
  );

  test('what is lacking is told before it is decoded, once', () => {
    const have = new Map<string, unknown>();
    const decoder = captureDecoder(
      'obs_pgavrou',
      types,
      { ...DEFAULT_MODES, names: 'avro_unicode' },
      { wire: { api: 'confluent' }, schemas: { schema: (ref) => have.get(ref.id) } },
    );
    expect(decoder.missing(record)).toEqual([
      { kind: 'id', id: String(id) },
      { kind: 'id', id: String(keyId) },
    ]);
    expect(failure(decoder, record)).toMatchObject({ code: 'SCHEMA_UNKNOWN' });
    have.set(String(id), schemaOf(id)).set(String(keyId), schemaOf(keyId));
    expect(decoder.missing(record)).toEqual([]);
    expect(decoder.decode(record).kind).toBe('change');
    expect(decoder.missing({ ...record, value: null })).toEqual([]);
  });

  test.each([
    ['UNSUPPORTED', 'without a registry', null, of(0, int(id), body), []],
    [
      'UNSUPPORTED',
      "in another registry's headers",
      { api: 'confluent' },
      body,
      [['apicurio.value.globalId', long(id)]],
    ],
    [
      'UNSUPPORTED',
      'in JSON by a header',
      apicurio('globalId', 8),
      body,
      [['apicurio.value.encoding', Buffer.from('JSON')]],
    ],
    ['UNSUPPORTED', "in Confluent's form", apicurio('globalId', 8), of(1, guid, body), []],
    ['RECORD_CORRUPT', 'cut off', { api: 'confluent' }, of(0, 0, 0), []],
    ['RECORD_CORRUPT', 'cut off in 8 bytes', apicurio('globalId', 8), of(0, int(id)), []],
  ] as readonly (readonly [string, string, WireFormat | null, Buffer, Headers])[])(
    '%s: %s',
    (code, _, wire, value, headers) => {
      const decoder = captureDecoder(
        'obs_pgavrou',
        types,
        AVRO,
        wire === null ? null : { wire, schemas: registry.schemas },
      );
      const error = failure(decoder, { ...record, key: of(0, int(keyId), key), value, headers });
      expect(error).toMatchObject({ code, context: { topic: record.topic } });
    },
  );
});

/** All bits, the one that says that a number goes on, the sign. */
const MASKS = [0xff, 0x80, 0x01];

function failure(decoder: ReturnType<typeof captureDecoder>, record: LogRecord): UnderstudyError {
  try {
    decoder.decode(record);
  } catch (error) {
    if (isUnderstudyError(error)) return error;
    throw error;
  }
  throw new Error('was decoded');
}

test('broken bytes are errors with their place, or other values, and never hold us up', () => {
  const decoder = captureDecoder('obs_pgavro', types, AVRO, registry);
  const started = performance.now();
  let errors = 0;
  let located = 0;
  for (const record of capturedRecords('pg.types.default', 'avro')) {
    if (record.value === null) continue;
    for (let i = 5; i < record.value.length; i += 7) {
      const value = Buffer.from(record.value);
      value[i] = (value[i] ?? 0) ^ (MASKS[i % MASKS.length] ?? 0);
      for (const broken of [value, value.subarray(0, i)]) {
        try {
          decoder.decode({ ...record, value: broken });
        } catch (error) {
          if (!isUnderstudyError(error)) throw error;
          errors += 1;
          if (error.context.offset === record.offset) located += 1;
        }
      }
    }
  }
  expect(errors).toBeGreaterThan(5_000);
  expect(located).toBe(errors);
  expect(performance.now() - started).toBeLessThan(8_000);
});

function never(): never {
  throw new Error('is missing in the capture');
}
