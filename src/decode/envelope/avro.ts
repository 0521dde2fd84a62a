/**
 * Avro records of AvroData, opened to what the same records are in JSON, except that a 64-bit
 * integer beyond 2^53 is a bigint, bytes are a Buffer, and floats that are no numbers are such.
 * A schema is translated and its reader compiled once.
 */
import avsc from 'avsc';
import { Problem } from '../problem.ts';
import { translateAvroSchema, type Convert, type ReaderSchema } from './avro-schema.ts';
import type { ConnectSchema } from './connect-schema.ts';
import type { Exactness } from './exact-number.ts';
import type { Opened } from './json.ts';

export class AvroReader {
  readonly #schema: ConnectSchema;
  readonly #type: avsc.Type;
  readonly #convert: Convert | null;

  /** Of a registered schema, parsed. Throws a Problem, RECORD_CORRUPT, if it is not Connect's. */
  constructor(json: unknown) {
    const { connect, reader, convert } = translateAvroSchema(json);
    this.#schema = connect;
    this.#type = compile(reader);
    this.#convert = convert;
  }

  /** Throws a Problem, RECORD_CORRUPT, for bytes that are not exactly one datum of the schema. */
  open(body: Buffer, exactness: Exactness): Opened {
    let datum: unknown;
    try {
      datum = this.#type.fromBuffer(body);
    } catch (error) {
      // The reader's own errors are plain ones, and may quote what they read.
      if (!(error instanceof Error)) throw error;
      throw new Problem('RECORD_CORRUPT', 'the record is not a datum of its registered schema');
    }
    const payload = this.#convert === null || datum === null ? datum : this.#convert(datum);
    return { schema: this.#schema, payload, exactness };
  }
}

function compile(schema: ReaderSchema): avsc.Type {
  try {
    return avsc.Type.forSchema(schema as avsc.Schema, {
      wrapUnions: 'never',
      omitRecordMethods: true,
      typeHook: (part, options) => {
        if (part === 'long') return LONG;
        return isArray(part) ? new BoundedArray(part, options) : undefined;
      },
    });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    throw new Problem('RECORD_CORRUPT', 'the registered schema cannot be read');
  }
}

function isArray(schema: avsc.Schema): boolean {
  return typeof schema === 'object' && 'type' in schema && schema.type === 'array';
}

/** What avsc's types read from; its type declarations leave it out. */
interface Tap {
  readonly buf: Buffer;
  readonly pos: number;
  readLong(): number;
  skipLong(): void;
}
interface Readable {
  _read(tap: Tap): unknown;
}

/**
 * An array that believes no count beyond the bytes that are left: avsc would go on reading nothing
 * for as many items as broken bytes say.
 */
class BoundedArray extends avsc.types.ArrayType {
  _read(tap: Tap): unknown {
    const items = this.itemsType as unknown as Readable;
    const values: unknown[] = [];
    for (;;) {
      let count = tap.readLong();
      if (count === 0) return values;
      if (count < 0) {
        count = -count;
        tap.skipLong();
      }
      if (count > tap.buf.length - tap.pos) throw new RangeError('more items than bytes');
      for (; count > 0; count -= 1) values.push(items._read(tap));
    }
  }
}

const SAFE_BYTES = 7;

/** Numbers where they are exact, bigints beyond. Never used to write. */
const LONG = avsc.types.LongType.__with(
  {
    fromBuffer: longFromVarint,
    toBuffer: notWritten,
    fromJSON: notWritten,
    toJSON: notWritten,
    isValid: (value: unknown) => typeof value === 'number' || typeof value === 'bigint',
    compare: notWritten,
  },
  true,
);

/** A zigzag number in 7-bit groups, the lowest first. */
function longFromVarint(bytes: Buffer): number | bigint {
  if (bytes.length <= SAFE_BYTES) {
    let value = 0;
    for (let i = bytes.length - 1; i >= 0; i -= 1) value = value * 128 + ((bytes[i] ?? 0) & 0x7f);
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }
  if (bytes.length > 10) throw new RangeError('an integer of more than 64 bits');
  let raw = 0n;
  for (let i = bytes.length - 1; i >= 0; i -= 1) raw = raw * 128n + BigInt((bytes[i] ?? 0) & 0x7f);
  const value = BigInt.asIntN(64, (raw >> 1n) ^ -(raw & 1n));
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function notWritten(): never {
  throw new Error('records are only read');
}
