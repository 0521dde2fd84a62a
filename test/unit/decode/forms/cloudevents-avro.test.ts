/**
 * CloudEvents whose data is in Avro: as base64 in JSON, as bytes or as a record in Avro. On bytes
 * made here: no captured connector had a converter that writes them.
 */
import avsc from 'avsc';
import { describe, expect, test } from 'vitest';
import type { LogRecord } from '../../../../src/change/record.ts';
import { imageValue } from '../../../../src/change/value.ts';
import type { Decoder } from '../../../../src/decode/decoder.ts';
import type { SchemaRef, WireFormat } from '../../../../src/decode/envelope/schema-store.ts';
import {
  isUnderstudyError,
  type UnderstudyError,
} from '../../../../src/errors/understudy-error.ts';
import { captureDecoder, DEFAULT_MODES } from '../../../support/debezium-records.ts';
import { FORMS_CATALOGUE } from '../../../support/form-captures.ts';

const VALUE = {
  type: 'record',
  name: 'Value',
  namespace: 'p.public.item',
  fields: [
    { name: 'id', type: 'int' },
    { name: 'v', type: ['null', 'string'] },
    {
      name: 'n',
      type: [
        'null',
        {
          type: 'bytes',
          'connect.name': 'org.apache.kafka.connect.data.Decimal',
          'connect.parameters': { scale: '2' },
        },
      ],
    },
    { name: 'big', type: 'long' },
    { name: 'b', type: ['null', 'bytes'] },
  ],
};
const DATA = {
  type: 'record',
  name: 'Data',
  namespace: 'p.public.item',
  fields: [
    { name: 'before', type: ['null', VALUE] },
    { name: 'after', type: ['null', 'p.public.item.Value'] },
  ],
};
const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'int' }] };
const ATTRIBUTES = {
  id: 'name:p;lsn:5',
  source: '/debezium/postgresql/p',
  specversion: '1.0',
  type: 'io.debezium.connector.postgresql.DataChangeEvent',
  datacontenttype: 'application/avro',
  dataschema: 'http://registry/schemas/ids/1',
  iodebeziumop: 'c',
  iodebeziumconnector: 'postgresql',
  iodebeziumname: 'p',
  iodebeziumtsms: '1795731641290',
  iodebeziumschema: 'public',
  iodebeziumtable: 'item',
  iodebeziumtxId: '766',
  iodebeziumlsn: '29067848',
};
const eventSchema = (data: unknown): object => ({
  type: 'record',
  name: 'CloudEvent',
  fields: [
    ...Object.keys(ATTRIBUTES).map((name) => ({ name, type: 'string' })),
    { name: 'data', type: data },
  ],
});
/** What the registry has, by id. */
const SCHEMAS: readonly [data: object, key: object, ofBytes: object, ofRecord: object] = [
  DATA,
  KEY,
  eventSchema('bytes'),
  eventSchema(DATA),
];
const ROW = {
  ...{ id: 7, v: 'ä "text"', n: Buffer.from([0x6e]) },
  ...{ big: 4_503_599_627_370_495, b: Buffer.from([0, 255]) },
};
const ROWS = { before: null, after: ROW };

/** A datum with its schema's id before it. */
function framed(n: number, datum: unknown, idBytes: 4 | 8 = 4): Buffer {
  const type = avsc.Type.forSchema(SCHEMAS[n] as avsc.Schema, { wrapUnions: 'never' });
  const id = Buffer.alloc(idBytes);
  id.writeInt32BE(n, idBytes - 4);
  return Buffer.concat([Buffer.of(0), id, type.toBuffer(datum)]);
}

const inJson = (data: unknown): Buffer => Buffer.from(JSON.stringify({ ...ATTRIBUTES, data }));
const base64 = (bytes: Buffer): string => bytes.toString('base64');

function recordOf(value: Buffer, key: Buffer = framed(1, { id: 7 })): LogRecord {
  return {
    ...{ topic: 'p.public.item', partition: 2, offset: 9n, timestampMs: 0 },
    ...{ headers: [], key, value },
  };
}

function decoderOf(
  have: ReadonlySet<string>,
  wire: WireFormat | null = { api: 'confluent' },
): Decoder {
  const schema = (ref: SchemaRef): unknown =>
    have.has(ref.id) ? SCHEMAS[Number(ref.id)] : undefined;
  const registry = wire === null ? null : { wire, schemas: { schema } };
  return captureDecoder('p', FORMS_CATALOGUE, DEFAULT_MODES, registry, 'cloudevents');
}

