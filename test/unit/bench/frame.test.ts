import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { benchMain, runBench, type Bench, type BenchCase } from '../../bench/frame.ts';

let printed: string[] = [];
beforeEach(() => {
  printed = [];
  vi.spyOn(console, 'log').mockImplementation((line: string) => void printed.push(line));
  vi.spyOn(console, 'error').mockImplementation((line: string) => void printed.push(line));
});
afterEach(() => void vi.restoreAllMocks());

/** A case whose sides return the given values in turn, and which notes all that happens. */
function scripted(name: string, log: string[], theirs?: number): BenchCase {
  let rounds = 0;
  return {
    name,
    against: theirs === undefined ? 'peer' : `limit ${theirs} ms`,
    unit: 'ms',
    better: 'lower',
    goal: 1,
    open: () => {
      log.push('open');
      return Promise.resolve({
        ours: () => Promise.resolve((log.push('ours'), 10 + rounds++)),
        theirs: theirs ?? (() => Promise.resolve((log.push('theirs'), 20))),
        [Symbol.asyncDispose]: () => Promise.resolve(void log.push('close')),
      });
    },
  };
}

const bench = (cases: readonly BenchCase[], warmups = 0): Bench => ({
  name: 'sample',
  cases,
  runs: 3,
  warmups,
});

test('both sides take turns, and who starts alternates', async () => {
  const log: string[] = [];
  const one = scripted('a', log);
  await runBench(bench([one]), [one]);
  expect(log).toEqual(['open', ...['ours', 'theirs', 'theirs', 'ours', 'ours', 'theirs'], 'close']);
});

test('warm-up rounds run and do not count', async () => {
  const log: string[] = [];
  const one = scripted('a', log);
  const { cases } = await runBench(bench([one], 2), [one]);
  // Values 10 and 11 warmed up; 12, 13 and 14 count.
  expect(cases[0]).toMatchObject({ ours: 13, theirs: 20, ratio: 0.65 });
  expect(log.filter((entry) => entry === 'ours')).toHaveLength(5);
});

test('a value that is no measurement ends the benchmark, and its stage is closed', async () => {
  const log: string[] = [];
  const one = scripted('a', log);
  const broken: BenchCase = {
    ...one,
    open: async () => ({ ...(await one.open()), ours: () => Promise.resolve(Number.NaN) }),
  };
  await expect(runBench(bench([broken]), [broken])).rejects.toThrow('ours measured NaN ms');
  expect(log.at(-1)).toBe('close');
});

test('fewer than three runs have no spread worth the name', async () => {
  await expect(runBench({ ...bench([]), runs: 2 }, [])).rejects.toThrow(RangeError);
});

test('--json writes the result and --case runs one', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-bench-'));
  try {
    const file = join(folder, 'result.json');
    const other: string[] = [];
    const cases = [scripted('a', []), scripted('b', other, 100)];
    expect(await benchMain(bench(cases), ['--json', file, '--case', 'a'])).toBe(0);
    expect(other).toEqual([]);
    expect(JSON.parse(await readFile(file, 'utf8'))).toEqual({
      name: 'sample',
      machine: expect.stringContaining(process.version) as string,
      cases: [
        {
          case: 'a',
          against: 'peer',
          ratio: 0.55,
          spread: 2 / 11,
          goal: 1,
          better: 'lower',
          unit: 'ms',
          ours: 11,
          theirs: 20,
        },
      ],
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('the table names each case with its medians, ratio, goal, spread and verdict', async () => {
  expect(await benchMain(bench([scripted('a', []), scripted('slow', [], 5)]), [])).toBe(0);
  const table = printed.find((text) => text.startsWith('bench sample on ')) ?? '';
  expect(table.split('\n').slice(1)).toEqual([
    'case  against     ours  theirs  unit  ratio  goal  spread',
    'a     peer          11      20  ms    0.550  <= 1  18.2 %  met',
    'slow  limit 5 ms    11       5  ms    2.200  <= 1  18.2 %  missed',
  ]);
  expect(printed.at(-1)).toBe('missed: slow');
});

test('an unknown case and an unknown option are usage errors', async () => {
  expect(await benchMain(bench([scripted('a', [])]), ['--case', 'z'])).toBe(3);
  expect(printed.at(-1)).toContain('no case "z"; there are: a');
  expect(await benchMain(bench([]), ['--jsn', 'x'])).toBe(3);
});

test('a run that fails is not a measurement', async () => {
  const failing: BenchCase = {
    ...scripted('a', []),
    open: () => Promise.reject(new Error('no server')),
  };
  expect(await benchMain(bench([failing]), [])).toBe(6);
});
