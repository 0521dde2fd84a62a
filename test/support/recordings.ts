import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { recordBytes, type LogRecord } from '../../src/change/record.ts';
import { partitionKey, type OffsetMap } from '../../src/change/position.ts';
import type { ChangeSource, LogChunk, SourceState } from '../../src/source/change-source.ts';
import type { RecordingHeader } from '../../src/source/recording/format.ts';

export const TEST_HEADER: RecordingHeader = {
  madeAt: '2026-01-02T03:04:05.000Z',
  from: 'a test',
  topicPrefix: 'shop',
  connector: 'test',
  understudy: '0.0.0',
};

/** Runs `use` with a path in a folder of its own, which is removed afterwards. */
export async function withRecordingPath<T>(use: (path: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-recording-'));
  try {
    return await use(join(folder, 'test.recording'));
  } finally {
    await rm(folder, { recursive: true });
  }
}

export function logRecord(
  topic: string,
  offset: bigint,
  fields: Partial<LogRecord> = {},
): LogRecord {
  return {
    topic,
    partition: 0,
    offset,
    timestampMs: 1_700_000_000_000 + Number(offset),
    key: Buffer.from(`key ${offset}`),
    value: Buffer.from(`value ${offset}`),
    headers: [],
    ...fields,
  };
}

/** Records of one partition as a chunk that ends after the last of them. */
export function chunkOf(records: readonly LogRecord[], next?: bigint): LogChunk {
  const last = records.at(-1);
  if (last === undefined) throw new Error('a chunk needs a record');
  const end = next ?? last.offset + 1n;
  return { topic: last.topic, partition: last.partition, records, next: end, end };
}

/** Everything a source hands out until it ends, or until every partition has reached `until`. */
export async function readSource(
  source: ChangeSource,
  options: {
    readonly from?: OffsetMap;
    readonly until?: OffsetMap;
    readonly budgetBytes?: number;
    readonly signal?: AbortSignal;
    readonly onState?: (state: SourceState) => void;
    readonly onChunk?: (chunk: LogChunk) => void;
    readonly ids?: ReadonlyMap<string, string> | undefined;
  } = {},
): Promise<{ readonly records: LogRecord[]; readonly chunks: LogChunk[]; readonly at: OffsetMap }> {
  const stream = await source.open(options.from ?? new Map(), {
    budgetBytes: options.budgetBytes ?? 64 * 1024 * 1024,
    group: 'understudy.test',
    signal: options.signal ?? new AbortController().signal,
    ids: options.ids,
    ...(options.onState === undefined ? {} : { onState: options.onState }),
  });
  const chunks: LogChunk[] = [];
  const at = new Map<string, bigint>(options.from);
  const reached = (): boolean =>
    options.until !== undefined &&
    [...options.until].every(([key, end]) => (at.get(key) ?? 0n) >= end);
  try {
    if (reached()) return { records: [], chunks, at };
    for await (const chunk of stream.chunks) {
      chunks.push(chunk);
      at.set(partitionKey(chunk.topic, chunk.partition), chunk.next);
      options.onChunk?.(chunk);
      stream.released(chunk.records.reduce((sum, record) => sum + recordBytes(record), 0));
      if (reached()) break;
    }
  } finally {
    await stream[Symbol.asyncDispose]();
  }
  return { records: chunks.flatMap(({ records }) => [...records]), chunks, at };
}
