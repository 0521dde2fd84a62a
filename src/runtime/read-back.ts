/** Asks the log once more for what was read of it, beside the stream that is followed. */
import { rowsAfter } from '../apply/late-truncate.ts';
import { parsePartitionKey, type OffsetMap, type SourcePosition } from '../change/position.ts';
import type { ChangeEvent, DecodedRecord, LogRecord } from '../change/record.ts';
import type { ChangeSource, StreamOptions } from '../source/change-source.ts';
import { readTo } from '../source/read-range.ts';

export interface ReadBackParts {
  readonly openSource: () => Promise<ChangeSource>;
  readonly stream: Omit<StreamOptions, 'signal'>;
  readonly decode: (record: LogRecord, signal: AbortSignal) => Promise<DecodedRecord>;
  readonly isBefore: (a: SourcePosition, b: SourcePosition) => boolean;
  /** Can what went up to these offsets be told from the log alone? */
  readonly isTold: (truncate: ChangeEvent, until: OffsetMap) => boolean;
}

/** For FollowerParts. Errors: those of the source, and of decoding. */
export function readingBack(parts: ReadBackParts) {
  const { openSource, stream, decode, isBefore, isTold } = parts;
  return async (
    truncate: ChangeEvent,
    until: OffsetMap,
    signal: AbortSignal,
  ): Promise<readonly ChangeEvent[] | null> => {
    if (!isTold(truncate, until)) return null;
    await using source = await openSource();
    const ofTopic = new Map(
      [...until].filter(([key]) => parsePartitionKey(key).topic === truncate.at.topic),
    );
    const starts = await source.starts();
    const went = [...ofTopic].filter(([key, end]) => end > (starts.get(key) ?? 0n));
    return await rowsAfter(truncate, {
      partitions: new Set(went.map(([key]) => parsePartitionKey(key).partition)),
      ...{ isBefore, decode: (record) => decode(record, signal) },
      read: async function* (sinceMs) {
        const began =
          sinceMs === null || source.since === undefined ? starts : await source.since(sinceMs);
        // Nothing of other partitions.
        const from = new Map(await source.ends());
        for (const [key, end] of ofTopic) from.set(key, began.get(key) ?? end);
        yield* readTo(source, ofTopic, { ...stream, signal }, from);
      },
    });
  };
}
