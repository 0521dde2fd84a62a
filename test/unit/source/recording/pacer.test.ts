import { expect, it } from 'vitest';
import { Pacer } from '../../../../src/source/recording/pacer.ts';

it('a pace is a factor on the time since the first record', () => {
  for (const [pace, due] of [
    ['full', 0],
    ['recorded', 8_000],
    [4, 2_000],
  ] as const) {
    const pacer = new Pacer(pace);
    expect(pacer.pauseBefore(1_000_000)).toBe(0);
    const pause = pacer.pauseBefore(1_008_000);
    expect(pause).toBeLessThanOrEqual(due);
    expect(pause).toBeGreaterThanOrEqual(due === 0 ? 0 : due - 1_000);
    expect(pacer.pauseBefore(999_000)).toBe(0);
  }
});
