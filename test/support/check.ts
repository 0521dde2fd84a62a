/**
 * `npm run check`: every check that needs neither a network nor a server, several at a time, with
 * one summary. The commands are those of package.json, so `npm run <step>` is the same check alone.
 * `npm run check -- lint types` runs only the named steps.
 */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { delimiter, resolve } from 'node:path';

/** Script names, the slowest first so that the short ones fill the gaps. */
const STEPS = [
  'test:unit',
  'typecheck',
  'deadcode',
  'direction',
  'format',
  'lint',
  'engine-names',
] as const;

interface StepResult {
  readonly step: string;
  readonly ok: boolean;
  readonly seconds: number;
  readonly output: string;
}

async function runStep(step: string, command: string): Promise<StepResult> {
  const started = performance.now();
  const path = `${resolve('node_modules/.bin')}${delimiter}${process.env['PATH'] ?? ''}`;
  const child = spawn(command, {
    shell: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PATH: path, FORCE_COLOR: '0', NO_COLOR: '1' },
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const ok = await new Promise<boolean>((done) => {
    child.once('error', (error) => {
      output += error.message;
      done(false);
    });
    child.once('close', (code) => done(code === 0));
  });
  return { step, ok, seconds: (performance.now() - started) / 1000, output };
}

function report({ step, ok, seconds, output }: StepResult): void {
  console.log(`${ok ? 'ok  ' : 'FAIL'} ${step.padEnd(13)} ${seconds.toFixed(1).padStart(5)} s`);
  if (!ok) console.log(output.trimEnd().replaceAll(/^/gm, '     | '));
}

const { scripts } = JSON.parse(await readFile('package.json', 'utf8')) as {
  scripts: Record<string, string>;
};
const asked = process.argv.slice(2);
const unknown = asked.filter((step) => !STEPS.some((known) => known === step));
if (unknown.length > 0) {
  console.error(`no such step: ${unknown.join(', ')}; there are ${STEPS.join(', ')}`);
  process.exit(3);
}

const started = performance.now();
const waiting = STEPS.filter((step) => asked.length === 0 || asked.includes(step));
const failed: string[] = [];
const queue = [...waiting];
const worker = async (): Promise<void> => {
  for (let step = queue.shift(); step !== undefined; step = queue.shift()) {
    const command = scripts[step];
    if (command === undefined) throw new Error(`package.json lacks the script ${step}`);
    const result = await runStep(step, command);
    report(result);
    if (!result.ok) failed.push(step);
  }
};
await Promise.all(Array.from({ length: Math.max(2, Math.min(4, availableParallelism())) }, worker));

const seconds = ((performance.now() - started) / 1000).toFixed(1);
console.log(
  failed.length === 0
    ? `check: all ${waiting.length} steps passed in ${seconds} s`
    : `check: ${failed.length} of ${waiting.length} steps failed (${failed.join(', ')}) in ${seconds} s`,
);
process.exitCode = failed.length === 0 ? 0 : 1;
