/**
 * `understudy run` and the commands beside it, on a recording and a real server: what goes wrong
 * for a moment, or for one rollout, ends nothing else.
 */
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { databaseUrl, startPostgres, type PostgresServer } from '../support/postgres.ts';
import { removeFolder } from '../support/process/folders.ts';
import { Workplace, type RunningCli } from '../support/understudy.ts';

const SHOP = fileURLToPath(new URL('../../src/demo/', import.meta.url));
const dataDir = path.join(tmpdir(), `understudy-run-${randomBytes(4).toString('hex')}`);
let server: PostgresServer;
let workplace: Workplace;

beforeAll(async () => {
  server = await startPostgres({ dataDir });
  workplace = await Workplace.make({
    source: { topicPrefix: 'shop', recording: path.join(SHOP, 'assets/shop.recording') },
    shadow: { url: server.url },
    trunk: { name: 'shop', schema: path.join(SHOP, 'shop/schema.sql') },
  });
  await workplace.json(['materialize', '--until-caught-up']);
}, 60_000);

afterAll(async () => {
  await workplace[Symbol.asyncDispose]();
  await server.stop();
  await removeFolder(dataDir);
  await removeFolder(`${dataDir}.log`);
});

async function query(database: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: databaseUrl(server.url, database) });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

