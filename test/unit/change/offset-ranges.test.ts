import fc from 'fast-check';
import { expect, it } from 'vitest';
import { OffsetSet, rangesOf } from '../../../src/change/offset-ranges.ts';

const place = fc.record({
  topic: fc.constantFrom('a', 'b'),
  partition: fc.integer({ min: 0, max: 1 }),
  offset: fc.bigInt({ min: 0n, max: 30n }),
});

it('holds exactly the records it was made of, in ranges that do not touch', () => {
  fc.assert(
    fc.property(fc.array(place, { maxLength: 60 }), fc.array(place), (places, others) => {
      const ranges = rangesOf(places);
      const set = new OffsetSet(ranges);
      const text = (at: (typeof places)[number]): string =>
        `${at.topic}/${at.partition}/${at.offset}`;
      const known = new Set(places.map(text));
      for (const at of [...places, ...others]) expect(set.has(at)).toBe(known.has(text(at)));
      expect(ranges.reduce((sum, { first, next }) => sum + (next - first), 0n)).toBe(
        BigInt(known.size),
      );
      for (const { topic, partition, next } of ranges) {
        expect(set.has({ topic, partition, offset: next })).toBe(false);
      }
    }),
  );
});
