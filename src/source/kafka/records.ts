import type { LogRecord } from '../../change/record.ts';

/** What the records of one batch have in common. */
export interface BatchPlace {
  readonly topic: string;
  readonly partition: number;
  /** Records before it are left out: a fetch returns whole batches. */
  readonly from: bigint;
  readonly firstOffset: bigint;
  readonly firstTimestamp: number;
  /** The broker's time for the whole batch, where the topic keeps that one. */
  readonly appendedAt: number | null;
}

const NO_HEADERS: LogRecord['headers'] = [];
const EMPTY = Buffer.alloc(0);

/**
 * Appends the records in `bytes` (an uncompressed batch body) to `into`. Keys and values are
 * views of `bytes`. Throws a RangeError if the bytes end early or a length is impossible.
 */
export function readRecords(
  bytes: Buffer,
  count: number,
  into: LogRecord[],
  place: BatchPlace,
): void {
  const { topic, partition, from, firstOffset, firstTimestamp, appendedAt } = place;
  const cursor = new VarCursor(bytes);
  const headerReader = new HeaderReader(bytes);
  for (let i = 0; i < count; i += 1) {
    const length = cursor.varint();
    const end = cursor.at + length;
    if (length < 0 || end > bytes.length) throw new RangeError('a record is cut off');
    cursor.at += 1; // attributes, unused
    const timestampDelta = cursor.varint();
    const offset = firstOffset + BigInt(cursor.varint());
    if (offset < from) {
      cursor.at = end;
      continue;
    }
    const key = cursor.bytes();
    const value = cursor.bytes();
    const headers = headerReader.read(cursor, end);
    if (cursor.at !== end) throw new RangeError('a record is not as long as it says');
    into.push({
      topic,
      partition,
      offset,
      timestampMs: appendedAt ?? firstTimestamp + timestampDelta,
      key,
      value,
      headers,
    });
  }
}

/**
 * Debezium sends the same headers with most records of a table: of a batch's records that follow
 * one another with equal header bytes, the first one's headers serve all.
 */
class HeaderReader {
  readonly #buffer: Buffer;
  #bytes: Buffer = EMPTY;
  #headers = NO_HEADERS;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  /** The headers between the cursor and `end`, the record's end; moves the cursor behind them. */
  read(cursor: VarCursor, end: number): LogRecord['headers'] {
    const start = cursor.at;
    if (this.#seenBefore(start, end)) {
      cursor.at = end;
    } else {
      this.#headers = readHeaders(cursor);
      this.#bytes = this.#buffer.subarray(start, cursor.at);
    }
    return this.#headers;
  }

  #seenBefore(start: number, end: number): boolean {
    const { length } = this.#bytes;
    if (length === 0 || length !== end - start) return false;
    // For so few bytes faster than a call of `compare`. What differs mostly stands at the end.
    for (let i = length - 1; i >= 0; i -= 1) {
      if (this.#bytes[i] !== this.#buffer[start + i]) return false;
    }
    return true;
  }
}

/** A header without a value becomes an empty one. */
function readHeaders(cursor: VarCursor): LogRecord['headers'] {
  const count = cursor.varint();
  if (count <= 0) return NO_HEADERS;
  const headers: [string, Buffer][] = [];
  for (let i = 0; i < count; i += 1) {
    const name = cursor.bytes()?.toString('utf8') ?? '';
    headers.push([name, cursor.bytes() ?? EMPTY]);
  }
  return headers;
}

class VarCursor {
  readonly #buffer: Buffer;
  at = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  /** A zigzag varint or varlong; exact within ±2^53, which covers lengths and time deltas. */
  varint(): number {
    const buffer = this.#buffer;
    let byte = buffer[this.at++];
    if (byte === undefined) throw new RangeError('a number is cut off');
    if (byte < 0x80) return (byte >>> 1) ^ -(byte & 1);
    let raw = byte & 0x7f;
    let scale = 0x80;
    do {
      byte = buffer[this.at++];
      if (byte === undefined) throw new RangeError('a number is cut off');
      raw += (byte & 0x7f) * scale;
      scale *= 0x80;
    } while (byte >= 0x80);
    return raw % 2 === 0 ? raw / 2 : -(raw + 1) / 2;
  }

  /** Length-prefixed bytes; null for length -1. */
  bytes(): Buffer | null {
    const length = this.varint();
    if (length < 0) return null;
    const end = this.at + length;
    if (end > this.#buffer.length) throw new RangeError('a field is cut off');
    const bytes = this.#buffer.subarray(this.at, end);
    this.at = end;
    return bytes;
  }
}
