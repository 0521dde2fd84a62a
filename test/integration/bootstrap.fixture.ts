/** A trunk that is filled by a pinned copy under traffic, with production's own log as event log. */
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { expect, onTestFinished } from 'vitest';
import { Follower } from '../../src/apply/follower.ts';
import {
  bootstrap,
  DEFAULT_BOOTSTRAP,
  type BootstrapOptions,
} from '../../src/bootstrap/bootstrap.ts';
import { HandOver, isHandedOver } from '../../src/bootstrap/hand-over.ts';
import {
  copySourceOf,
  copyTargetOf,
  type BootstrapState,
  type CopySource,
  type CopyTarget,
} from '../../src/dialect/copying.ts';
import type { Fence, ShadowDatabase } from '../../src/dialect/dialect.ts';
import { connectProduction } from '../../src/dialect/postgres/production/production.ts';
import { parseSnapshot } from '../../src/dialect/postgres/production/snapshot.ts';
import { connectShadow } from '../../src/dialect/postgres/shadow/server.ts';
import { silentLogger } from '../../src/observability/logger.ts';
import { TransactionAssembler } from '../../src/order/assembler.ts';
import { BatchBuilder } from '../../src/order/batch-builder.ts';
import { compareDatabases, connect } from '../support/comparison.ts';
import { databaseUrl } from '../support/postgres.ts';
import { SlotLog } from '../support/slot-log.ts';
import { postgresUrl } from '../support/test-database.ts';
import { freshName } from './shadow.fixture.ts';

const SCHEMA = `
  CREATE TABLE a (id int PRIMARY KEY, v int, w text UNIQUE);
  CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a, v int);
  CREATE INDEX b_by_a ON b (a, v);
  CREATE TABLE part (id int PRIMARY KEY, v int, twice int GENERATED ALWAYS AS (v * 2) STORED)
    PARTITION BY RANGE (id);
  CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (MINVALUE) TO (500);
  CREATE TABLE part_high PARTITION OF part FOR VALUES FROM (500) TO (MAXVALUE);
  CREATE TABLE plain (t text, n numeric, at timestamptz, raw bytea, tags text[]);
  CREATE TABLE nothing (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
  INSERT INTO a SELECT g, 1000, 'w' || g FROM generate_series(1, 1500) g;
  INSERT INTO b SELECT g, g, 1000 FROM generate_series(1, 1500) g;
  INSERT INTO part SELECT g, g FROM generate_series(1, 1000) g;
  INSERT INTO plain SELECT E'tab\\tnewline\\nback\\\\slash' || g, g / 7.0, '2020-01-01Z', '\\x00ff',
    ARRAY['a', NULL, 'b c'] FROM generate_series(1, 300) g;
  INSERT INTO plain VALUES (NULL, NULL, NULL, NULL, NULL), ('', 'NaN', 'infinity', '', '{}'),
    ('twin', 1, NULL, NULL, NULL), ('twin', 1, NULL, NULL, NULL);
`;

export interface Setting {
  readonly url: string;
  readonly production: pg.Client;
  readonly log: SlotLog;
  readonly source: CopySource;
}

let slots = 0;

/** A production with the schema above, and its log. */
export async function setting(url: string): Promise<Setting> {
  const production = await connect(url);
  onTestFinished(() => production.end());
  await production.query(SCHEMA);
  slots += 1;
  const log = await SlotLog.start(url, `boot_${String(process.pid)}_${String(slots)}`);
  onTestFinished(() => log[Symbol.asyncDispose]());
  const source = copySourceOf(await connectProduction(url));
  if (source === null) throw new Error('PostgreSQL can be copied from');
  return { url, production, log, source };
}

export interface Trunk {
  readonly url: string;
  readonly database: ShadowDatabase;
  readonly target: CopyTarget;
  readonly fence: Fence;
}

export async function makeTrunk(productionUrl: string): Promise<string> {
  const name = freshName('trunk');
  const server = await connectShadow(postgresUrl());
  onTestFinished(() => server[Symbol.asyncDispose]());
  const plan = await (await connectProduction(productionUrl)).planShadow();
  await server.createTrunk({ name, topicPrefix: 'p', plan, bootstrap: true });
  return name;
}

