import { expect, test } from 'vitest';
import { findBarrier } from '../../../src/source/barrier.ts';

const timing = { everyMs: 1, timeoutMs: 500 };

function script(positions: (bigint | null)[]) {
  const calls: string[] = [];
  return {
    calls,
    offsets: {
      description: 'scripted',
      committed: () => {
        calls.push('committed');
        return Promise.resolve(
          positions.length > 1 ? (positions.shift() ?? null) : (positions[0] ?? null),
        );
      },
    },
    source: {
      ends: () => {
        calls.push('ends');
        return Promise.resolve(new Map([['t/0', 5n]]));
      },
      starts: () => {
        calls.push('starts');
        return Promise.resolve(new Map([['t/0', 0n]]));
      },
    },
  };
}

test('end offsets are asked for only after the committed offset has reached the marker', async () => {
  const { calls, ...parts } = script([null, 5n, 99n, 100n]);
  const signal = new AbortController().signal;
  const result = await findBarrier({ ...parts, marker: 100n, timing, signal });
  expect(result).toMatchObject({ kind: 'found', point: { ends: new Map([['t/0', 5n]]) } });
  expect(calls.filter((call) => call === 'committed')).toHaveLength(4);
  expect(calls.indexOf('ends')).toBeGreaterThan(calls.lastIndexOf('committed'));
});

test('a connector that never gets there is a timeout that says how far it came', async () => {
  const { calls, ...parts } = script([99n]);
  const signal = new AbortController().signal;
  const short = { everyMs: 1, timeoutMs: 20 };
  const result = await findBarrier({ ...parts, marker: 100n, timing: short, signal });
  expect(result).toEqual({ kind: 'timeout', committed: 99n });
  expect(calls).not.toContain('ends');
});

test('an abort ends the waiting with its reason', async () => {
  const { calls: _, ...parts } = script([null]);
  const signal = AbortSignal.timeout(20);
  await expect(findBarrier({ ...parts, marker: 1n, timing, signal })).rejects.toThrow(/timeout/);
});
