import { expect, test } from 'vitest';
import { Random } from '../../support/random.ts';

const draw = (seed: number): number[] => {
  const random = new Random(seed);
  return Array.from({ length: 50 }, () => random.integer(0, 1_000_000));
};

test('the same seed gives the same sequence, another seed another', () => {
  expect(draw(7)).toEqual(draw(7));
  expect(draw(7)).not.toEqual(draw(8));
});

test('both ends of a range are reached and nothing beyond', () => {
  const random = new Random(1);
  const seen = new Set(Array.from({ length: 1000 }, () => random.integer(3, 6)));
  expect([...seen].toSorted((a, b) => a - b)).toEqual([3, 4, 5, 6]);
});

test('shuffling keeps the items and leaves the list alone', () => {
  const items = [1, 2, 3, 4, 5, 6, 7, 8];
  const shuffled = new Random(5).shuffle(items);
  expect(items).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect(shuffled).not.toEqual(items);
  expect(shuffled.toSorted((a, b) => a - b)).toEqual(items);
});

test('a likelihood is kept roughly', () => {
  const random = new Random(11);
  const hits = Array.from({ length: 10_000 }, () => random.chance(0.2)).filter(Boolean).length;
  expect(hits).toBeGreaterThan(1800);
  expect(hits).toBeLessThan(2200);
});

test('draws of a fork do not shift those of its origin', () => {
  const busy = new Random(3);
  const fork = busy.fork();
  for (let draws = 0; draws < 10; draws += 1) fork.next();
  const idle = new Random(3);
  idle.fork();
  expect(busy.next()).toBe(idle.next());
});

test('there is nothing to pick from an empty list', () => {
  expect(() => new Random(1).pick([])).toThrow(RangeError);
});
