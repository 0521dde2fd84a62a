import { expect, it } from 'vitest';
import { nextAbove } from '../../../../src/dialect/sql/sequence-target.ts';

const INT = { low: 1n, high: 2n ** 63n - 1n, widths: [4, 8] };

it('a sequence that is moved goes on after the rows that are there, in its rhythm', () => {
  const up = { ...INT, increment: 10n, target: 1_000n };
  expect(nextAbove({ ...up, furthest: null })).toBe(1_000n);
  expect(nextAbove({ ...up, furthest: 1_000n })).toBe(1_010n);
  expect(nextAbove({ ...up, furthest: 1_009n })).toBe(1_010n);
  expect(nextAbove({ ...up, furthest: 1_010n })).toBe(1_020n);
  const down = { low: -(2n ** 63n), high: -1n, widths: [8], increment: -2n, target: -1_001n };
  expect(nextAbove({ ...down, furthest: -1_001n })).toBe(-1_003n);
  expect(nextAbove({ ...down, furthest: -1_004n })).toBe(-1_005n);
});

it('and at its target if the columns that it feeds can hold no number after them', () => {
  const most = 2n ** 31n - 1n;
  const up = { ...INT, increment: 1n, target: 1_610_612_736n };
  expect(nextAbove({ ...up, furthest: most - 1n })).toBe(most);
  expect(nextAbove({ ...up, furthest: most })).toBe(1_610_612_736n);
  expect(nextAbove({ ...up, high: 1_700_000_000n, furthest: 1_700_000_000n })).toBe(1_610_612_736n);
});
