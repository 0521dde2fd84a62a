import fc from 'fast-check';
import { expect, it } from 'vitest';
import { partitionKey } from '../../src/change/position.ts';
import type { LogRecord } from '../../src/change/record.ts';
import type { LogChunk } from '../../src/source/change-source.ts';
import { createRecording } from '../../src/source/recording/recording-writer.ts';
import { openRecording } from '../../src/source/recording/recording-source.ts';
import { readSource, TEST_HEADER, withRecordingPath } from '../support/recordings.ts';

const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const name = fc.string({ unit: 'grapheme', maxLength: 8 });

const step = fc.record({
  topic: fc.constantFrom('shop.a', 'shop.b', 'ünïcode'),
  partition: fc.nat({ max: 2 }),
  /** Offsets without a record before each record; and after the last one. */
  gaps: fc.array(fc.bigInt({ min: 0n, max: 1n << 40n }), { minLength: 1, maxLength: 4 }),
  fields: fc.record({
    timestampMs: fc.integer({ min: -1, max: 4_000_000_000_000 }),
    key: fc.option(bytes),
    value: fc.option(bytes),
    headers: fc.array(fc.tuple(name, bytes), { maxLength: 3 }),
  }),
});

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** Chunks as a source would hand them out: offsets rise in each partition. */
function chunksOf(steps: readonly Step[]): LogChunk[] {
  const at = new Map<string, bigint>();
  return steps.map(({ topic, partition, gaps, fields }) => {
    const key = partitionKey(topic, partition);
    let next = at.get(key) ?? 0n;
    const records: LogRecord[] = gaps.slice(1).map((gap) => {
      const offset = next + gap;
      next = offset + 1n;
      return { topic, partition, offset, ...fields };
    });
    next += gaps[0] ?? 0n;
    at.set(key, next);
    return { topic, partition, records, next, end: next };
  });
}

it('a recording read from any cut on gives exactly the records after the cut', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.nat(), async (steps, cutSeed) => {
      const chunks = chunksOf(steps);
      const cut = chunks.length === 0 ? 0 : cutSeed % (chunks.length + 1);
      await withRecordingPath(async (path) => {
        const starts = new Map(
          chunks.map(({ topic, partition }) => [partitionKey(topic, partition), 0n]),
        );
        const writer = await createRecording(path, TEST_HEADER);
        writer.cover(starts);
        for (const chunk of chunks) await writer.append(chunk);
        await writer.close();

        await using source = await openRecording(path);
        const from = new Map<string, bigint>();
        for (const { topic, partition, next } of chunks.slice(0, cut)) {
          from.set(partitionKey(topic, partition), next);
        }
        const ends = new Map(starts);
        for (const { topic, partition, next } of chunks) {
          ends.set(partitionKey(topic, partition), next);
        }
        const read = await readSource(source, { from });
        expect(read.records).toEqual(chunks.slice(cut).flatMap(({ records }) => records));
        expect(await source.starts()).toEqual(starts);
        expect(await source.ends()).toEqual(ends);
        for (const [key, next] of read.at) expect(next).toBe(ends.get(key));
      });
    }),
    { numRuns: 60 },
  );
});
