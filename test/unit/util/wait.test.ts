import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { Wakeup } from '../../../src/util/signal.ts';
import { backoffMs, pollUntil, sleep } from '../../../src/util/wait.ts';

describe('sleep', () => {
  it('rejects with the signal’s reason, at once and later, and leaves nothing behind', async () => {
    const stop = new AbortController();
    const reason = new Error('enough');
    const sleeping = sleep(60_000, stop.signal);
    stop.abort(reason);
    await expect(sleeping).rejects.toBe(reason);
    await expect(sleep(60_000, stop.signal)).rejects.toBe(reason);
    const other = new AbortController();
    await sleep(1, other.signal);
    expect(getEventListeners(other.signal, 'abort')).toEqual([]);
  });
});

describe('backing off', () => {
  it('grows to its limit, and is never the same for all', () => {
    const first = Array.from({ length: 200 }, () => backoffMs(0, 100, 10_000));
    expect(Math.min(...first)).toBeGreaterThanOrEqual(75);
    expect(Math.max(...first)).toBeLessThanOrEqual(125);
    expect(new Set(first).size).toBeGreaterThan(5);
    expect(backoffMs(4, 100, 10_000)).toBeGreaterThanOrEqual(1_200);
    expect(backoffMs(5_000, 100, 10_000)).toBeGreaterThanOrEqual(6_000);
    expect(Math.max(...first.map(() => backoffMs(5_000, 100, 10_000)))).toBeLessThanOrEqual(10_000);
  });
});

describe('polling', () => {
  it('returns what is found, also what is falsy', async () => {
    const answers = [undefined, undefined, null];
    const found = await pollUntil({
      probe: () => Promise.resolve(answers.shift()),
      ...{ everyMs: 1, timeoutMs: 1_000, timeout: () => new Error('late') },
    });
    expect(found).toBeNull();
  });

  it('asks at least once, and gives up with the error it was given', async () => {
    let asked = 0;
    const polling = pollUntil<never>({
      probe: () => {
        asked += 1;
        return Promise.resolve(undefined);
      },
      ...{ everyMs: 1, timeoutMs: 0, timeout: () => new Error('late') },
    });
    await expect(polling).rejects.toThrow('late');
    expect(asked).toBe(1);
  });

  it('ends with the signal', async () => {
    const stop = new AbortController();
    const polling = pollUntil<never>({
      probe: () => Promise.resolve(undefined),
      ...{ everyMs: 60_000, timeoutMs: 60_000, timeout: () => new Error('late') },
      signal: stop.signal,
    });
    const failure = polling.catch((error: unknown) => error);
    stop.abort(new Error('enough'));
    expect(await failure).toMatchObject({ message: 'enough' });
  });
});

describe('a wake-up call', () => {
  it('is not lost when it comes before the wait, and counts once', async () => {
    const wakeup = new Wakeup();
    wakeup.notify();
    wakeup.notify();
    expect(await wakeup.wait(60_000)).toBe(true);
    expect(await wakeup.wait(1)).toBe(false);
  });

  it('ends a wait', async () => {
    const wakeup = new Wakeup();
    const waiting = wakeup.wait(60_000);
    wakeup.notify();
    expect(await waiting).toBe(true);
    expect(await wakeup.wait(1)).toBe(false);
  });
});
