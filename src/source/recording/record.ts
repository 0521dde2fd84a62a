import { partitionKey, type OffsetMap } from '../../change/position.ts';
import { recordBytes } from '../../change/record.ts';
import { UnderstudyError } from '../../errors/understudy-error.ts';
import type { ChangeSource, LogChunk, SourceState } from '../change-source.ts';
import type { RecordingWriter } from './recording-writer.ts';

export interface RecordOptions {
  /** Where to begin; partitions not named begin at their first record. Default: all there. */
  readonly from?: OffsetMap;
  /**
   * 'ends': up to where the log ends when recording begins, exactly; the signal interrupts it.
   * 'signal': on and on, until the signal ends it.
   */
  readonly until: 'ends' | 'signal';
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: RecordProgress) => void;
  readonly onState?: (state: SourceState) => void;
}

export interface RecordProgress {
  readonly records: number;
  /** Offsets still to read until the captured ends; null with `until: 'signal'`. */
  readonly remaining: bigint | null;
}

const BUDGET_BYTES = 32 * 1024 * 1024;

/**
 * Copies records from a source into a recording, in the order they arrive. Does not close the
 * writer. INTERRUPTED if the signal comes before the ends are reached.
 */
export async function record(
  source: ChangeSource,
  writer: RecordingWriter,
  options: RecordOptions,
): Promise<void> {
  const starts = await source.starts();
  const from = options.from ?? starts;
  const ends = options.until === 'ends' ? await source.ends() : null;
  writer.cover(new Map([...starts, ...from]));
  const open = remainingPartitions(from, starts, ends);
  const stream = await source.open(from, {
    budgetBytes: BUDGET_BYTES,
    group: 'understudy.record',
    signal: options.signal,
    ...(options.onState === undefined ? {} : { onState: options.onState }),
  });
  try {
    if (ends !== null && open.size === 0) return;
    for await (const chunk of stream.chunks) {
      const part = ends === null ? chunk : upTo(chunk, ends);
      if (part !== null) await writer.append(part);
      let bytes = 0;
      for (const each of chunk.records) bytes += recordBytes(each);
      stream.released(bytes);
      const key = partitionKey(chunk.topic, chunk.partition);
      const end = open.get(key)?.end;
      if (end !== undefined) {
        if (chunk.next >= end) open.delete(key);
        else open.set(key, { next: chunk.next, end });
      }
      options.onProgress?.({
        records: writer.records,
        remaining: ends === null ? null : sumRemaining(open),
      });
      if (ends !== null && open.size === 0) return;
    }
    if (ends !== null && open.size > 0) {
      throw new UnderstudyError('INTERRUPTED', 'the recording was not finished', {
        detail: `${sumRemaining(open)} offsets were still to come`,
      });
    }
  } finally {
    await stream[Symbol.asyncDispose]();
  }
}

type Remaining = Map<string, { readonly next: bigint; readonly end: bigint }>;

function remainingPartitions(
  from: OffsetMap,
  starts: OffsetMap,
  ends: OffsetMap | null,
): Remaining {
  const open: Remaining = new Map();
  for (const [key, end] of ends ?? []) {
    const next = from.get(key) ?? starts.get(key) ?? 0n;
    if (next < end) open.set(key, { next, end });
  }
  return open;
}

function sumRemaining(open: Remaining): bigint {
  let sum = 0n;
  for (const { next, end } of open.values()) sum += end - next;
  return sum;
}

/** The part of a chunk before the captured end; null for a partition that came later. */
function upTo(chunk: LogChunk, ends: OffsetMap): LogChunk | null {
  const end = ends.get(partitionKey(chunk.topic, chunk.partition));
  if (end === undefined) return null;
  if (chunk.next <= end) return chunk;
  return { ...chunk, records: chunk.records.filter(({ offset }) => offset < end), next: end };
}
