import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fetchTurns, type ReadPartition } from '../../../../src/source/kafka/fetch-turns.ts';

const MIB = 1024 * 1024;

const partition = (topic: string, behind: boolean | null): ReadPartition & { topic: string } => ({
  ...{ topic, next: 5n, end: behind === null ? null : behind ? 9n : 5n },
});

test('each partition comes first in its turn, and all are asked for every time', () => {
  const some = fc.array(fc.string(), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(some, fc.nat(1_000), (topics, start) => {
      const partitions = topics.map((topic) => partition(topic, true));
      const firsts = partitions.map((_, i) => {
        const turns = fetchTurns(partitions, start + i, MIB);
        expect(new Set(turns.map(({ of }) => of))).toEqual(new Set(partitions));
        return turns[0]?.of;
      });
      expect(new Set(firsts)).toEqual(new Set(partitions));
    }),
  );
  expect(fetchTurns([], 3, MIB)).toEqual([]);
});

test('those that are behind share the answer; one alone has all of it', () => {
  const shares = (...behind: readonly (boolean | null)[]): readonly number[] =>
    fetchTurns(
      behind.map((is, i) => partition(String(i), is)),
      0,
      4 * MIB,
    ).map(({ maxBytes }) => maxBytes);
  expect(shares(true, false, false)).toEqual([4 * MIB, 4 * MIB, 4 * MIB]);
  expect(shares(true, null, false, true)).toEqual(Array(4).fill(Math.floor((4 * MIB) / 3)));
  expect(shares(...Array<boolean>(1_000).fill(true))[0]).toBe(64 * 1024);
  expect(shares(false)).toEqual([4 * MIB]);
});
