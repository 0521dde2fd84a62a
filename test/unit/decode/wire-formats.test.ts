/**
 * Records of every wire format of a registry through the whole decoder, key and value, on bytes made
 * of a captured record; and each of them cut off at every byte of its frame.
 */
import { describe, expect, test } from 'vitest';
import type { DecodedRecord, LogRecord } from '../../../src/change/record.ts';
import type { SchemaRef, WireFormat } from '../../../src/decode/envelope/schema-store.ts';
import type { Decoder } from '../../../src/decode/decoder.ts';
import { isUnderstudyError } from '../../../src/errors/understudy-error.ts';
import {
  captureDecoder,
  capturedCatalogue,
  capturedRecords,
  capturedRegistry,
  DEFAULT_MODES,
} from '../../support/debezium-records.ts';

const registry = capturedRegistry();
const [captured = never()] = capturedRecords('pg.types.avro_unicode', 'avro');
const value = captured.value ?? never();
const key = captured.key ?? never();
const MODES = { ...DEFAULT_MODES, names: 'avro_unicode' } as const;
const TYPES = capturedCatalogue('types');

/** The id of the captured schema that the frame of a side names. */
const ID = { value: value.readInt32BE(1), key: key.readInt32BE(1) };
const BODY = { value: value.subarray(5), key: key.subarray(5) };
type Side = 'key' | 'value';

const int = (n: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(n);
  return bytes;
};
const long = (n: number): Buffer => Buffer.concat([Buffer.alloc(4), int(n)]);
/** A GUID that ends with the id. */
const guid = (n: number): Buffer => Buffer.concat([Buffer.alloc(12, 0xab), int(n)]);
const byte = (n: number, bytes: Buffer): Buffer => Buffer.concat([Buffer.of(n), bytes]);

interface Format {
  readonly name: string;
  readonly wire: WireFormat;
  readonly kind: SchemaRef['kind'];
  readonly frame: (id: number) => Buffer;
  /** In a header of this name, instead of before the datum. */
  readonly header?: (side: Side) => string;
}

const CONFLUENT: WireFormat = { api: 'confluent' };
const apicurio = (ids: 'contentId' | 'globalId', idBytes: 4 | 8): WireFormat => ({
  api: 'apicurio',
  ids,
  idBytes,
});
const confluentHeader = (side: Side): string => `__${side}_schema_id`;

const FORMATS: readonly Format[] = [
  { name: 'id', wire: CONFLUENT, kind: 'id', frame: (id) => byte(0, int(id)) },
  { name: 'GUID', wire: CONFLUENT, kind: 'guid', frame: (id) => byte(1, guid(id)) },
  {
    ...{ name: 'id in a header', wire: CONFLUENT, kind: 'id' },
    ...{ frame: (id) => byte(0, int(id)), header: confluentHeader },
  },
  {
    ...{ name: 'GUID in a header', wire: CONFLUENT, kind: 'guid' },
    ...{ frame: (id) => byte(1, guid(id)), header: confluentHeader },
  },
  ...(['contentId', 'globalId'] as const).flatMap((kind): readonly Format[] => [
    {
      ...{ name: `${kind} of 4 bytes`, wire: apicurio(kind, 4), kind },
      frame: (id) => byte(0, int(id)),
    },
    {
      ...{ name: `${kind} of 8 bytes`, wire: apicurio(kind, 8), kind },
      frame: (id) => byte(0, long(id)),
    },
    {
      ...{ name: `${kind} in a header`, wire: apicurio('globalId', 8), kind, frame: long },
      header: (side) => `apicurio.${side}.${kind}`,
    },
  ]),
];

/** The number that a reference of any kind ends with. */
const idOf = (ref: SchemaRef): number =>
  ref.kind === 'guid' ? parseInt(ref.id.slice(-8), 16) : Number(ref.id);

function decoderOf(format: Format, asked: SchemaRef[] = []): Decoder {
  const schema = (ref: SchemaRef): unknown => {
    asked.push(ref);
    return registry.schemas.schema({ kind: 'id', id: String(idOf(ref)) });
  };
  return captureDecoder('obs_pgavrou', TYPES, MODES, { wire: format.wire, schemas: { schema } });
}

/** `cut` bytes are left of the frame of `side`; by default all. */
function made(format: Format, cut: { side: Side; length: number } | null = null): LogRecord {
  const frame = (side: Side): Buffer => {
    const whole = format.frame(ID[side]);
    return cut?.side === side ? whole.subarray(0, cut.length) : whole;
  };
  const bytes = (side: Side): Buffer => {
    if (format.header !== undefined) return BODY[side];
    // Cut off, nothing follows.
    return cut?.side === side ? frame(side) : Buffer.concat([frame(side), BODY[side]]);
  };
  const { header } = format;
  return {
    ...captured,
    headers:
      header === undefined
        ? []
        : (['key', 'value'] as const).map((side) => [header(side), frame(side)] as const),
    key: bytes('key'),
    value: bytes('value'),
  };
}

function expected(): DecodedRecord {
  return captureDecoder('obs_pgavrou', TYPES, MODES, registry).decode(captured);
}

describe.each(FORMATS)('a record framed by $name', (format) => {
  test('says what the captured one does', () => {
    const asked: SchemaRef[] = [];
    const decoder = decoderOf(format, asked);
    expect(decoder.missing(made(format))).toEqual([]);
    const { bytes: _, ...decoded } = decoder.decode(made(format)) as DecodedRecord & {
      bytes: number;
    };
    const { bytes: __, ...right } = expected() as DecodedRecord & { bytes: number };
    expect(decoded).toEqual(right);
    expect(new Set(asked.map((ref) => ref.kind))).toEqual(new Set([format.kind]));
    expect(new Set(asked.map(idOf))).toEqual(new Set([ID.key, ID.value]));
  });

  test.each(['key', 'value'] as const)(
    'is corrupt where the frame of its %s is cut off',
    (side) => {
      for (let length = 0; length < format.frame(0).length; length += 1) {
        const record = made(format, { side, length });
        let told: unknown;
        try {
          told = decoderOf(format).decode(record);
        } catch (error) {
          told = error;
        }
        if (!isUnderstudyError(told)) throw new Error(`decoded with ${length} bytes of the frame`);
        expect(told.code).toBe('RECORD_CORRUPT');
        expect(told.context).toMatchObject({ topic: captured.topic, offset: captured.offset });
      }
    },
  );
});

function never(): never {
  throw new Error('is missing in the capture');
}
