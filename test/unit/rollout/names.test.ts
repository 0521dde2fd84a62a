import { expect, it } from 'vitest';
import { parseDuration, rolloutNames } from '../../../src/rollout/names.ts';

it.each([
  ['next', 'shop_next'],
  ['new-checkout', 'shop_new_checkout'],
  ['a', 'shop_a'],
  ['v2-2026-11-24-abcdef', 'shop_v2_2026_11_24_abcdef'],
])('names database and role of %s', (name, database) => {
  expect(rolloutNames('shop', name)).toEqual({ database, role: database });
});

it.each(['', 'Next', '2next', '-next', 'a_b', 'a b', 'a.b', "a'b", 'a"b', 'a\n', 'x'.repeat(21)])(
  'refuses %j',
  (name) => {
    expect(() => rolloutNames('shop', name)).toThrow(
      expect.objectContaining({ code: 'USAGE' }) as Error,
    );
  },
);

it('stays within what a server takes as a name', () => {
  const { database } = rolloutNames('t'.repeat(40), 'r'.repeat(20));
  expect(database.length).toBeLessThanOrEqual(63);
});

it.each([
  ['45s', 45_000],
  ['90m', 5_400_000],
  ['36h', 129_600_000],
  ['7d', 604_800_000],
])('reads %s', (text, ms) => {
  expect(parseDuration(text)).toBe(ms);
});

it.each(['', '7', 'd', '1.5h', '-1h', '7 d', '7w', '7D', '1h30m'])('refuses %j', (text) => {
  expect(() => parseDuration(text)).toThrow(expect.objectContaining({ code: 'USAGE' }) as Error);
});