/** Everything is applied anew: replays change nothing. */
const rewind = (database: string): Promise<unknown> =>
  query(database, 'DELETE FROM understudy.position');

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within 20 s: ${what}`);
    await sleep(100);
  }
}

const rollouts = (): Promise<Record<string, unknown>[]> =>
  query('understudy', 'SELECT name, state FROM understudy.rollout ORDER BY name');

async function blocked(run: RunningCli): Promise<void> {
  await until('the run is blocked', () => run.stderr.includes('cannot write, trying again'));
}

async function lockOrders(database: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: databaseUrl(server.url, database) });
  await client.connect();
  // Changes of a table that is locked wait by themselves; a place that cannot be saved blocks the run.
  await client.query('BEGIN; LOCK TABLE orders; SELECT FROM understudy.progress FOR UPDATE');
  return client;
}

test('a signal ends a run that waits for a lock as it ends any other', async () => {
  await workplace.json(['rollout', 'create', 'locked']);
  await rewind('shop_locked');
  const candidate = await lockOrders('shop_locked');
  const run = workplace.start(['run']);
  await blocked(run);
  run.kill('SIGTERM');
  expect(await run.ended).toMatchObject({ status: 0 });
  await candidate.end();
  expect(await rollouts()).toEqual([{ name: 'locked', state: 'following' }]);
}, 60_000);

test('what waits for an idle candidate is told, and written soon after it ended', async () => {
  await workplace.json(['rollout', 'create', 'idle']);
  await rewind('shop_idle');
  const candidate = new pg.Client({ connectionString: databaseUrl(server.url, 'shop_idle') });
  await candidate.connect();
  await candidate.query('BEGIN; UPDATE orders SET status = status');
  const run = workplace.start(['run', '--only', 'idle']);
  const status = async () => {
    const { databases } = await workplace.json<{
      databases: {
        readonly name: string;
        readonly parked: number;
        readonly lag: { readonly offsets: number };
        readonly waiting: { readonly keys: number; readonly oldestMs: number | null };
        readonly possiblyOurs: { readonly count: number } | null;
      }[];
    }>(['status']);
    const found = databases.find(({ name }) => name === 'idle');
    if (found === undefined) throw new Error('there is no such rollout');
    return found;
  };
  await until('the rest is applied', async () => (await status()).lag.offsets === 0);
  const waits = await status();
  const { keys, oldestMs } = waits.waiting;
  expect(waits).toMatchObject({ parked: keys, possiblyOurs: { count: 0 } });
  expect(keys).toBeGreaterThan(1);
  expect(oldestMs).toBeGreaterThan(0);
  expect((await workplace.run(['status'])).stdout).toMatch(
    /idle: \d+ keys of public\.orders wait for a transaction of the candidate, the oldest for/,
  );
  expect((await workplace.run(['doctor'])).stdout).toMatch(
    /rollout idle: \d+ keys of public\.orders wait for a transaction of the candidate/,
  );
  await candidate.query('COMMIT');
  await candidate.end();
  await until('nothing waits', () => run.stderr.includes('no key waits any more'));
  expect(await status()).toMatchObject({ parked: 0, waiting: { keys: 0, oldestMs: null } });
  run.kill('SIGTERM');
  expect(await run.ended).toMatchObject({ status: 0 });
  await workplace.json(['rollout', 'delete', 'idle']);
}, 60_000);

test('a restart of the shadow server ends no run', async () => {
  const run = workplace.start(['run', '--only', 'trunk']);
  await until('the trunk is followed', () => run.stderr.includes('"msg":"following"'));
  const { port } = server;
  await server.stop();
  await sleep(3_000);
  expect(run.process.exitCode).toBeNull();
  server = await startPostgres({ dataDir, port });
  // Before it is back, a command would rightly find nobody there and take the database itself.
  await until('it holds the trunk again', async () => {
    const { databases } = await workplace.json<{ databases: { holder: string | null }[] }>([
      'status',
    ]);
    return databases[0]?.holder !== null;
  });
  // It answers requests again.
  await workplace.json(['rollout', 'create', 'after']);
  expect(run.process.exitCode).toBeNull();
  run.kill('SIGTERM');
  expect(await run.ended).toMatchObject({ status: 0 });
  await workplace.json(['rollout', 'delete', 'after']);
}, 60_000);

test('what nobody waits for any more is not done later', async () => {
  await rewind('shop_locked');
  const candidate = await lockOrders('shop_locked');
  const run = workplace.start(['run']);
  await blocked(run);
  const reset = workplace.start(['rollout', 'reset', 'locked']);
  const running = `SELECT FROM understudy.request WHERE state = 'running' AND kind = 'reset'`;
  await until('the reset waits', async () => (await query('understudy', running)).length === 1);
  const remove = workplace.start(['rollout', 'delete', 'locked']);
  const open = `SELECT FROM understudy.request WHERE state = 'open'`;
  await until('so does the deletion', async () => (await query('understudy', open)).length === 1);
  remove.kill('SIGINT');
  expect(await remove.ended).toMatchObject({ status: 5 });
  expect(await query('understudy', open)).toEqual([]);
  await candidate.end();
  expect(await reset.ended).toMatchObject({ status: 0 });
  expect(await rollouts()).toEqual([{ name: 'locked', state: 'following' }]);
  run.kill('SIGTERM');
  expect(await run.ended).toMatchObject({ status: 0 });
}, 60_000);

test('a rollout that expires goes, also one that failed', async () => {
  await workplace.json(['rollout', 'create', 'short', '--ttl', '1s']);
  await query('understudy', `UPDATE understudy.rollout SET state = 'failed' WHERE name = 'short'`);
  // Its own table is gone, so that this run can only mark it as failed again.
  await query('shop_short', 'ALTER TABLE orders RENAME TO old_orders');
  await rewind('shop_short');
  const run = workplace.start(['run']);
  await until('it is gone', async () => (await rollouts()).length === 1);
  run.kill('SIGTERM');
  expect(await run.ended).toMatchObject({ status: 0 });
}, 60_000);

test('a rollout that was left half made, or lost its database, can be deleted', async () => {
  for (const name of ['copied', 'lost']) {
    const half = await workplace.json<{ database: string }>(['rollout', 'create', name]);
    await query(
      'understudy',
      `UPDATE understudy.rollout SET state = 'creating' WHERE name = '${name}'`,
    );
    await query('postgres', `DROP DATABASE ${half.database} WITH (FORCE)`);
    // A crash right after the copy leaves a database with the trunk's marker.
    if (name === 'copied')
      await query('postgres', `CREATE DATABASE ${half.database} TEMPLATE shop`);
    await workplace.json(['rollout', 'delete', name]);
    const left = `SELECT FROM pg_database WHERE datname = '${half.database}'`;
    expect(await query('postgres', left)).toEqual([]);
  }
  expect(await rollouts()).toEqual([{ name: 'locked', state: 'following' }]);
}, 60_000);

test('status tells who follows, what has failed, and what has come to the end of its log', async () => {
  await workplace.json(['rollout', 'create', 'broken']);
  await query('shop_broken', 'ALTER TABLE orders RENAME TO old_orders');
  await rewind('shop_broken');
  const run = workplace.start(['run']);
  const states = async (): Promise<unknown> => {
    const { databases } = await workplace.json<{
      databases: { name: string; state: string; holder: string | null }[];
    }>(['status']);
    return databases.map(({ name, state, holder }) => [name, state, holder !== null]);
  };
  await until('it has failed', () => run.stderr.includes('the rollout cannot go on'));
  // The next sign of life tells of the end of the log.
  await expect.poll(states, { timeout: 20_000 }).toEqual([
    ['shop', 'log ended', true],
    ['locked', 'log ended', true],
    ['broken', 'failed', false],
  ]);
  run.kill('SIGTERM');
  await run.ended;
  expect(await states()).toEqual([
    ['shop', 'stopped', false],
    ['locked', 'stopped', false],
    ['broken', 'failed', false],
  ]);
}, 60_000);