const ALL = new Set(['0', '1', '2', '3']);

function rowIn(record: LogRecord, decoder = decoderOf(ALL)): unknown {
  const change = decoder.decode(record);
  if (change.kind !== 'change' || change.after === null) throw new Error('no new row');
  const { after } = change;
  expect(change).toMatchObject({ op: 'create', source: { lsn: 29_067_848n, txId: 766 } });
  return Object.fromEntries(after.shape.columns.map((name) => [name, imageValue(after, name)]));
}

const EXPECTED = {
  ...{ id: '7', v: 'ä "text"', n: '1.10' },
  ...{ big: '4503599627370495', b: Buffer.from([0, 255]) },
};

function failure(decoder: Decoder, record: LogRecord): UnderstudyError {
  try {
    decoder.decode(record);
  } catch (error) {
    if (isUnderstudyError(error)) return error;
    throw error;
  }
  throw new Error('was decoded');
}

describe('CloudEvents with data in Avro', () => {
  test.each([
    ['as base64 in JSON', inJson(base64(framed(0, ROWS)))],
    ['as bytes in Avro', framed(2, { ...ATTRIBUTES, data: framed(0, ROWS) })],
    ['as a record in Avro', framed(3, { ...ATTRIBUTES, data: ROWS })],
  ])('say their row: %s', (_, value) => {
    expect(rowIn(recordOf(value))).toEqual(EXPECTED);
    expect(rowIn(recordOf(value, Buffer.from('{"id":7}')))).toEqual(EXPECTED);
  });

  test('have the frame that the registry’s settings name', () => {
    const wire = { api: 'apicurio', ids: 'globalId', idBytes: 8 } as const;
    const value = inJson(base64(framed(0, ROWS, 8)));
    const record = recordOf(value, framed(1, { id: 7 }, 8));
    expect(rowIn(record, decoderOf(ALL, wire))).toEqual(EXPECTED);
  });

  test('lack first the schema of the event, then that of its data', () => {
    const have = new Set<string>();
    const decoder = decoderOf(have);
    const record = recordOf(framed(2, { ...ATTRIBUTES, data: framed(0, ROWS) }));
    const lacking = (): readonly string[] => decoder.missing(record).map((ref) => ref.id);
    expect(lacking()).toEqual(['2', '1']);
    expect(failure(decoder, record).code).toBe('SCHEMA_UNKNOWN');
    have.add('2').add('1');
    expect(lacking()).toEqual(['0']);
    expect(failure(decoder, record).code).toBe('SCHEMA_UNKNOWN');
    have.add('0');
    expect(lacking()).toEqual([]);
    expect(rowIn(record, decoder)).toEqual(EXPECTED);
  });

  const data = framed(0, ROWS);

  test.each([
    ['RECORD_CORRUPT', 'no base64', inJson('*not base64*')],
    ['RECORD_CORRUPT', 'no text at all', inJson(17)],
    ['RECORD_CORRUPT', 'without a frame', inJson(base64(Buffer.from('{"before":null}')))],
    ['RECORD_CORRUPT', 'bytes without a frame', framed(2, { ...ATTRIBUTES, data: Buffer.of(7) })],
    ['RECORD_CORRUPT', 'empty', inJson('')],
    ['SCHEMA_UNKNOWN', 'of a schema not there', inJson(base64(Buffer.of(0, 0, 0, 0, 99, 0)))],
    ['RECORD_CORRUPT', 'with more behind it', inJson(base64(Buffer.concat([data, data])))],
  ])('are refused with %s: %s', (code, _, value) => {
    const error = failure(decoderOf(ALL), recordOf(value));
    expect(error).toMatchObject({ code, context: { topic: 'p.public.item', offset: 9n } });
  });

  test('are refused wherever the data is cut off', () => {
    const decoder = decoderOf(ALL);
    for (let length = 0; length < data.length; length += 1) {
      const cut = data.subarray(0, length);
      for (const value of [inJson(base64(cut)), framed(2, { ...ATTRIBUTES, data: cut })]) {
        expect(failure(decoder, recordOf(value)).code).toBe('RECORD_CORRUPT');
      }
    }
  });

  test('need a registry', () => {
    const record = recordOf(inJson(base64(data)), Buffer.from('{"id":7}'));
    const error = failure(decoderOf(ALL, null), record);
    expect(error.code).toBe('UNSUPPORTED');
    expect(error.message).toContain('source.schemaRegistry');
  });
});
