/** The torture command line catches a failing seed: it runs as a person runs it, on small suites. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

const TORTURE = resolve(import.meta.dirname, '..', 'support', 'torture.ts');

const suite = (name: string, run: string): string => `
export default {
  name: '${name}',
  promise: 'no seed is divisible by seven',
  deadlineMs: 2_000,
  open: () => Promise.resolve({
    run(seed, context) { ${run} },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }),
};
`;

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'understudy-torture-'));
  await writeFile(join(folder, 'steady.ts'), suite('steady', 'return Promise.resolve();'));
  await writeFile(
    join(folder, 'shaky.ts'),
    suite('shaky', "context.note('drew ' + seed); if (seed % 7 === 0) throw new Error('seven');"),
  );
  await writeFile(join(folder, 'misnamed.ts'), suite('other', ''));
});
afterAll(() => rm(folder, { recursive: true }));

function torture(...args: readonly string[]): Promise<{ code: number | null; output: string }> {
  return new Promise((done) => {
    const child = execFile(
      process.execPath,
      [TORTURE, '--folder', folder, ...args],
      (_error, stdout, stderr) => done({ code: child.exitCode, output: stdout + stderr }),
    );
  });
}

test('a suite that holds passes and prints its fresh base seed', async () => {
  const { code, output } = await torture('--suite', 'steady', '--seeds', '20');
  expect(output).toMatch(/base seed \d+, 20 seeds/);
  expect(output).toContain('suite steady: 20 seeds, 0 failed\n');
  expect(code).toBe(0);
});

test('a failing seed fails the run, is named, and tells how to play it again', async () => {
  const { code, output } = await torture('--suite', 'shaky', '--seeds', '20', '--seed', '1');
  expect(output).toContain('suite shaky: 20 seeds, 2 failed (seeds 7, 14)\n');
  expect(output).toContain('  | drew 14');
  expect(output).toContain('npm run torture -- --suite shaky --seeds 1 --seed 7');
  expect(code).toBe(1);
});

test.each([
  [['--suite', 'nobody'], 3, 'no suite "nobody"; suites: misnamed, shaky, steady'],
  [['--suite', 'steady', '--seeds', 'many'], 3, 'not a count: "many"'],
  [['--suite', 'steady', '--seed', '-1'], 3, 'seed'],
  [['--suite', 'misnamed'], 6, 'does not export a torture suite of that name'],
] as const)('%j is refused with exit code %d', async (args, expected, said) => {
  const { code, output } = await torture(...args);
  expect(output).toContain(said);
  expect(code).toBe(expected);
});
