/**
 * `npm run test:holes`: takes the fix of each hole out of a copy of the source, and runs the test that is to
 * show it. A test that still passes there shows nothing. See test/holes/holes.ts.
 *
 * The last line is `N shown, N not shown`; exits 1 if any is not.
 */
import { spawn } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { HOLES, type Hole, type Proof } from '../holes/holes.ts';

const ROOT = resolve(import.meta.dirname, '..', '..');
const COPIED = ['src', 'test', 'package.json', 'tsconfig.json', 'vitest.config.ts', 'connectors'];

interface Outcome {
  readonly shown: boolean;
  readonly why: string;
}

/** A copy of the project in a temporary folder, with the packages of this one. */
async function copyProject(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-holes-'));
  for (const name of COPIED) await cp(join(ROOT, name), join(folder, name), { recursive: true });
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  return folder;
}

async function run(folder: string, { file, name, project = 'db' }: Proof): Promise<string> {
  const args = [
    join('node_modules', 'vitest', 'vitest.mjs'),
    'run',
    '--project',
    project,
    file,
    '-t',
    name,
  ];
  const child = spawn(process.execPath, args, { cwd: folder, env: { ...process.env, CI: 'true' } });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => (output += text));
  }
  await new Promise((done, fail) => child.on('error', fail).on('close', done));
  // eslint-disable-next-line no-control-regex -- the colours of a terminal
  return output.replaceAll(/\u001B\[[0-9;]*m/g, '');
}

/** How many tests passed and failed, as the runner says in its last lines. */
function countsOf(output: string): { readonly passed: number; readonly failed: number } {
  const line = /^\s*Tests\s+(.*)$/m.exec(output)?.[1] ?? '';
  const of = (word: string): number => Number(new RegExp(`(\\d+) ${word}`).exec(line)?.[1] ?? 0);
  return { passed: of('passed'), failed: of('failed') };
}

async function show(folder: string, proof: Proof): Promise<Outcome> {
  if (proof.kind === 'control') {
    const { passed, failed } = countsOf(await run(folder, proof));
    const shown = passed > 0 && failed === 0;
    return { shown, why: shown ? 'what lacks the fix is caught in it' : 'the test itself fails' };
  }
  const [path, from, to] = proof.without;
  const target = join(folder, path);
  const text = await readFile(target, 'utf8');
  if (text.split(from).length !== 2) return { shown: false, why: `${path} has not one such place` };
  // A test that fails with the fix, too, shows nothing of it.
  const whole = countsOf(await run(folder, proof));
  if (whole.failed > 0 || whole.passed === 0) return { shown: false, why: 'fails with the fix' };
  await writeFile(
    target,
    text.replace(from, () => to),
  );
  try {
    const output = await run(folder, proof);
    const { passed, failed } = countsOf(output);
    if (failed > 0) return { shown: true, why: `${String(failed)} fail without it` };
    return { shown: false, why: passed > 0 ? 'passes without the fix' : output.slice(-2000) };
  } finally {
    await writeFile(target, text);
  }
}

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { number: { type: 'string' } } });
  const wanted = HOLES.filter(
    ({ number }) => values.number === undefined || String(number) === values.number,
  );
  const folder = await copyProject();
  let [shown, not] = [0, 0];
  try {
    for (const hole of wanted) {
      for (const proof of hole.proofs) {
        const outcome = await show(folder, proof);
        if (outcome.shown) shown += 1;
        else not += 1;
        console.log(describe(hole, proof, outcome));
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  console.log(`${String(shown)} shown, ${String(not)} not shown`);
  return not === 0 && shown > 0 ? 0 : 1;
}

function describe({ number, what }: Hole, { engines, name }: Proof, outcome: Outcome): string {
  const head = outcome.shown ? 'ok  ' : 'FAIL';
  return `${head} ${String(number).padStart(2)} ${engines}: ${what}\n        ${name}: ${outcome.why}`;
}

process.exitCode = await main();