/** As a process that takes the trunk, until it is disposed. */
export async function hold(name: string): Promise<Trunk & AsyncDisposable> {
  const server = await connectShadow(postgresUrl());
  const database = await server.open(name);
  if (database === null) throw new Error('there is no trunk');
  const fence = await database.takeFence('test');
  const target = copyTargetOf(database);
  if (fence === null || target === null) throw new Error('not taken');
  return {
    ...{ url: databaseUrl(postgresUrl(), name), database, target, fence },
    async [Symbol.asyncDispose]() {
      await database.releaseFence(fence).catch(() => undefined);
      await database[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

export const OPTIONS: BootstrapOptions = {
  ...DEFAULT_BOOTSTRAP,
  jobs: 3,
  rangeBytes: 16 * 1024,
  timing: { everyMs: 5, timeoutMs: 30_000 },
  pinTimeoutMs: 30_000,
  signal: new AbortController().signal,
};

export async function fill(
  at: Setting,
  trunk: Trunk,
  changed: Partial<BootstrapOptions> = {},
  source: CopySource = at.source,
): Promise<BootstrapState> {
  await bootstrap(
    {
      ...{ target: trunk.target, fence: trunk.fence, production: source },
      ...{ source: at.log, offsets: at.log, catalogue: await trunk.database.catalogue() },
      ...{ includes: () => true, logger: silentLogger },
    },
    { ...OPTIONS, ...changed },
  );
  const state = await trunk.target.state();
  if (state === null) throw new Error('it was not to be filled');
  expect(state.ends).not.toBeNull();
  return state;
}

/** Follows the log from where the trunk stands to its end as it is now. */
export async function followToEnd(
  at: Setting,
  trunk: Trunk,
  mode: 'transaction' | 'key' = 'transaction',
): Promise<Follower> {
  const { database, fence, target } = trunk;
  const [catalogue, progress, state] = await Promise.all([
    database.catalogue(),
    database.progress(),
    target.state(),
  ]);
  const { ends, tables } = state ?? { ends: null, tables: [] };
  if (ends === null) throw new Error('not handed over');
  const handOver = new HandOver({ ends, tables, catalogue, snapshotView: parseSnapshot });
  const follower = new Follower(
    {
      ...{ database, fence, source: at.log, logger: silentLogger, mask: (event) => event },
      decode: (record) => handOver.screen(at.log.decode(record)),
      trim: (release) => handOver.trim(release),
      assembler: new TransactionAssembler({ mode, isSubscribed: () => true, stallLimitMs: 30_000 }),
      builder: (position) => new BatchBuilder({ catalogue, position }),
      limits: { batchEvents: 500, batchBytes: 1e7, budgetBytes: 1e8, giveUpAfterMs: 10_000 },
    },
    progress.position,
  );
  const done = follower.run();
  const marker = (await at.source.mark()).position;
  await expect.poll(() => at.log.committed(), { timeout: 20_000 }).toBeGreaterThanOrEqual(marker);
  const [logEnds, starts] = [await at.log.ends(), await at.log.starts()];
  await Promise.race([follower.until(() => follower.caughtUp(logEnds, starts)), done]);
  const { position } = await database.progress();
  expect(isHandedOver(ends, position.offsets)).toBe(true);
  follower.stop();
  await done.catch(() => undefined);
  expect(follower.totals.degraded).toBe(0);
  return follower;
}

export async function expectEqual(at: Setting, trunk: Trunk): Promise<void> {
  const { tables, differences } = await compareDatabases(at.url, trunk.url);
  expect(differences).toEqual([]);
  expect(tables.map((table) => [table.table, table.state])).toEqual(
    ['a', 'b', 'nothing', 'part', 'plain'].map((name) => [`public.${name}`, 'equal']),
  );
  // Also those that were set aside for the copy.
  expect(await indexesOf(trunk.url)).toEqual(await indexesOf(at.url));
}

async function indexesOf(url: string): Promise<readonly unknown[]> {
  const client = await connect(url);
  const { rows } = await client.query<Record<string, unknown>>(
    `SELECT i.indexdef, pg_get_constraintdef(k.oid) AS constraint FROM pg_indexes i
      LEFT JOIN pg_constraint k ON k.conindid = format('%I.%I', i.schemaname, i.indexname)::regclass
        AND k.contype IN ('p', 'u', 'x')
      WHERE i.schemaname = 'public' ORDER BY i.indexname`,
  );
  await client.end();
  return rows;
}

/** Transactions over all tables that conflict, roll back, and sometimes stay open for a while. */
export function startWriters(url: string): () => Promise<void> {
  let stopped = false;
  const write = async (seed: number): Promise<void> => {
    const client = await connect(url);
    if (seed % 2 === 0) await client.query('SET synchronous_commit = off');
    for (let i = 0; !stopped; i += 1) {
      const id = ((i * 31 + seed * 17) % 1500) + 1;
      const fresh = 2000 + seed * 100_000 + i;
      try {
        await client.query('BEGIN');
        await client.query(`UPDATE a SET v = v - 1 WHERE id = ${id}`);
        await client.query(`UPDATE b SET v = v + 1 WHERE id = ${((id + 700) % 1500) + 1}`);
        await client.query(`INSERT INTO a VALUES (${fresh}, 1, 'f${fresh}')`);
        if (i % 3 === 0) await client.query(`INSERT INTO b VALUES (${fresh}, ${fresh}, 1)`);
        else await client.query(`DELETE FROM a WHERE id = ${fresh - 1} AND id > 2000`);
        await client.query(`UPDATE part SET v = v + 1 WHERE id = ${(id % 1000) + 1}`);
        await client.query('INSERT INTO nothing DEFAULT VALUES');
        if (i % 5 === 0) await sleep(10);
        await client.query(i % 9 === 8 ? 'ROLLBACK' : 'COMMIT');
      } catch {
        // A deadlock, or a row that is still referenced.
        await client.query('ROLLBACK');
      }
      await sleep(1);
    }
    await client.end();
  };
  const writers = Promise.all([1, 2, 3, 4, 5].map(write));
  return async () => {
    stopped = true;
    await writers;
  };
}
