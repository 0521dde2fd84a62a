/**
 * Kafka's Fetch response, versions 4 to 11, up to the record batches (kafka.apache.org/protocol).
 *
 * Read here and not by kafkajs, because kafkajs hides what a reader that may lose nothing needs:
 * the end of a batch whose last records were compacted away (or which is empty altogether), the
 * last stable offset, and which of several partitions failed.
 */

/** A partition's part of an answer; `records` are whole record batches, as they came. */
export interface FetchedPartition {
  readonly topic: string;
  readonly partition: number;
  /** Kafka's error code; 0 is none. */
  readonly errorCode: number;
  readonly highWatermark: bigint;
  /** End of what a read-committed reader may see. */
  readonly lastStableOffset: bigint;
  readonly aborted: readonly AbortedTransaction[];
  readonly records: Buffer;
}

export interface AbortedTransaction {
  readonly producerId: bigint;
  readonly firstOffset: bigint;
}

export interface FetchResponse {
  readonly throttleMs: number;
  /** Kafka's error code for the whole request; 0 is none. */
  readonly errorCode: number;
  readonly partitions: readonly FetchedPartition[];
}

const NO_RECORDS = Buffer.alloc(0);

/** Reads an answer to a Fetch request of `version`. */
export function readFetchResponse(payload: Buffer, version: number): FetchResponse {
  if (version < 4 || version > 11) throw new Error(`Fetch version ${version} is not supported`);
  const cursor = new Cursor(payload);
  const throttleMs = cursor.int32();
  let errorCode = 0;
  if (version >= 7) {
    errorCode = cursor.int16();
    cursor.int32(); // session id: we use no fetch sessions
  }
  const partitions: FetchedPartition[] = [];
  for (let topics = cursor.int32(); topics > 0; topics -= 1) {
    const topic = cursor.string();
    for (let count = cursor.int32(); count > 0; count -= 1) {
      partitions.push(readPartition(cursor, topic, version));
    }
  }
  return { throttleMs, errorCode, partitions };
}

function readPartition(cursor: Cursor, topic: string, version: number): FetchedPartition {
  const partition = cursor.int32();
  const errorCode = cursor.int16();
  const highWatermark = cursor.int64();
  const stable = cursor.int64();
  if (version >= 5) cursor.int64(); // log start offset
  const aborted: AbortedTransaction[] = [];
  for (let count = cursor.int32(); count > 0; count -= 1) {
    aborted.push({ producerId: cursor.int64(), firstOffset: cursor.int64() });
  }
  if (version >= 11) cursor.int32(); // preferred read replica: we read from leaders
  const size = cursor.int32();
  const records = size > 0 ? cursor.bytes(size) : NO_RECORDS;
  // Brokers that know no transactions answer -1.
  const lastStableOffset = stable < 0n ? highWatermark : stable;
  return { topic, partition, errorCode, highWatermark, lastStableOffset, aborted, records };
}

class Cursor {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  int16(): number {
    this.#at += 2;
    return this.#buffer.readInt16BE(this.#at - 2);
  }

  int32(): number {
    this.#at += 4;
    return this.#buffer.readInt32BE(this.#at - 4);
  }

  int64(): bigint {
    this.#at += 8;
    return this.#buffer.readBigInt64BE(this.#at - 8);
  }

  string(): string {
    const length = this.int16();
    return this.bytes(length).toString('utf8');
  }

  bytes(length: number): Buffer {
    const end = this.#at + length;
    if (length < 0 || end > this.#buffer.length) throw new RangeError('the answer is cut off');
    const bytes = this.#buffer.subarray(this.#at, end);
    this.#at = end;
    return bytes;
  }
}
