/**
 * How a record made with a schema registry says which schema it has: by headers, or by bytes
 * before the datum. Formats: Confluent's wire format (0x00 and a 4-byte id, 0x01 and a 16-byte
 * GUID, the same bytes in the headers `__key_schema_id` and `__value_schema_id`), Apicurio's id
 * handlers (0x00 and a content or global id of 4 or 8 bytes) and its headers
 * `apicurio.value.contentId`, `apicurio.value.globalId`. Integers are big-endian.
 */
import type { LogRecord } from '../../change/record.ts';
import { Problem } from '../problem.ts';
import type { SchemaRef, WireFormat } from './schema-store.ts';

export type RecordSide = 'key' | 'value';

export interface Frame {
  readonly ref: SchemaRef;
  /** The datum alone. Shares the record's memory. */
  readonly body: Buffer;
}

const ID = 0;
const GUID = 1;
const GUID_BYTES = 16;

const HEADERS = {
  key: {
    confluent: '__key_schema_id',
    contentId: 'apicurio.key.contentId',
    globalId: 'apicurio.key.globalId',
    encoding: 'apicurio.key.encoding',
  },
  value: {
    confluent: '__value_schema_id',
    contentId: 'apicurio.value.contentId',
    globalId: 'apicurio.value.globalId',
    encoding: 'apicurio.value.encoding',
  },
} as const;

const OF_SCHEMAS: ReadonlySet<string> = new Set(
  Object.values(HEADERS).flatMap((names) => Object.values(names)),
);

/** Do any of these headers say what schema the record has? Then `frameOf` must see them. */
export function nameSchemas(headers: LogRecord['headers']): boolean {
  for (let i = 0; i < headers.length; i += 1) {
    const name = headers[i]?.[0] ?? '';
    // Debezium's own are on every record.
    if (!name.startsWith('__debezium.') && OF_SCHEMAS.has(name)) return true;
  }
  return false;
}

/**
 * The frame of a record's key or value; null for what carries none (JSON). `headers` are those of
 * the record, or empty where they name no schema. `wire` is null where no registry is configured.
 * Throws a Problem: UNSUPPORTED for a framing that the configuration does
 * not name, RECORD_CORRUPT for one that is cut off.
 */
export function frameOf(
  headers: LogRecord['headers'],
  side: RecordSide,
  bytes: Buffer,
  wire: WireFormat | null,
): Frame | null {
  const named = headers.length === 0 ? null : namedByHeader(headers, side, wire);
  if (named !== null) return { ref: named, body: bytes };
  const magic = bytes[0];
  if (magic !== ID && magic !== GUID) return null;
  if (wire === null) {
    throw new Problem(
      'UNSUPPORTED',
      'the record is framed for a schema registry (Avro), and source.schemaRegistry is not set',
    );
  }
  return framed(bytes, wire);
}

function framed(bytes: Buffer, wire: WireFormat): Frame {
  if (wire.api === 'confluent') {
    const length = 1 + (bytes[0] === GUID ? GUID_BYTES : 4);
    return { ref: confluentRef(bytes.subarray(0, length)), body: bytes.subarray(length) };
  }
  if (bytes[0] !== ID) {
    throw new Problem('UNSUPPORTED', "the record is not in one of Apicurio's wire formats");
  }
  const length = 1 + wire.idBytes;
  if (bytes.length < length) throw cutOff();
  const id = wire.idBytes === 8 ? String(bytes.readBigInt64BE(1)) : String(bytes.readInt32BE(1));
  return { ref: { kind: wire.ids, id }, body: bytes.subarray(length) };
}

/** 0x00 and an id, or 0x01 and a GUID: before the datum, or alone in a header. */
function confluentRef(bytes: Buffer): SchemaRef {
  if (bytes[0] === ID && bytes.length === 5) {
    return { kind: 'id', id: String(bytes.readInt32BE(1)) };
  }
  if (bytes[0] === GUID && bytes.length === 1 + GUID_BYTES) {
    const hex = bytes.toString('hex', 1);
    const parts = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20)];
    return { kind: 'guid', id: [...parts, hex.slice(20)].join('-') };
  }
  throw cutOff();
}

function namedByHeader(
  headers: LogRecord['headers'],
  side: RecordSide,
  wire: WireFormat | null,
): SchemaRef | null {
  const names = HEADERS[side];
  let found: { readonly api: WireFormat['api']; readonly ref: () => SchemaRef } | null = null;
  for (const [name, value] of headers) {
    if (name === names.confluent) found = { api: 'confluent', ref: () => confluentRef(value) };
    else if (name === names.contentId) {
      found = { api: 'apicurio', ref: () => apicurioRef('contentId', value) };
    } else if (name === names.globalId) {
      found = { api: 'apicurio', ref: () => apicurioRef('globalId', value) };
    } else if (name === names.encoding && value.toString('latin1') !== 'BINARY') {
      throw new Problem('UNSUPPORTED', `the record's Avro encoding, by ${name}, is not BINARY`);
    }
  }
  if (found === null) return null;
  if (wire?.api !== found.api) {
    throw new Problem(
      'UNSUPPORTED',
      `the record names its schema in ${found.api}'s headers; set source.schemaRegistry.api to ` +
        found.api,
    );
  }
  return found.ref();
}

function apicurioRef(kind: 'contentId' | 'globalId', value: Buffer): SchemaRef {
  if (value.length !== 8) throw cutOff();
  return { kind, id: String(value.readBigInt64BE(0)) };
}

function cutOff(): Problem {
  return new Problem('RECORD_CORRUPT', "the record's schema id is cut off");
}
