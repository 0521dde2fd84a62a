import { expect, test } from 'vitest';
import { judge, median, spread, summarizeRuns } from '../../bench/statistics.ts';

const spec = {
  name: 'bulk',
  against: 'peer',
  unit: 'rows/s',
  better: 'higher',
  goal: 2,
} as const;

test('the median is the middle value, whatever the order', () => {
  expect(median([30, 10, 20])).toBe(20);
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(median([7])).toBe(7);
});

test('there is no median of nothing', () => {
  expect(() => median([])).toThrow(RangeError);
});

test('the median leaves its input alone', () => {
  const values = [3, 1, 2];
  median(values);
  expect(values).toEqual([3, 1, 2]);
});

test('the spread is (max - min) / median', () => {
  expect(spread([90, 100, 120])).toBeCloseTo(0.3);
  expect(spread([5])).toBe(0);
});

test('the sides are told by their medians, which an outlier does not move', () => {
  const result = summarizeRuns(spec, [100, 300, 200], [50, 9000, 100]);
  expect(result).toMatchObject({ case: 'bulk', ours: 200, theirs: 100, goal: 2 });
});

test('a ratio is made round by round, and slow rounds do not move it', () => {
  expect(summarizeRuns(spec, [200, 20, 2], [100, 10, 1]).ratio).toBe(2);
  expect(summarizeRuns(spec, [200, 200, 5], [100, 100, 5]).ratio).toBe(2);
});

test('the reported spread is that of the side that varies more', () => {
  expect(summarizeRuns(spec, [100, 100, 100], [50, 100, 150]).spread).toBe(1);
  expect(summarizeRuns(spec, [50, 100, 150], [100, 100, 100]).spread).toBe(1);
});

test('a limit is theirs, without a spread of its own', () => {
  const limit = { ...spec, unit: 'ms', better: 'lower', goal: 1 } as const;
  const result = summarizeRuns(limit, [70, 80, 90], [100]);
  expect(result).toMatchObject({ theirs: 100, ratio: 0.8, spread: 0.25 });
  expect(judge(result)).toBe('met');
});

test.each([
  ['higher', 2, 'met'],
  ['higher', 1.99, 'missed'],
  ['lower', 2, 'met'],
  ['lower', 2.01, 'missed'],
] as const)(
  'where %s is better and the goal is 2, a ratio of %d is %s',
  (better, ratio, verdict) => {
    expect(judge({ better, ratio, goal: 2 })).toBe(verdict);
  },
);

test('without a goal nothing is missed', () => {
  expect(judge({ better: 'higher', ratio: 0.001, goal: null })).toBe('no goal');
});
