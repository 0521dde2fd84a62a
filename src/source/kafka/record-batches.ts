/**
 * Kafka's record batches (message format 2, kafka.apache.org/documentation/#recordbatch) to
 * records: aborted and control records left out, and the offset to fetch next. Which batches are
 * aborted follows the Java consumer's rule. No byte of a key or value is copied.
 */
import type { LogRecord } from '../../change/record.ts';
import { UnderstudyError } from '../../errors/understudy-error.ts';
import { decompress } from './codecs.ts';
import type { AbortedTransaction } from './fetch-response.ts';
import { readRecords } from './records.ts';

export interface FetchedRecords {
  readonly records: readonly LogRecord[];
  /** After the last batch, whatever was left out of it. Equal to `from` if nothing came. */
  readonly next: bigint;
  /** Leader epoch of the first and the last batch; null when nothing came. */
  readonly epochs: readonly [first: number, last: number] | null;
}

interface Batch {
  readonly firstOffset: bigint;
  readonly lastOffset: bigint;
  readonly epoch: number;
  readonly attributes: number;
  readonly firstTimestamp: number;
  readonly maxTimestamp: number;
  readonly producerId: bigint;
  readonly count: number;
  /** The records, still compressed. */
  readonly payload: Buffer;
}

/** Bytes before a batch's own length begins to count, and of its whole header. */
const LENGTH_END = 12;
const HEADER_BYTES = 61;
const MAGIC = 2;

const CODEC_MASK = 0x07;
const LOG_APPEND_TIME = 0x08;
const TRANSACTIONAL = 0x10;
const CONTROL = 0x20;

/**
 * The records of one fetched partition from offset `from` on. `bytes` may begin with a batch that
 * reaches back before `from`, and may end in the middle of one.
 * RECORD_CORRUPT names the batch that cannot be read.
 */
export async function readBatches(
  topic: string,
  partition: number,
  from: bigint,
  bytes: Buffer,
  aborted: readonly AbortedTransaction[],
): Promise<FetchedRecords> {
  const corrupt = (offset: bigint, detail: string, cause?: unknown): UnderstudyError =>
    new UnderstudyError(
      'RECORD_CORRUPT',
      'a record batch cannot be read',
      { topic, partition, offset, detail },
      cause,
    );

  const batches: Batch[] = [];
  for (let at = 0; ;) {
    const batch = readBatch(bytes, at, corrupt);
    if (batch === null) break;
    at += batch.size;
    if (batch.header.lastOffset >= from) batches.push(batch.header);
  }

  const visible = committed(batches, aborted);
  const payloads = await Promise.all(
    visible.map(async (batch) => {
      try {
        return await decompress(batch.attributes & CODEC_MASK, batch.payload);
      } catch (error) {
        throw corrupt(batch.firstOffset, describe(error), error);
      }
    }),
  );

  const records: LogRecord[] = [];
  visible.forEach((batch, i) => {
    const payload = payloads[i];
    if (payload === undefined) return;
    const appended = (batch.attributes & LOG_APPEND_TIME) !== 0;
    try {
      readRecords(payload, batch.count, records, {
        topic,
        partition,
        from,
        firstOffset: batch.firstOffset,
        firstTimestamp: batch.firstTimestamp,
        appendedAt: appended ? batch.maxTimestamp : null,
      });
    } catch (error) {
      throw corrupt(batch.firstOffset, describe(error), error);
    }
  });

  const first = batches[0];
  const last = batches.at(-1);
  return {
    records,
    next: last === undefined ? from : last.lastOffset + 1n,
    epochs: first === undefined || last === undefined ? null : [first.epoch, last.epoch],
  };
}

/** The batch at `at`; null where there is none or the answer ends within it. */
function readBatch(
  bytes: Buffer,
  at: number,
  corrupt: (offset: bigint, detail: string) => UnderstudyError,
): { readonly header: Batch; readonly size: number } | null {
  if (at + LENGTH_END > bytes.length) return null;
  const firstOffset = bytes.readBigInt64BE(at);
  const size = LENGTH_END + bytes.readInt32BE(at + 8);
  // The broker cuts the answer at its size limit. The first batch always comes whole.
  if (at + size > bytes.length) return null;
  const magic = size > 16 ? bytes.readInt8(at + 16) : -1;
  if (magic !== MAGIC) throw corrupt(firstOffset, `message format ${magic} is not supported`);
  if (size < HEADER_BYTES) throw corrupt(firstOffset, 'the batch is shorter than its header');
  const header: Batch = {
    firstOffset,
    epoch: bytes.readInt32BE(at + 12),
    attributes: bytes.readInt16BE(at + 21),
    lastOffset: firstOffset + BigInt(bytes.readInt32BE(at + 23)),
    firstTimestamp: Number(bytes.readBigInt64BE(at + 27)),
    maxTimestamp: Number(bytes.readBigInt64BE(at + 35)),
    producerId: bytes.readBigInt64BE(at + 43),
    count: bytes.readInt32BE(at + 57),
    payload: bytes.subarray(at + HEADER_BYTES, at + size),
  };
  return { header, size };
}

/** The batches a read-committed reader sees, without control batches and empty ones. */
function committed(
  batches: readonly Batch[],
  aborted: readonly AbortedTransaction[],
): readonly Batch[] {
  // The broker lists aborted transactions by their end.
  const pending = aborted.toSorted((a, b) => (a.firstOffset < b.firstOffset ? -1 : 1));
  const aborting = new Set<bigint>();
  let opened = 0;
  return batches.filter((batch) => {
    for (; opened < pending.length; opened += 1) {
      const transaction = pending[opened];
      if (transaction === undefined || transaction.firstOffset > batch.lastOffset) break;
      aborting.add(transaction.producerId);
    }
    if ((batch.attributes & CONTROL) !== 0) {
      if (isAbort(batch)) aborting.delete(batch.producerId);
      return false;
    }
    if ((batch.attributes & TRANSACTIONAL) !== 0 && aborting.has(batch.producerId)) return false;
    return batch.count > 0;
  });
}

/**
 * A control batch holds one record, never compressed: length, attributes, timestamp and offset
 * deltas and key length are one byte each; the key is version (int16) and type (int16), of which
 * 0 aborts and 1 commits.
 */
function isAbort(batch: Batch): boolean {
  return batch.count > 0 && batch.payload.length >= 9 && batch.payload.readInt16BE(7) === 0;
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
