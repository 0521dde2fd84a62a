import { expect, test } from 'vitest';
import {
  baseSeed,
  describeFailure,
  runTorture,
  SEED_LIMIT,
  seedsFrom,
  summarize,
  type TortureContext,
  type TortureSuite,
} from '../../support/seeds.ts';

/** A suite around `run` that counts how often its stage was opened and closed. */
function suiteOf(run: (seed: number, context: TortureContext) => Promise<void>): {
  readonly suite: TortureSuite;
  readonly stages: { opened: number; closed: number };
} {
  const stages = { opened: 0, closed: 0 };
  const suite: TortureSuite = {
    name: 'sample',
    promise: 'it holds',
    deadlineMs: 200,
    open: () => {
      stages.opened += 1;
      return Promise.resolve({
        run,
        [Symbol.asyncDispose]: () => Promise.resolve(void (stages.closed += 1)),
      });
    },
  };
  return { suite, stages };
}

const failOn =
  (...bad: number[]) =>
  (seed: number, context: TortureContext): Promise<void> => {
    context.note(`saw ${seed}`);
    return bad.includes(seed) ? Promise.reject(new Error('broken')) : Promise.resolve();
  };

test('a suite that holds runs all seeds on one stage', async () => {
  const { suite, stages } = suiteOf(failOn());
  const outcome = await runTorture(suite, seedsFrom(5, 20));
  expect(summarize(outcome)).toBe('suite sample: 20 seeds, 0 failed');
  expect(stages).toEqual({ opened: 1, closed: 1 });
});

test('failing seeds are named, the others still run, each failure costs the stage', async () => {
  const { suite, stages } = suiteOf(failOn(7, 9));
  const outcome = await runTorture(suite, seedsFrom(5, 10));
  expect(summarize(outcome)).toBe('suite sample: 10 seeds, 2 failed (seeds 7, 9)');
  expect(stages).toEqual({ opened: 3, closed: 3 });
});

test('a failure tells what the run noted and how to play it again', async () => {
  const { failed } = await runTorture(suiteOf(failOn(7)).suite, [7]);
  const text = failed.map((failure) => describeFailure('sample', failure)).join('');
  expect(text).toContain('seed 7 failed: Error: broken');
  expect(text).toContain('  | saw 7');
  expect(text).toContain('npm run torture -- --suite sample --seeds 1 --seed 7');
});

test('a seed that hangs fails at its deadline, and its signal has fired', async () => {
  let aborted: AbortSignal | undefined;
  const { suite } = suiteOf((_seed, { signal }) => {
    aborted = signal;
    return new Promise(() => undefined);
  });
  const { failed } = await runTorture(suite, [1]);
  expect(String(failed[0]?.error)).toContain('seed 1 took longer than 200 ms');
  expect(aborted?.aborted).toBe(true);
});

test('an interrupt ends the run, closes the stage and blames no seed', async () => {
  const interrupt = new AbortController();
  const { suite, stages } = suiteOf((seed) => {
    if (seed === 3) interrupt.abort(new Error('interrupted'));
    return seed === 3 ? new Promise(() => undefined) : Promise.resolve();
  });
  const outcome = await runTorture(suite, seedsFrom(1, 10), { signal: interrupt.signal });
  expect(summarize(outcome)).toBe('suite sample: 2 seeds, 0 failed, interrupted');
  expect(stages).toEqual({ opened: 1, closed: 1 });
});

test('a stage that cannot be opened is no pass', async () => {
  const { suite } = suiteOf(failOn());
  const closed: TortureSuite = { ...suite, open: () => Promise.reject(new Error('no server')) };
  await expect(runTorture(closed, [1])).rejects.toThrow('no server');
});

test('one seed gives one schedule', async () => {
  const drawn: number[] = [];
  const { suite } = suiteOf((_seed, { random }) => Promise.resolve(void drawn.push(random.next())));
  await runTorture(suite, [4, 5]);
  await runTorture(suite, [5]);
  expect(drawn[2]).toBe(drawn[1]);
  expect(drawn[1]).not.toBe(drawn[0]);
});

test('seeds count up from the base and wrap at the limit', () => {
  expect(seedsFrom(SEED_LIMIT - 2, 4)).toEqual([SEED_LIMIT - 2, SEED_LIMIT - 1, 0, 1]);
});

test('a base seed is the given one, else a fresh one; nonsense is refused', () => {
  expect(baseSeed('4711')).toBe(4711);
  expect(baseSeed('0')).toBe(0);
  expect(baseSeed(undefined)).not.toBe(baseSeed(undefined));
  expect(baseSeed('')).toBeLessThan(SEED_LIMIT);
  for (const bad of ['-1', '1.5', 'x', String(SEED_LIMIT)]) {
    expect(() => baseSeed(bad)).toThrow(RangeError);
  }
});
