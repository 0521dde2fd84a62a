/**
 * Reads the partitions that other processes follow, of topics of which this one follows some: to know
 * where in production's order its own events stand, and whether a truncate that somebody else has comes
 * before them. Nothing of it is kept, and most of it is not even decoded.
 *
 * A truncate has no key; nothing else without one is in a topic that is shared (see sharing.ts). So what
 * has none is decoded, and the last change of each chunk, which tells how far production's log was read.
 */
import { partitionKey, type OffsetMap } from '../change/position.ts';
import { recordBytes, type ChangeEvent, type LogRecord } from '../change/record.ts';
import type { ChangeSource } from '../source/change-source.ts';
import type { Decoding } from './decoding.ts';

/** Read and let go at once. */
const BUDGET_BYTES = 8 * 1024 * 1024;
/** So many records are tried from a chunk's end for one that tells a place. */
const TRIES = 50;

interface Watching {
  /** Reads only what is to be watched. */
  readonly source: ChangeSource;
  readonly from: OffsetMap;
  readonly group: string;
  readonly decoding: Pick<Decoding, 'prepare' | 'decode'>;
  /** Told of every chunk: what tells of the order, and that everything before `next` was read. */
  readonly onRead: (key: string, events: readonly ChangeEvent[], next: bigint) => void;
}

/** Until the signal aborts. Rejects as a stream does, or if what has no key cannot be decoded. */
export async function watchOthers(watching: Watching, signal: AbortSignal): Promise<void> {
  const { source, from, group, decoding, onRead } = watching;
  const options = { budgetBytes: BUDGET_BYTES, group, signal };
  await using stream = await source.open(from, options);
  for await (const chunk of stream.chunks) {
    const events = await tellingOf(chunk.records, decoding, signal);
    onRead(partitionKey(chunk.topic, chunk.partition), events, chunk.next);
    stream.released(chunk.records.reduce((sum, record) => sum + recordBytes(record), 0));
  }
}

async function tellingOf(
  records: readonly LogRecord[],
  decoding: Watching['decoding'],
  signal: AbortSignal,
): Promise<readonly ChangeEvent[]> {
  const decode = async (record: LogRecord): Promise<ChangeEvent | null> => {
    await decoding.prepare?.(record, { signal, onState: () => undefined });
    const decoded = decoding.decode(record);
    return decoded.kind === 'change' ? decoded : null;
  };
  const truncates: ChangeEvent[] = [];
  for (const record of records) {
    if (record.key !== null || record.value === null) continue;
    const event = await decode(record);
    if (event?.op === 'truncate') truncates.push(event);
  }
  for (const record of records.slice(-TRIES).toReversed()) {
    if (record.key === null || record.value === null) continue;
    // What cannot be read tells nothing; who follows it will say so.
    const event = await decode(record).catch(() => null);
    if (event === null || event.op === 'unread' || event.snapshot !== 'no') continue;
    const after = truncates.findIndex(({ at }) => at.offset > event.at.offset);
    return after < 0 ? [...truncates, event] : truncates.toSpliced(after, 0, event);
  }
  return truncates;
}
