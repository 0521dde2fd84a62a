import { expect, it } from 'vitest';
import { HoldBack } from '../../../src/apply/hold-back.ts';

it('holds a record back until it is as old as was asked, and no old one', () => {
  let now = 100_000;
  const held = new HoldBack(5_000, () => now);
  expect(held.waitMs(99_000)).toBe(4_000);
  expect(held.waitMs(95_000)).toBe(0);
  expect(held.waitMs(1)).toBe(0);
  now = 104_000;
  expect(held.waitMs(99_000)).toBe(0);
  expect(held.waitMs(-1)).toBe(0);
});

it('never waits longer than that, nor for each record anew, where the other clock is ahead', () => {
  let now = 100_000;
  const held = new HoldBack(5_000, () => now);
  expect(held.waitMs(3_700_000)).toBe(5_000);
  now += 5_000;
  expect(held.waitMs(3_700_000)).toBe(0);
  expect(held.waitMs(3_700_001)).toBe(1);
  // It comes as it is written, an hour ahead.
  expect(held.waitMs(3_705_000)).toBe(5_000);
});

it('ends its wait when it is told to', async () => {
  const stop = new AbortController();
  const waiting = new HoldBack(60_000, () => 0).wait(0, stop.signal);
  stop.abort(new Error('enough'));
  await expect(waiting).rejects.toThrow('enough');
  expect(new HoldBack(1_000, () => 5_000).wait(0, stop.signal)).toBeNull();
});
