import type { OffsetMap } from '../change/position.ts';
import { partitionKey } from '../change/position.ts';
import { recordBytes, type LogRecord } from '../change/record.ts';
import type { ChangeSource, StreamOptions } from './change-source.ts';

/**
 * Reads all records before `ends`, each partition's in order: from `from` on, or the first that is held.
 * The source must have no stream open. Errors: as of the stream.
 */
export async function* readTo(
  source: ChangeSource,
  ends: OffsetMap,
  options: StreamOptions,
  from: OffsetMap | null = null,
): AsyncGenerator<LogRecord> {
  const starts = from ?? (await source.starts());
  const left = new Set(
    [...ends].filter(([key, end]) => end > (starts.get(key) ?? 0n)).map(([key]) => key),
  );
  if (left.size === 0) return;
  const stop = new AbortController();
  await using stream = await source.open(from ?? new Map(), {
    ...options,
    signal: AbortSignal.any([options.signal, stop.signal]),
  });
  for await (const chunk of stream.chunks) {
    const key = partitionKey(chunk.topic, chunk.partition);
    const end = ends.get(key) ?? 0n;
    for (const record of chunk.records) {
      if (record.offset < end) yield record;
      stream.released(recordBytes(record));
    }
    if (chunk.next >= end) left.delete(key);
    if (left.size === 0) break;
  }
  options.signal.throwIfAborted();
  stop.abort();
}
