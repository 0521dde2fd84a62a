import { describe, expect, it } from 'vitest';
import type { OffsetMap } from '../../../src/change/position.ts';
import { countRecords, describeOffsets } from '../../../src/runtime/materialize.ts';

const map = (offsets: Readonly<Record<string, number>>): OffsetMap =>
  new Map(Object.entries(offsets).map(([key, offset]) => [key, BigInt(offset)]));

describe('records between where it began and the ends', () => {
  it.each([
    ['nothing', {}, {}, {}, {}, 0, 0],
    ['an untouched partition', { a: 10 }, { a: 0 }, {}, {}, 0, 10],
    ['one whose first records are gone', { a: 10 }, { a: 4 }, {}, {}, 0, 6],
    ['one whose start is not known', { a: 10 }, {}, {}, { a: 3 }, 3, 10],
    ['one that was begun', { a: 10 }, { a: 0 }, { a: 4 }, { a: 7 }, 3, 6],
    ['one that has gone on since', { a: 10 }, { a: 0 }, {}, { a: 99 }, 10, 10],
    ['one that was begun behind its end', { a: 10 }, { a: 0 }, { a: 12 }, { a: 12 }, 0, 0],
    ['several', { a: 10, b: 5 }, { a: 0, b: 0 }, { b: 5 }, { a: 2, b: 5 }, 2, 10],
    ['one that is not ours any more', { a: 10 }, { a: 0 }, { x: 7 }, { x: 7, a: 10 }, 10, 10],
  ])('are counted for %s', (_, ends, starts, begun, at, done, total) => {
    expect(countRecords(map(ends), map(starts), map(begun), map(at))).toEqual({ done, total });
  });
});

it('writes offsets as text, in the order of their names', () => {
  const offsets = new Map([
    ['p.b/0', 2n ** 60n],
    ['p.a/1', 1n],
    ['p.a/0', 0n],
  ]);
  expect(JSON.stringify(describeOffsets(offsets))).toBe(
    '{"p.a/0":"0","p.a/1":"1","p.b/0":"1152921504606846976"}',
  );
});
