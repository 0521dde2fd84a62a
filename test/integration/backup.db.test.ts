/**
 * A trunk on top of a restored dump, by real databases and production's own log as event log
 * (slot-log.ts). A physical backup, end to end with Debezium: test/e2e/backup.e2e.test.ts.
 */
import { pipeline } from 'node:stream/promises';
import type pg from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { expect, onTestFinished, test } from 'vitest';
import { Follower } from '../../src/apply/follower.ts';
import { adoptBackup } from '../../src/bootstrap/backup.ts';
import { HandOver } from '../../src/bootstrap/hand-over.ts';
import { copySourceOf, copyTargetOf } from '../../src/dialect/copying.ts';
import { readBackup } from '../../src/dialect/postgres/production/backup-reading.ts';
import { connectProduction } from '../../src/dialect/postgres/production/production.ts';
import { parseSnapshot } from '../../src/dialect/postgres/production/snapshot.ts';
import { connectShadow } from '../../src/dialect/postgres/shadow/server.ts';
import { silentLogger } from '../../src/observability/logger.ts';
import { TransactionAssembler } from '../../src/order/assembler.ts';
import { BatchBuilder } from '../../src/order/batch-builder.ts';
import { readTo } from '../../src/source/read-range.ts';
import { canonicalState } from '../support/canonical-state.ts';
import { connect } from '../support/comparison.ts';
import { hangCommit } from '../support/hung-commit.ts';
import { createDatabase, databaseUrl, startPostgres } from '../support/postgres.ts';
import { SlotLog } from '../support/slot-log.ts';
import { postgresUrl } from '../support/test-database.ts';
import { freshName } from './shadow.fixture.ts';

const TABLES = ['a', 'b'];
const SCHEMA = `CREATE TABLE a (id int PRIMARY KEY, v int); CREATE TABLE b (id int PRIMARY KEY, v int);`;

interface Setting {
  readonly url: string;
  readonly production: pg.Client;
  readonly log: SlotLog;
}

async function setting(): Promise<Setting> {
  const server = await startPostgres();
  onTestFinished(() => server.stop());
  const url = await createDatabase(server.url, 'shop');
  const production = await connect(url);
  production.on('error', () => undefined);
  onTestFinished(() => production.end());
  await production.query(`${SCHEMA} INSERT INTO a SELECT g, 0 FROM generate_series(1, 20) g`);
  const log = await SlotLog.start(url, 'backup');
  onTestFinished(() => log[Symbol.asyncDispose]());
  return { url, production, log };
}

/** A dump of one snapshot, restored under a new name on the run's server; its position. */
async function dump(
  { url }: Setting,
  meanwhile: () => Promise<void>,
): Promise<{ readonly name: string; readonly position: string }> {
  const name = freshName('trunk');
  const [source, target] = [
    await connect(url),
    await connect(await createDatabase(postgresUrl(), name)),
  ];
  await source.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
  const { rows } = await source.query<{ position: string }>(
    `SELECT pg_current_wal_insert_lsn() || ' ' || pg_current_snapshot() AS position`,
  );
  await meanwhile();
  await target.query(SCHEMA);
  for (const table of TABLES) {
    const read = source.query(copyTo(`COPY ${table} TO STDOUT`));
    await pipeline(read, target.query(copyFrom(`COPY ${table} FROM STDIN`)));
  }
  await source.end();
  await target.end();
  return { name, position: rows[0]?.position ?? '' };
}

