/** `rollout migrate` beside a process that follows: it gives way, and goes on with what the migration made. */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { MigrationOutcome } from '../../src/dialect/migrating.ts';
import { databaseUrl, startPostgres, type PostgresServer } from '../support/postgres.ts';
import { removeFolder } from '../support/process/folders.ts';
import { Workplace, type RunningCli } from '../support/understudy.ts';

const SHOP = fileURLToPath(new URL('../../src/demo/', import.meta.url));
const DRIVER = fileURLToPath(new URL('../../node_modules/pg/esm/index.mjs', import.meta.url));
const dataDir = path.join(tmpdir(), `understudy-migrate-${randomBytes(4).toString('hex')}`);
let server: PostgresServer;
let workplace: Workplace;
let following: RunningCli;

beforeAll(async () => {
  server = await startPostgres({ dataDir });
  workplace = await Workplace.make({
    source: { topicPrefix: 'shop', recording: path.join(SHOP, 'assets/shop.recording') },
    shadow: { url: server.url },
    trunk: { name: 'shop', schema: path.join(SHOP, 'shop/schema.sql') },
  });
  await workplace.json(['materialize', '--until-caught-up']);
  await workplace.json(['rollout', 'create', 'blue']);
  following = workplace.start(['run']);
  // As a release's own program: it knows its connection from the environment alone.
  await writeFile(
    path.join(workplace.directory, 'migrate.mjs'),
    `import pg from ${JSON.stringify(DRIVER)};
    const [sql, status = '0'] = process.argv.slice(2);
    const client = new pg.Client({ connectionString: process.env.DATABASE_URL });
    await client.connect();
    await client.query(sql);
    console.log('as', process.env.PGUSER, 'in', process.env.PGDATABASE);
    await client.end();
    process.exit(Number(status));`,
  );
}, 60_000);

afterAll(async () => {
  following.kill('SIGTERM');
  await following.ended;
  await workplace[Symbol.asyncDispose]();
  await server.stop();
  await removeFolder(dataDir);
  await removeFolder(`${dataDir}.log`);
});

async function rows(sql: string): Promise<readonly unknown[]> {
  const client = new pg.Client({ connectionString: databaseUrl(server.url, 'shop_blue') });
  await client.connect();
  try {
    return (await client.query<unknown[]>({ text: sql, rowMode: 'array' })).rows;
  } finally {
    await client.end();
  }
}

const holder = 'SELECT holder IS NOT NULL FROM understudy.fence';

async function isFollowed(): Promise<void> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const [held] = (await rows(holder)) as boolean[][];
    if (held?.[0] === true) return;
    if (Date.now() > deadline) throw new Error('nobody follows the rollout again');
    await sleep(100);
  }
}

const migrate = (...args: readonly string[]) => [
  ...['rollout', 'migrate', 'blue', '--', process.execPath, 'migrate.mjs', ...args],
];

test('a migration runs by its own command, and who follows goes on after it', async () => {
  await isFollowed();
  const done = await workplace.run(
    migrate(
      `ALTER TABLE orders ADD COLUMN remark text DEFAULT 'none'; CREATE TABLE mine (id int PRIMARY KEY)`,
    ),
  );
  expect(done).toMatchObject({ status: 0 });
  expect(done.stdout).toContain('as shop_blue__migration in shop_blue');
  expect(done.stdout).toContain('public.orders: only the candidate has remark.');
  expect(done.stdout).toContain('public.mine is the candidate’s own.');
  await isFollowed();
  // All of the log once more, into the table as the candidate has it.
  const image = 'SELECT * FROM public__production.orders ORDER BY id';
  const seen = 'SELECT id, remark FROM orders ORDER BY id';
  const [before, visible] = [await rows(image), await rows(seen)];
  expect(before.length).toBeGreaterThan(0);
  following.kill('SIGTERM');
  await following.ended;
  await rows('DELETE FROM understudy.position');
  await rows('DELETE FROM understudy.delivered');
  await workplace.json(['materialize', '--until-caught-up']);
  expect(await rows(image)).toEqual(before);
  expect(await rows(seen)).toEqual(visible);
  following = workplace.start(['run']);
  const [own] = (await rows(
    `SELECT has_table_privilege('shop_blue', 'mine', 'INSERT'), pg_get_userbyid(relowner)
      FROM pg_class WHERE oid = 'mine'::regclass`,
  )) as unknown[][];
  expect(own?.[0]).toBe(true);
  expect(own?.[1]).not.toBe('shop_blue__migration');
}, 90_000);

