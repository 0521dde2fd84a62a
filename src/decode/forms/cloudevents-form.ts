/**
 * CloudEvents in structured mode, as Debezium's CloudEventsConverter writes them: the source block
 * as attributes `iodebezium…`, the rows in `data` (JSON with or without its schema, or Avro). What
 * has no rows (heartbeats, boundaries of transactions, messages) the converter writes as null.
 */
import type { LogRecord } from '../../change/record.ts';
import type { SourceBlock } from '../connectors/connector.ts';
import { parseConnectSchema, schemaField } from '../envelope/connect-schema.ts';
import { asObject, isObject, type Exactness } from '../envelope/exact-number.ts';
import type { Opened } from '../envelope/json.ts';
import type { SchemaRef } from '../envelope/schema-store.ts';
import { Problem } from '../problem.ts';
import { envelopeChange } from './envelope-change.ts';
import {
  other,
  placeOf,
  type FormContext,
  type FormReader,
  type Sent,
  type SentRow,
} from './form.ts';

type Event = Readonly<Record<string, unknown>>;

/** Fields of the source block that we read; attribute names keep letters and digits only. */
const SOURCE_FIELDS = [
  ...['connector', 'name', 'snapshot', 'db', 'schema', 'table', 'sequence', 'ts_ms'],
  ...['lsn', 'txId', 'file', 'pos', 'row', 'gtid'],
].map((field) => ({ field, attribute: `iodebezium${field.replaceAll(/[^A-Za-z0-9]/g, '')}` }));

/** 64-bit integers are texts among the attributes. */
const INTEGERS: ReadonlySet<string> = new Set(['ts_ms', 'lsn', 'txId', 'pos', 'row']);

const DATA = Buffer.from(',"data":');
const WITH_SCHEMA = Buffer.from('{"schema":');

export class CloudEventsForm implements FormReader {
  readonly #context: FormContext;

  constructor(context: FormContext) {
    this.#context = context;
  }

  read(record: LogRecord, exactness: Exactness): Sent {
    const at = placeOf(record);
    const value = record.value;
    if (value === null) return other('tombstone', at);
    const { event, data } = this.#parts(record, value, exactness);
    const op = event['iodebeziumop'];
    if (op === undefined) {
      throw new Problem(
        'RECORD_UNKNOWN',
        'the CloudEvent has no iodebezium attributes; the converter needs ' +
          'extension.attributes.enable=true',
      );
    }
    const rows = asObject(data.payload, 'the data');
    return envelopeChange(this.#context, record, {
      op,
      source: attributesOf(event),
      // Its boundaries do not pass the converter, so nothing could say when it is whole.
      transaction: null,
      before: rowOf(data, rows, 'before'),
      after: rowOf(data, rows, 'after'),
    });
  }

  missing(record: LogRecord): readonly SchemaRef[] {
    const { opener } = this.#context;
    const value = record.value;
    if (value === null) return [];
    const missing = opener.missing(record);
    // Of an event whose own schema is not here yet, the data's cannot be known.
    if (missing.length > 0 || !opener.hasRegistry) return missing;
    const { event } = this.#event(record, value, 'native');
    const data = avroData(event);
    return data === null ? [] : opener.missingOf(data);
  }

  /** The event's attributes, and its data opened. */
  #parts(
    record: LogRecord,
    value: Buffer,
    exactness: Exactness,
  ): { readonly event: Event; readonly data: Opened } {
    const { opener } = this.#context;
    const split = splitData(value);
    if (split !== null) {
      const { event } = this.#event(record, split.event, exactness);
      const data = opener.openJson(`${record.topic}#data`, split.data, exactness);
      return { event, data };
    }
    const { event, opened } = this.#event(record, value, exactness);
    const avro = avroData(event);
    if (avro !== null) return { event, data: opener.openFramed(avro, exactness) };
    const data = event['data'];
    if (isObject(data) && !('before' in data) && 'schema' in data && 'payload' in data) {
      const schema = parseConnectSchema(data['schema']);
      return { event, data: { schema, payload: data['payload'], exactness } };
    }
    // Within an event in Avro the data may be a record of the event's own schema.
    const schema = schemaField(opened.schema, 'data') ?? null;
    return { event, data: { schema, payload: data, exactness: opened.exactness } };
  }

  #event(
    record: LogRecord,
    bytes: Buffer,
    exactness: Exactness,
  ): { readonly event: Event; readonly opened: Opened } {
    const opened = this.#context.opener.open(record, 'value', bytes, exactness);
    const event = opened.payload;
    if (!isObject(event) || typeof event['specversion'] !== 'string') {
      throw new Problem('RECORD_UNKNOWN', 'not a CloudEvent, as source.form says it is');
    }
    if (event['specversion'] !== '1.0') {
      throw new Problem('UNSUPPORTED', 'the version of the CloudEvent is not 1.0');
    }
    return { event, opened };
  }
}

/**
 * The event without its data, and the data, of an event whose data has its schema and stands last,
 * as the converter writes it; else null. The attributes before it are plain values, and within a
 * text its quotes would be escaped: these bytes are the data's name and nothing else.
 */
function splitData(bytes: Buffer): { readonly event: Buffer; readonly data: Buffer } | null {
  const at = bytes.indexOf(DATA);
  const start = at + DATA.length;
  if (at < 0 || !bytes.subarray(start, start + WITH_SCHEMA.length).equals(WITH_SCHEMA)) return null;
  const last = bytes.length - 1;
  if (bytes[last] !== BRACE_CLOSE) throw new Problem('RECORD_CORRUPT', 'the record is cut off');
  return {
    event: Buffer.concat([bytes.subarray(0, at), bytes.subarray(last)]),
    data: bytes.subarray(start, last),
  };
}

const BRACE_CLOSE = 0x7d;

/** The bytes of data in Avro, which JSON holds as base64; null if the data are no bytes. */
function avroData(event: Event): Buffer | null {
  if (event['datacontenttype'] !== 'application/avro') return null;
  const data = event['data'];
  if (Buffer.isBuffer(data)) return data;
  if (isObject(data)) return null;
  if (typeof data === 'string' && BASE64.test(data)) return Buffer.from(data, 'base64');
  throw new Problem('RECORD_CORRUPT', "the CloudEvent's data is not base64");
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** The source block that the attributes of an event are. */
export function attributesOf(event: Event): SourceBlock {
  const source: Record<string, unknown> = {};
  for (const { field, attribute } of SOURCE_FIELDS) {
    const value = event[attribute];
    if (value === undefined) continue;
    source[field] = INTEGERS.has(field) ? integerOf(value) : value;
  }
  return source;
}

function integerOf(value: unknown): unknown {
  return typeof value === 'string' && /^-?\d{1,19}$/.test(value) ? BigInt(value) : value;
}

function rowOf(data: Opened, rows: Event, side: 'before' | 'after'): SentRow | null {
  const row = rows[side];
  if (row === null || row === undefined) return null;
  return { schema: schemaField(data.schema, side) ?? null, row, extended: false };
}