/** Takes it over, and follows the log to its end. */
async function takeOver(
  at: Setting,
  { name, position }: { readonly name: string; readonly position: string },
): Promise<void> {
  const { log } = at;
  const production = await connectProduction(at.url);
  const source = copySourceOf(production);
  const server = await connectShadow(postgresUrl());
  await server.createTrunk({
    ...{ name, topicPrefix: 'p', plan: await production.planShadow(), restored: true },
  });
  const database = await server.open(name);
  const fence = await database?.takeFence('test');
  if (database === null || fence === null || fence === undefined || source === null) {
    throw new Error('not taken');
  }
  const target = copyTargetOf(database);
  if (target === null) throw new Error('PostgreSQL can be copied into');
  const passed = async (): Promise<void> => {
    const marker = (await source.mark()).position;
    await expect.poll(() => log.committed(), { timeout: 20_000 }).toBeGreaterThanOrEqual(marker);
  };
  await passed();
  const [starts, ends] = [await log.starts(), await log.ends()];
  const signal = new AbortController().signal;
  async function* records(): AsyncGenerator<ReturnType<SlotLog['decode']>> {
    const options = { budgetBytes: 1e8, group: 'test', signal };
    for await (const record of readTo(log, ends, options)) yield log.decode(record);
  }
  const tables = TABLES.map((table) => ({ schema: 'public', name: table }));
  await adoptBackup({
    ...{ target, fence, starts, ends, tables, settings: [], records: records() },
    ...{ reading: readBackup(position), snapshotView: parseSnapshot, now: Date.now },
  });
  const state = await target.state();
  if (state === null || state.ends === null) throw new Error('not handed over');
  const catalogue = await database.catalogue();
  const handOver = new HandOver({
    ...{ ends: state.ends, tables: state.tables, catalogue, snapshotView: parseSnapshot },
  });
  const follower = new Follower(
    {
      ...{ database, fence, source: log, logger: silentLogger, mask: (event) => event },
      decode: (record) => handOver.screen(log.decode(record)),
      trim: (release) => handOver.trim(release),
      assembler: new TransactionAssembler({
        ...{ mode: 'transaction', isSubscribed: () => true, stallLimitMs: 30_000 },
      }),
      builder: (from) => new BatchBuilder({ catalogue, position: from }),
      limits: { batchEvents: 500, batchBytes: 1e7, budgetBytes: 1e8, giveUpAfterMs: 10_000 },
    },
    (await database.progress()).position,
  );
  const done = follower.run();
  await passed();
  const now = [await log.ends(), await log.starts()] as const;
  await Promise.race([follower.until(() => follower.caughtUp(...now)), done]);
  follower.stop();
  await done.catch(() => undefined);
  expect(follower.totals.degraded).toBe(0);
  await database.releaseFence(fence);
  await database[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
}

const state = (url: string): ReturnType<typeof canonicalState> => canonicalState(url);

test('what its snapshot saw is passed over, and all else applied', async () => {
  const at = await setting();
  const open = await connect(at.url);
  await open.query('BEGIN; INSERT INTO b VALUES (1, 1)');
  await at.production.query('UPDATE a SET v = v + 1');
  const made = await dump(at, async () => {
    await at.production.query('UPDATE a SET v = v + 10 WHERE id < 9; INSERT INTO b VALUES (2, 2)');
    await open.query('UPDATE a SET v = v + 100 WHERE id = 3; COMMIT');
    await open.end();
  });
  // The dump is changed: what its snapshot saw must not come again.
  const trunk = await connect(databaseUrl(postgresUrl(), made.name));
  await trunk.query('UPDATE a SET v = 7777 WHERE id = 20');
  await at.production.query('DELETE FROM a WHERE id = 5');
  await takeOver(at, made);
  const kept = await trunk.query('UPDATE a SET v = 1 WHERE id = 20 AND v = 7777');
  expect(kept.rowCount).toBe(1);
  await trunk.end();
  const [ours, theirs] = [await state(databaseUrl(postgresUrl(), made.name)), await state(at.url)];
  expect(ours).toEqual(theirs);
}, 60_000);

test('a transaction that was in the log and hidden by its commit’s wait is not lost', async () => {
  const at = await setting();
  const letGo = await hangCommit(at.url, 'UPDATE a SET v = 4711 WHERE id = 1');
  await expect.poll(() => at.log.recordsOf('public.a'), { timeout: 10_000 }).toBe(1);
  const made = await dump(at, () => Promise.resolve());
  await letGo();
  await takeOver(at, made);
  expect(await state(databaseUrl(postgresUrl(), made.name))).toEqual(await state(at.url));
}, 60_000);

test('a database without a backup is not taken for one, and nothing of one is ever dropped', async () => {
  const server = await connectShadow(postgresUrl());
  onTestFinished(() => server[Symbol.asyncDispose]());
  const name = freshName('trunk');
  const options = {
    ...{ name, topicPrefix: 'p', restored: true },
    plan: { tables: [], statements: [], notCarried: [] },
  };
  const missing = { code: 'BACKUP_MISSING' };
  await expect(server.createTrunk(options)).rejects.toMatchObject(missing);
  const client = await connect(await createDatabase(postgresUrl(), name));
  onTestFinished(() => client.end());
  await expect(server.createTrunk(options)).rejects.toMatchObject(missing);
  await client.query(`CREATE TABLE precious (id int); CREATE SCHEMA understudy;
    CREATE TABLE understudy.fence (id int)`);
  await expect(server.createTrunk(options)).rejects.toMatchObject({ code: 'SCHEMA_FAILED' });
  await client.query('DROP SCHEMA understudy CASCADE');
  await server.createTrunk(options);
  await server.createTrunk(options);
  expect((await client.query('SELECT FROM precious')).rowCount).toBe(0);
}, 60_000);