test('one that fails is told apart, and what it did until then is kept and captured', async () => {
  await isFollowed();
  const failed = await workplace.run(
    migrate('CREATE TABLE half (id int PRIMARY KEY); INSERT INTO half VALUES (1)', '3'),
  );
  expect(failed.status).toBe(1);
  expect(failed.stderr).toContain('MIGRATION_FAILED');
  expect(failed.stderr).toContain('exit status 3');
  expect(await rows('SELECT id FROM half')).toEqual([[1]]);
  expect(await rows('SELECT understudy_kind FROM public__difference.half')).toEqual([['insert']]);
  const none = await workplace.run(['rollout', 'migrate', 'blue', '--', 'no-such-program']);
  expect(none.status).toBe(3);
  await isFollowed();
}, 90_000);

test('with --json what the command prints goes to standard error', async () => {
  const found = await workplace.run([
    'rollout',
    'migrate',
    'blue',
    '--json',
    ...migrate('DROP TABLE half').slice(3),
  ]);
  expect(found.status).toBe(0);
  expect(found.stderr).toContain('as shop_blue__migration');
  const outcome = JSON.parse(found.stdout) as MigrationOutcome;
  expect(outcome.own).toEqual([{ schema: 'public', name: 'mine' }]);
  expect(outcome.reshaped).toMatchObject([{ table: { name: 'orders' }, own: ['remark'] }]);
  expect(
    await rows(`SELECT rolcanlogin FROM pg_roles WHERE rolname = 'shop_blue__migration'`),
  ).toEqual([[false]]);
  expect(
    (await workplace.run(['rollout', 'truncate', 'blue', '--table', 'public.mine'])).status,
  ).toBe(0);
  expect((await workplace.run(['rollout', 'delete', 'blue'])).status).toBe(0);
}, 90_000);

test('a candidate migrates by itself beside a process that follows, which ends what it begins', async () => {
  const made = (await workplace.json(['rollout', 'create', 'green', '--migrates'])) as {
    readonly url: string;
  };
  const green = async (url: string, sql: string): Promise<readonly unknown[]> => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      return (await client.query<unknown[]>({ text: sql, rowMode: 'array' })).rows;
    } finally {
      await client.end();
    }
  };
  const admin = databaseUrl(server.url, 'shop_green');
  const image = 'SELECT * FROM public__production.orders ORDER BY id';
  const before = await green(admin, image);
  const deadline = Date.now() + 30_000;
  for (const sql of [
    'ALTER TABLE orders ADD COLUMN remark text DEFAULT 1',
    'CREATE TABLE mine (id int PRIMARY KEY)',
  ]) {
    await green(made.url, sql);
    while ((await green(admin, 'SELECT FROM understudy.migrating')).length > 0) {
      if (Date.now() > deadline) throw new Error('nobody ends the migration');
      await sleep(100);
    }
  }
  expect(await green(admin, image)).toEqual(before);
  expect(await green(admin, 'SELECT name FROM understudy.own_table')).toEqual([['mine']]);
  expect((await workplace.run(['rollout', 'diff', 'green'])).status).toBe(0);
  expect((await workplace.run(['rollout', 'delete', 'green'])).status).toBe(0);
  expect(await green(server.url, `SELECT FROM pg_roles WHERE rolname ~ 'shop_green'`)).toEqual([]);
}, 90_000);

test('a rollout whose migration cannot be ended is deleted all the same', async () => {
  const made = (await workplace.json(['rollout', 'create', 'grey', '--migrates'])) as {
    readonly url: string;
  };
  const grey = async (url: string, sql: string): Promise<void> => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await client.query(sql);
    await client.end();
  };
  // In the place of what is set aside then.
  const admin = databaseUrl(server.url, 'shop_grey');
  await grey(admin, 'CREATE TABLE understudy."public.orders#former" (id int)');
  await grey(made.url, 'ALTER TABLE orders ADD COLUMN remark text');
  await expect
    .poll(async () => (await workplace.run(['status'])).stdout, { timeout: 40_000, interval: 500 })
    .toMatch(/grey .* failed/);
  const deleted = await workplace.run(['rollout', 'delete', 'grey']);
  expect(deleted.stderr).not.toContain('SCHEMA_FAILED');
  expect(deleted.status).toBe(0);
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  const { rowCount } = await client.query(`SELECT FROM pg_database WHERE datname = 'shop_grey'`);
  await client.end();
  expect(rowCount).toBe(0);
}, 90_000);
