/** The demo as a user runs it: a process of its own, which leaves nothing but its report. */
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DriftReport } from '../../src/report/drift-report.ts';
import { Workplace } from '../support/understudy.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const ASSETS = path.join(ROOT, 'src/demo/assets');

/** Where the demo may put what it needs meanwhile; every user may pass, the server's too. */
let temporary: string;
let reports: string;

beforeEach(async () => {
  const home = await mkdtemp(path.join(tmpdir(), 'understudy-demo-test-'));
  await chmod(home, 0o711);
  temporary = path.join(home, 'tmp');
  reports = path.join(home, 'reports');
  await mkdir(temporary);
  await mkdir(reports);
  await chmod(temporary, 0o711);
});

afterEach(async () => {
  await rm(path.dirname(temporary), { recursive: true, force: true });
});

/** The arguments that `npm run demo` gives to node. */
function demoScript(): readonly string[] {
  const text = readFileSync(path.join(ROOT, 'package.json'), 'utf8');
  const { scripts } = JSON.parse(text) as { scripts: Record<string, string> };
  return (scripts['demo'] ?? '').split(' ').slice(1);
}

interface Ended {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

function start(
  args: readonly string[],
  nodeArgs: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): { readonly child: ChildProcess; readonly ended: Promise<Ended>; out(): string } {
  const child = spawn(process.execPath, [...nodeArgs, ...demoScript(), ...args], {
    cwd: ROOT,
    env: { ...process.env, ...env, TMPDIR: temporary },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let err = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (err += text));
  const ended = new Promise<Ended>((resolve) => {
    child.once('close', (status) => {
      resolve({ status, out, err });
    });
  });
  return { child, ended, out: () => out };
}

/** Command lines of processes that have to do with the demo's folder. */
async function processesLeft(): Promise<readonly string[]> {
  const left: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (line.includes(temporary)) left.push(line.replaceAll('\0', ' '));
  }
  return left;
}

async function expectNothingLeft(): Promise<void> {
  expect(await processesLeft()).toEqual([]);
  // A copy of the server's programs, made once for all runs where root's home is closed, stays.
  const rest = (await readdir(temporary)).filter(
    (name) => !name.startsWith('understudy-postgres-'),
  );
  expect(rest).toEqual([]);
}

/** `table.column` of every group of updates, and `table kind` of all others. */
function seen(report: DriftReport): readonly string[] {
  const groups = report.divergence?.groups ?? [];
  return groups
    .flatMap(({ table, kind, columns }) =>
      kind === 'update' ? columns.map((column) => `${table}.${column}`) : [`${table} ${kind}`],
    )
    .sort();
}

const BOTH_BUGS = [
  'public.inventory.on_hand',
  'public.orders.total_cents',
  // A payment is as high as its order's total.
  'public.payments.amount',
];

async function expectSelfContained(file: string): Promise<void> {
  const html = await readFile(file, 'utf8');
  expect(html).toMatch(/^<!doctype html>/i);
  expect(html).toContain('total_cents');
  expect(html).toContain('on_hand');
  // Nothing is fetched, from elsewhere or from beside it.
  expect(html).not.toMatch(/<(?:link|iframe|object|embed)\b/i);
  expect(html).not.toMatch(/\b(?:src|srcset)\s*=|@import|url\((?!#|data:)/i);
}

describe('npm run demo', () => {
  it('ends equal, shows both bugs and nothing else, and leaves nothing but its report', async () => {
    const file = path.join(reports, 'report.html');
    const began = performance.now();
    const { status, out, err } = await start(['--report', file]).ended;
    expect({ status, err }).toEqual({ status: 0, err: '' });
    expect(performance.now() - began).toBeLessThan(60_000);
    expect(out).toContain('EQUAL');
    expect(out).toContain(`Report: ${file}`);
    expect(out).not.toContain('not seen');
    for (const column of BOTH_BUGS) expect(out).toContain(`${column} in `);
    // Only a terminal gets a progress bar.
    expect(out + err).not.toContain('\u001b');
    await expectSelfContained(file);
    expect(await readdir(reports)).toEqual(['report.html']);
    await expectNothingLeft();
  });

  it('reads nothing outside the repository and its temporary folder', async () => {
    const file = path.join(reports, 'report.html');
    const list = path.join(reports, 'reads');
    const watched = ['--import', path.join(ROOT, 'test/support/watch-reads.ts')];
    const { status, out, err } = await start(['--json', '--report', file], watched, {
      WATCH_READS: list,
    }).ended;
    expect({ status, err }).toEqual({ status: 0, err: '' });
    const report = JSON.parse(out) as DriftReport;
    expect(report.verdict).toBe('equal');
    expect(report.tables.length).toBe(8);
    expect(report.differences).toEqual([]);
    expect(seen(report)).toEqual(BOTH_BUGS);
    expect(report.divergence?.complete).toBe(true);
    const reads = (await readFile(list, 'utf8')).split('\n');
    expect(reads).toContain(path.join(ASSETS, 'shop.recording'));
    const home = `${path.dirname(temporary)}/`;
    expect(reads.filter((read) => !read.startsWith(ROOT) && !read.startsWith(home))).toEqual([]);
    await expectNothingLeft();
  });

  it('with --keep is there for every command until Ctrl-C', async () => {
    const demo = start(['--keep', '--report', path.join(reports, 'report.html')]);
    const config = await told(demo, /--config (\S+)/);
    await using workplace = await Workplace.make({});
    const ask = <T>(...args: string[]): Promise<T> =>
      workplace.json<T>([...args, '--config', config]);
    const status = await ask<{ databases: readonly { name: string }[] }>('status');
    expect(status.databases.map(({ name }) => name)).toEqual(['shop', 'new-checkout']);
    const reset = ['rollout', 'reset', 'new-checkout', '--table', 'public.inventory'];
    expect((await ask<{ rows: number }>(...reset)).rows).toBeGreaterThan(20);
    demo.child.kill('SIGINT');
    expect((await demo.ended).status).toBe(0);
    await expectNothingLeft();
  });

  it('interrupted in the midst, ends with 5 and cleans up', async () => {
    const demo = start(['--report', path.join(reports, 'report.html')]);
    await told(demo, /^Rollout/m);
    demo.child.kill('SIGINT');
    const { status, err } = await demo.ended;
    expect(err).toContain('INTERRUPTED');
    expect(status).toBe(5);
    expect(await readdir(reports)).toEqual([]);
    await expectNothingLeft();
  });

  it('plays the same on the real parts with --live', async () => {
    const file = path.join(reports, 'report.html');
    const { status, out, err } = await start(['--live', '--json', '--report', file]).ended;
    expect({ status, err }).toEqual({ status: 0, err: '' });
    const report = JSON.parse(out) as DriftReport;
    expect(report).toMatchObject({ verdict: 'equal', pin: { proof: 'xid-barrier' } });
    expect(seen(report)).toEqual(BOTH_BUGS);
    await expectSelfContained(file);
    await expectNothingLeft();
    // On a new machine the parts are fetched first.
  }, 900_000);

  it('brings what it needs in under 3 MB', async () => {
    const files = (await readdir(ASSETS)).sort();
    expect(files).toEqual(['manifest.json', 'shop.recording', 'traffic.json']);
    let bytes = 0;
    for (const name of files) bytes += (await stat(path.join(ASSETS, name))).size;
    expect(bytes).toBeLessThan(3_000_000);
  });
});

/** The first group of what the demo has printed, once it has. */
async function told(demo: ReturnType<typeof start>, what: RegExp): Promise<string> {
  let ended = false;
  void demo.ended.then(() => (ended = true));
  for (const deadline = Date.now() + 60_000; Date.now() < deadline && !ended;) {
    const match = what.exec(demo.out());
    if (match !== null) return match[1] ?? '';
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`the demo never said ${String(what)}:\n${demo.out()}`);
}
