import {
  parsePartitionKey,
  partitionKey,
  type LogOffset,
  type OffsetMap,
} from '../change/position.ts';
import { recordBytes, type LogRecord } from '../change/record.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { ChangeSource } from './change-source.ts';

/**
 * Reads the records at these places, in no particular order. The source must have no stream open.
 * Reads over what lies between them. LOG_GAP if the log no longer holds one of them.
 */
export async function* readPlaces(
  source: ChangeSource,
  places: readonly LogOffset[],
  options: {
    readonly budgetBytes: number;
    readonly group: string;
    readonly signal: AbortSignal;
    readonly ids?: ReadonlyMap<string, string> | undefined;
  },
): AsyncGenerator<LogRecord> {
  if (places.length === 0) return;
  const wanted = new Map<string, Set<bigint>>();
  // Partitions of which nothing is wanted bring nothing: they are read on from their ends.
  const from = new Map<string, bigint>(await source.ends());
  for (const { topic, partition, offset } of places) {
    const key = partitionKey(topic, partition);
    const offsets = wanted.get(key) ?? new Set();
    wanted.set(key, offsets.add(offset));
    if (offsets.size === 1 || offset < (from.get(key) ?? offset)) from.set(key, offset);
  }
  await assertHeld(source, from, wanted);
  const stop = new AbortController();
  await using stream = await source.open(from, {
    ...options,
    signal: AbortSignal.any([options.signal, stop.signal]),
  });
  for await (const chunk of stream.chunks) {
    const key = partitionKey(chunk.topic, chunk.partition);
    const offsets = wanted.get(key);
    for (const record of chunk.records) {
      if (offsets?.delete(record.offset) === true) yield record;
      stream.released(recordBytes(record));
    }
    for (const offset of offsets ?? []) {
      if (offset < chunk.next) throw gone({ ...chunk, offset });
    }
    if (offsets?.size === 0) wanted.delete(key);
    if (wanted.size === 0) break;
  }
  stop.abort();
  for (const [key, offsets] of wanted) {
    for (const offset of offsets) throw gone({ ...parsePartitionKey(key), offset });
  }
}

async function assertHeld(
  source: ChangeSource,
  from: OffsetMap,
  wanted: ReadonlyMap<string, unknown>,
): Promise<void> {
  const starts = await source.starts();
  for (const [key, offset] of from) {
    if (!wanted.has(key) || offset >= (starts.get(key) ?? 0n)) continue;
    throw gone({ ...parsePartitionKey(key), offset });
  }
}

function gone({ topic, partition, offset }: LogOffset): UnderstudyError {
  const what = 'the log no longer holds a record that is needed';
  return new UnderstudyError('LOG_GAP', what, { topic, partition, offset });
}
