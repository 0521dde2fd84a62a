/**
 * Every command that the README shows is run: here, one after another in one shell against the
 * real parts, or by the test named in the list of those covered elsewhere.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { postgresConnector } from '../support/connectors.ts';
import { startPostgres, type PostgresServer } from '../support/postgres.ts';
import { readReadme, shellCommands } from '../support/readme.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { ShopTraffic } from '../support/shop-traffic.ts';
import { testDatabase } from '../support/test-database.ts';
import { Workplace } from '../support/understudy.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Commands that are not run here, and the file that runs them. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  'npm ci && npm run demo': 'test/e2e/demo.e2e.test.ts',
  'npm run demo -- --live': 'test/e2e/demo.e2e.test.ts',
  'npm ci && npm test': '.ci/run',
  'npm run stack -- up': 'test/e2e/stack.e2e.test.ts',
  'npm run stack -- down': 'test/e2e/stack.e2e.test.ts',
  // Here the name leads to the same program by a file on the PATH.
  "alias understudy='npm run --silent understudy --'": 'test/e2e/readme.e2e.test.ts',
  'npm run check': 'test/support/run-tests.ts',
  'npm run torture -- --suite overlay --seeds 50': 'test/integration/torture.db.test.ts',
  'understudy rollout migrate new-checkout -- npm run migrate':
    'test/integration/migrate-cli.db.test.ts',
  'understudy rollout create next-checkout --migrates': 'test/integration/migrate-cli.db.test.ts',
  'understudy rollout truncate new-checkout --table public.carts':
    'test/integration/migrate-cli.db.test.ts',
  // Measurements, not tests: their frame is tested.
  'npm run bench:apply': 'test/unit/bench/frame.test.ts',
  'npm run bench:decode': 'test/unit/bench/frame.test.ts',
  'npm run bench:overlay': 'test/unit/bench/frame.test.ts',
};

/** The connector's name and prefix that the README shows. */
const PREFIX = 'prod';
const production = await testDatabase('readme');
const commands = shellCommands(await readReadme());

/** What the candidate does once it has its rollout. */
const CANDIDATE = `
import { execFileSync } from 'node:child_process';
import pg from '${ROOT}node_modules/pg/esm/index.mjs';
const text = execFileSync('understudy', ['rollout', 'get', 'new-checkout', '--json']);
const client = new pg.Client({ connectionString: JSON.parse(text).url });
await client.connect();
await client.query("DELETE FROM coupons WHERE code = 'WINTER5'");
await client.query("UPDATE coupons SET percent = 16 WHERE code = 'SPRING15'");
await client.end();
`;

interface Ran {
  readonly status: number | null;
  readonly output: string;
}

let shadow: PostgresServer;
let workplace: Workplace;
const ran = new Map<string, Ran>();

/** Runs lines in one shell, so that a job started in one can be stopped in another. */
async function runShell(
  lines: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<void> {
  const marked = lines.flatMap((line, i) => [
    `printf '\\n@@begin %d\\n' ${i}`,
    line,
    `printf '\\n@@end %d %d\\n' ${i} $?`,
  ]);
  const bin = path.join(workplace.directory, 'bin');
  const shell = spawn('bash', ['-c', `set -m; exec 2>&1\n${marked.join('\n')}\n`], {
    cwd: workplace.directory,
    env: { ...process.env, ...env, PATH: `${bin}:${process.env['PATH'] ?? ''}` },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  shell.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  await new Promise((resolve) => shell.once('close', resolve));
  for (const [i, line] of lines.entries()) {
    const match = new RegExp(`@@begin ${i}\\n(.*?)\\n@@end ${i} (\\d+)\\n`, 's').exec(output);
    ran.set(line, { status: match === null ? null : Number(match[2]), output: match?.[1] ?? '' });
  }
}

async function program(name: string, text: string): Promise<void> {
  const file = path.join(workplace.directory, 'bin', name);
  await writeFile(file, text);
  await chmod(file, 0o755);
}

describe('the README', () => {
  beforeAll(async () => {
    shadow = await startPostgres();
    const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
    const traffic = await ShopTraffic.open(production.url);
    await connect.createConnector(PREFIX, await postgresConnector(production.url, PREFIX));
    await traffic.serve(40);
    await traffic.settle(connect, PREFIX);
    workplace = await Workplace.make({});
    const { directory } = workplace;
    // The README writes one of its own.
    await rm(path.join(directory, 'understudy.yaml'));
    await mkdir(path.join(directory, 'bin'));
    const main = path.join(ROOT, 'src/main.ts');
    const node = `"${process.execPath}" --disable-warning=ExperimentalWarning`;
    await program('understudy', `#!/bin/sh\nexec ${node} "${main}" "$@"\n`);
    await writeFile(path.join(directory, 'candidate.mjs'), CANDIDATE);
    await program('candidate', `#!/bin/sh\nexec ${node} "${directory}/candidate.mjs"\n`);
    const lines = commands
      .filter((command) => !(command in ELSEWHERE))
      .flatMap((command) =>
        command.startsWith('understudy rollout get') ? [command, 'candidate'] : [command],
      );
    await runShell(lines, {
      BROKER: kafka.broker,
      CONNECT: connect.url,
      PRODUCTION: production.url,
      SHADOW: shadow.url,
    });
  });

  afterAll(async () => {
    await workplace[Symbol.asyncDispose]();
    await (await sharedConnect()).deleteConnector(PREFIX);
    await shadow.stop();
  });

  it('names no command twice and lists none as covered that it does not name', () => {
    expect(new Set(commands).size).toBe(commands.length);
    expect(Object.keys(ELSEWHERE).filter((command) => !commands.includes(command))).toEqual([]);
    const missing = Object.values(ELSEWHERE).filter((file) => !existsSync(path.join(ROOT, file)));
    expect(missing).toEqual([]);
  });

  it.each(commands.filter((command) => !(command in ELSEWHERE)))('%s', (command) => {
    expect(ran.get(command), ran.get(command)?.output).toMatchObject({ status: 0 });
  });

  it('shows what the candidate did, and nothing else', () => {
    expect(ran.get('candidate')?.status).toBe(0);
    const diff = ran.get('understudy rollout diff new-checkout --show-values')?.output ?? '';
    expect(diff).toMatch(/delete\s+public\.coupons \(WINTER5\)/);
    expect(diff).toContain('percent: 15 → 16');
    const check = ran.get('understudy drift check new-checkout --html check.html')?.output;
    expect(check).toContain('EQUAL');
    const released = ran.get('understudy rollout release new-checkout')?.output;
    expect(released).toContain('0 rows given up, 2 rows left to the candidate');
    const one = 'understudy rollout reset new-checkout --table public.coupons --key WINTER5';
    expect(ran.get(one)?.output).toContain('1 row put back');
    const rest = ran.get('understudy rollout reset new-checkout')?.output;
    expect(rest).toContain('1 row put back');
  });

  it('writes the files it speaks of', async () => {
    for (const name of ['understudy.yaml', 'connector.json', 'divergence.html', 'check.html']) {
      expect(await readFile(path.join(workplace.directory, name), 'utf8')).not.toBe('');
    }
  });
});
