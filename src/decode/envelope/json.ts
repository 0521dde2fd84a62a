/**
 * JsonConverter's records: `{"schema":…,"payload":…}` (schemas.enable=true) or the bare payload.
 * Another encoding stands beside this file and gives the same `Opened`.
 *
 * A topic's schema part is nearly constant and many times larger than its payload. Each distinct
 * one is parsed once; later records whose first bytes are equal to it have only their payload
 * parsed, and get the same `schema` object, so that what was compiled for it is found by identity.
 */
import { isUtf8 } from 'node:buffer';
import { Problem } from '../problem.ts';
import { ChangeTexts } from './change-text.ts';
import { parseConnectSchema, type ConnectSchema } from './connect-schema.ts';
import { isObject, parseExact, type Exactness } from './exact-number.ts';

/** A record's key or value with its schema, if it carries one. */
export interface Opened {
  readonly schema: ConnectSchema | null;
  readonly payload: unknown;
  readonly exactness: Exactness;
}

interface KnownSchema {
  /** All bytes up to and including `"payload":`. */
  readonly prefix: Buffer;
  readonly schema: ConnectSchema;
  readonly changes: ChangeTexts;
}

/** Schemas remembered per topic; a topic rarely has more than two alive at a time. */
const REMEMBERED = 8;

const BRACE_OPEN = 0x7b;
const BRACE_CLOSE = 0x7d;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SCHEMA_FIRST = Buffer.from('{"schema":');
const PAYLOAD_NEXT = Buffer.from(',"payload":');

/** Opens the keys, or the values, of one topic after another. */
export class JsonOpener {
  readonly #known = new Map<string, KnownSchema[]>();
  readonly #bare = new Map<string, ChangeTexts>();

  /**
   * Parses a record's key or value. `exactness: 'exact'` keeps every number as it was written, at
   * a price (see exact-number). Throws a Problem: RECORD_CORRUPT for what is not UTF-8 JSON.
   */
  open(topic: string, bytes: Buffer, exactness: Exactness): Opened {
    return this.#open(topic, bytes, exactness, false);
  }

  /**
   * The same of what should be a change in Debezium's envelope. Of its payload may be left out what
   * no change is asked for (see change-text).
   */
  openChange(topic: string, bytes: Buffer, exactness: Exactness): Opened {
    return this.#open(topic, bytes, exactness, true);
  }

  #open(topic: string, bytes: Buffer, exactness: Exactness, isChange: boolean): Opened {
    const known = this.#known.get(topic);
    if (known !== undefined) {
      for (let i = 0; i < known.length; i += 1) {
        const candidate = known[i];
        if (candidate !== undefined && startsWith(bytes, candidate.prefix)) {
          // The last used one first: an old and a new schema seldom alternate.
          if (i > 0) known.unshift(...known.splice(i, 1));
          return openPayload(bytes, candidate, exactness, isChange);
        }
      }
    }
    return this.#openWhole(topic, bytes, exactness, isChange);
  }

  #openWhole(topic: string, bytes: Buffer, exactness: Exactness, isChange: boolean): Opened {
    const text = utf8(bytes, 0, bytes.length);
    const json = isChange
      ? this.#bareChanges(topic).read(text, PARSERS[exactness])
      : PARSERS[exactness](text);
    if (!isObject(json) || !('schema' in json) || !('payload' in json)) {
      return { schema: null, payload: json, exactness };
    }
    if (json['schema'] === null) return { schema: null, payload: json['payload'], exactness };
    const schema = parseConnectSchema(json['schema']);
    const start = payloadStart(bytes);
    if (start === null) return { schema, payload: json['payload'], exactness };
    const known = this.#known.get(topic) ?? [];
    const prefix = Buffer.from(bytes.subarray(0, start));
    known.unshift({ prefix, schema, changes: new ChangeTexts() });
    known.length = Math.min(known.length, REMEMBERED);
    this.#known.set(topic, known);
    return { schema, payload: json['payload'], exactness };
  }

  /** Of changes without schema. */
  #bareChanges(topic: string): ChangeTexts {
    const known = this.#bare.get(topic);
    if (known !== undefined) return known;
    const changes = new ChangeTexts();
    this.#bare.set(topic, changes);
    return changes;
  }
}

/** By its first and last byte, as converters write objects. */
export function endsAsObject(bytes: Buffer): boolean {
  return bytes[0] === BRACE_OPEN && bytes[bytes.length - 1] === BRACE_CLOSE;
}

function openPayload(
  bytes: Buffer,
  known: KnownSchema,
  exactness: Exactness,
  isChange: boolean,
): Opened {
  if (bytes[bytes.length - 1] !== BRACE_CLOSE) {
    throw new Problem('RECORD_CORRUPT', 'the record is cut off');
  }
  const text = utf8(bytes, known.prefix.length, bytes.length - 1);
  const parse = PARSERS[exactness];
  const payload = isChange ? known.changes.read(text, parse) : parse(text);
  return { schema: known.schema, payload, exactness };
}

function startsWith(bytes: Buffer, prefix: Buffer): boolean {
  return (
    bytes.length > prefix.length && bytes.compare(prefix, 0, prefix.length, 0, prefix.length) === 0
  );
}

/** What a broken byte becomes. */
const REPLACED = '\ufffd';

/** Text of bytes that must be UTF-8. What stands beside the part may be looked at too. */
function utf8(bytes: Buffer, from: number, to: number): string {
  const text = bytes.toString('utf8', from, to);
  // To look for it in the text costs nothing where all characters are Latin.
  if (text.includes(REPLACED) && !isUtf8(bytes)) {
    throw new Problem('RECORD_CORRUPT', 'the record is not UTF-8');
  }
  return text;
}

const PARSERS: Readonly<Record<Exactness, (text: string) => unknown>> = {
  native: (text) => parse(text, JSON.parse),
  exact: (text) => parse(text, parseExact),
};

function parse(text: string, parser: (text: string) => unknown): unknown {
  try {
    return parser(text);
  } catch (error) {
    // The parser's message quotes the text, so it must not be passed on.
    if (error instanceof SyntaxError) {
      throw new Problem('RECORD_CORRUPT', 'the record is not JSON');
    }
    throw error;
  }
}

/**
 * Where the payload starts in `{"schema":{…},"payload":…}`; null if the record is not written in
 * just this way (other order, spaces). The bytes are known to be JSON.
 */
function payloadStart(bytes: Buffer): number | null {
  if (!startsWith(bytes, SCHEMA_FIRST)) return null;
  let depth = 0;
  let quoted = false;
  for (let i = SCHEMA_FIRST.length; i < bytes.length; i += 1) {
    const byte = bytes[i];
    if (quoted) {
      if (byte === BACKSLASH) i += 1;
      else if (byte === QUOTE) quoted = false;
      continue;
    }
    if (byte === QUOTE) quoted = true;
    else if (byte === BRACE_OPEN) depth += 1;
    else if (byte === BRACE_CLOSE) {
      depth -= 1;
      if (depth > 0) continue;
      const next = i + 1;
      const end = next + PAYLOAD_NEXT.length;
      return bytes.subarray(next, end).equals(PAYLOAD_NEXT) ? end : null;
    }
  }
  return null;
}
