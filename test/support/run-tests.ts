/**
 * `npm test`: the checks that are no tests, then every test of every project, on the real parts.
 * Its last line is `N passed, N failed, N skipped`; a failed check counts as one failure. Exits 1
 * if anything failed or nothing ran. Arguments go to vitest: `npm test -- --project e2e`; the
 * checks are then left out.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { countsLine, countTests, type TestCounts, type VitestReport } from './test-counts.ts';

/** All of `npm run check` but its tests, which run below with the others. */
const CHECKS = ['typecheck', 'deadcode', 'direction', 'format', 'lint', 'engine-names'];

function run(command: string, args: readonly string[]): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit'] });
    child.once('error', (error) => {
      console.error(`${command} could not be run: ${error.message}`);
      resolve(false);
    });
    child.once('close', (code) => resolve(code === 0));
  });
}

function readCounts(file: string): TestCounts {
  try {
    return countTests(JSON.parse(readFileSync(file, 'utf8')) as VitestReport);
  } catch {
    console.error('vitest left no report');
    return { passed: 0, failed: 1, skipped: 0 };
  }
}

const chosen = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), 'understudy-report-'));
const report = join(folder, 'report.json');
try {
  const checked =
    chosen.length > 0 || (await run('npm', ['run', '--silent', 'check', '--', ...CHECKS]));
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const green = await run('vitest', ['run', ...reporters, ...chosen]);
  const counts = readCounts(report);
  // Vitest also fails for what is no test's fault: an unhandled rejection, a failed teardown.
  const unnamed = !green && counts.failed === 0 ? 1 : 0;
  const failed = counts.failed + unnamed + (checked ? 0 : 1);
  console.log(countsLine({ ...counts, failed }));
  process.exitCode = failed === 0 && counts.passed > 0 ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
