import { expect, test } from 'vitest';
import { partitionKey } from '../../../src/change/position.ts';
import type { ChangeEvent, DecodedRecord, LogRecord } from '../../../src/change/record.ts';
import { UnderstudyError } from '../../../src/errors/understudy-error.ts';
import { watchOthers } from '../../../src/runtime/watch-others.ts';
import type { ChangeSource, LogChunk } from '../../../src/source/change-source.ts';
import { changeEvent, image } from '../../support/change-events.ts';

const TOPIC = 'p.public.t';

/** What stands at an offset: a row's change, with its key, or something without one. */
type Entry = 'row' | 'truncate' | 'tombstone' | 'corrupt' | 'corrupt truncate';

function recordOf(entry: Entry, offset: number): LogRecord {
  const keyed = entry === 'row' || entry === 'tombstone' || entry === 'corrupt';
  return {
    ...{ topic: TOPIC, partition: 1, offset: BigInt(offset), timestampMs: 0, headers: [] },
    key: keyed ? Buffer.from('k') : null,
    value: entry === 'tombstone' ? null : Buffer.from(entry),
  };
}

/** A log of these chunks, which ends after them. */
function logOf(...chunks: readonly (readonly Entry[])[]): ChangeSource & { released: number } {
  let offset = 0;
  const all = chunks.map((entries): LogChunk => {
    const records = entries.map((entry, i) => recordOf(entry, offset + i));
    offset += entries.length;
    return { topic: TOPIC, partition: 1, records, next: BigInt(offset), end: BigInt(offset) };
  });
  const source = {
    ...{ description: 'memory', endless: false, released: 0 },
    ends: () => Promise.resolve(new Map()),
    starts: () => Promise.resolve(new Map()),
    open: () =>
      Promise.resolve({
        chunks: (async function* () {
          yield* await Promise.resolve(all);
        })(),
        pause: () => undefined,
        released: (bytes: number) => {
          source.released += bytes;
        },
        commit: () => Promise.reject(new Error('nobody commits for others')),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      }),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  return source;
}

interface Read {
  readonly told: readonly string[];
  readonly next: bigint;
  readonly decoded: number;
}

async function watched(source: ChangeSource): Promise<readonly Read[]> {
  const read: Read[] = [];
  let decoded = 0;
  const decode = ({ value, topic, partition, offset }: LogRecord): DecodedRecord => {
    decoded += 1;
    const entry = String(value);
    if (entry.startsWith('corrupt')) throw new UnderstudyError('RECORD_CORRUPT', 'it is damaged');
    const place = { topic, partition, offset: Number(offset), lsn: offset };
    return entry === 'truncate'
      ? changeEvent({ ...place, op: 'truncate' })
      : changeEvent({ ...place, op: 'update', key: image({ id: 'k' }) });
  };
  const nameOf = ({ op, at }: ChangeEvent): string => `${op}@${at.offset}`;
  await watchOthers(
    {
      ...{ source, from: new Map(), group: 'g', decoding: { prepare: null, decode } },
      onRead: (key, events, next) => {
        expect(key).toBe(partitionKey(TOPIC, 1));
        read.push({ told: events.map(nameOf), next, decoded });
      },
    },
    new AbortController().signal,
  );
  return read;
}

test('of a chunk its truncates are told and its last change, in order, and no more is decoded', async () => {
  const rows = Array.from({ length: 500 }, (): Entry => 'row');
  const source = logOf([...rows, 'truncate', 'row', 'row', 'tombstone'], ['row', 'truncate']);
  const read = await watched(source);
  expect(read).toEqual([
    { told: ['truncate@500', 'update@502'], next: 504n, decoded: 2 },
    { told: ['update@504', 'truncate@505'], next: 506n, decoded: 4 },
  ]);
  expect(source.released).toBeGreaterThan(500);
});

test('what cannot be read tells nothing, unless it may be a truncate', async () => {
  expect(await watched(logOf(['row', 'corrupt']))).toMatchObject([{ told: ['update@0'] }]);
  expect(await watched(logOf(['corrupt', 'tombstone']))).toMatchObject([{ told: [], next: 2n }]);
  const mayBe = watched(logOf(['row', 'corrupt truncate', 'row']));
  await expect(mayBe).rejects.toMatchObject({ code: 'RECORD_CORRUPT' });
});
