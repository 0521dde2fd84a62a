/** Trunks that several processes share, on every engine: each test with one of its own. */
import { onTestFinished } from 'vitest';
import type { Fence } from '../../src/dialect/dialect.ts';
import { dialectFor } from '../../src/dialect/registry.ts';
import type { SharedShadow } from '../../src/dialect/sharing.ts';
import type { ChangeBatch } from '../../src/order/change-batch.ts';
import { prepareActs } from '../../src/dialect/mysql/apply/apply.ts';
import { ServerAddress as BinlogAddress } from '../../src/dialect/mysql/session/address.ts';
import { Client } from '../../src/dialect/mysql/session/client.ts';
import { readFlavour } from '../../src/dialect/mysql/session/flavour.ts';
import { assertFence as assertBinlogFence } from '../../src/dialect/mysql/shadow/fence.ts';
import { showMember as showBinlogMember } from '../../src/dialect/mysql/shadow/member-sessions.ts';
import { savePlaces as saveBinlogPlaces } from '../../src/dialect/mysql/shadow/progress.ts';
import { assertShare as assertBinlogShare } from '../../src/dialect/mysql/shadow/sharing.ts';
import { assertFence } from '../../src/dialect/postgres/shadow/fence.ts';
import { showMember } from '../../src/dialect/postgres/shadow/member-sessions.ts';
import { savePlaces } from '../../src/dialect/postgres/shadow/progress.ts';
import { assertShare } from '../../src/dialect/postgres/shadow/sharing.ts';
import { postgresUrl } from '../support/test-database.ts';
import {
  freshName as freshBinlogName,
  rowsOf,
  serverOf,
  sessionOn,
  shadowServer,
  type Engine as BinlogEngine,
} from './mysql.fixture.ts';
import { exactSession, freshTrunk, ITEMS, planOf } from './shadow.fixture.ts';

export const ENGINES = ['postgres', 'mysql', 'mariadb'] as const;
export type Engine = (typeof ENGINES)[number];

/** An act of a process that stands still in the middle of it, with its locks. */
export interface StoppedAct {
  /** Moves its partitions, as an act does first. */
  move(batch: ChangeBatch): Promise<unknown>;
  run(sql: string): Promise<unknown>;
  commit(): Promise<unknown>;
}

export interface SharedTrunk {
  readonly name: string;
  /** The table is `item`, of the schema `public` in production. */
  readonly item: string;
  /** As another process opens it; who asks closes it. */
  open(leaseMs?: number): Promise<SharedShadow>;
  /** By the fence; `shown`: in a session that is seen as the member's. */
  act(fence: Fence, options?: { readonly shown: boolean }): Promise<StoppedAct>;
  /** A statement that takes longer than an act waits for a lock. */
  readonly pause: string;
  /** Sessions that wait for a lock. */
  waiting(): Promise<number>;
  /** Of the table `item`, or another one's first two columns. */
  rows(table?: string): Promise<ReadonlyMap<bigint, string>>;
  run(sql: string): Promise<unknown>;
  /** Where our own tables are. */
  readonly ours: string;
}

/** A table whose rows go with those of `item`. */
const PART = `CREATE TABLE part (id int8 PRIMARY KEY, item int8,
  FOREIGN KEY (item) REFERENCES item (id) ON DELETE CASCADE ON UPDATE CASCADE)`;

export function sharedTrunk(engine: Engine): Promise<SharedTrunk> {
  return engine === 'postgres' ? postgresTrunk() : binlogTrunk(engine);
}

async function opener(url: string, name: string): Promise<SharedTrunk['open']> {
  const servers = new Map<number, Awaited<ReturnType<typeof shadowServer>>>();
  const open: SharedTrunk['open'] = async (leaseMs = 60_000) => {
    const server = servers.get(leaseMs) ?? (await shadowServer(url, leaseMs));
    servers.set(leaseMs, server);
    const database = await server.open(name);
    if (database === null) throw new Error('there is no such trunk');
    return database as SharedShadow;
  };
  await (await open())[Symbol.asyncDispose]();
  return open;
}

async function postgresTrunk(): Promise<SharedTrunk> {
  const { name, url } = await freshTrunk(PART);
  const look = await exactSession(url);
  return {
    ...{
      name,
      item: 'item',
      ours: 'understudy.',
      pause: 'SELECT pg_sleep(1.3)',
      open: await opener(postgresUrl(), name),
    },
    act: async (fence, { shown } = { shown: false }) => {
      const client = await exactSession(url);
      if (shown && fence.share !== undefined) await showMember(client, fence.share.member);
      await client.query('SET session_replication_role = replica');
      await client.query('BEGIN');
      if (fence.share === undefined) await assertFence(client, fence, name);
      else await assertShare(client, fence.share, new Map(), name);
      return {
        move: (batch) => savePlaces(client, batch),
        run: (sql) => client.query(sql),
        commit: () => client.query('COMMIT'),
      };
    },
    waiting: async () => {
      const waiting = `SELECT FROM pg_stat_activity WHERE datname = current_database()
        AND wait_event_type = 'Lock'`;
      return (await look.query(waiting)).rowCount ?? 0;
    },
    rows: async (table = 'item') => {
      const { rows } = await look.query<Record<string, unknown>>(`SELECT * FROM ${table}`);
      return toMap(rows);
    },
    run: (sql) => look.query(sql),
  };
}

async function binlogTrunk(engine: BinlogEngine): Promise<SharedTrunk> {
  const { url } = await serverOf(engine);
  const name = freshBinlogName('shared', url);
  const plan = planOf(ITEMS.replace('text', 'varchar(40)'), PART);
  const server = await dialectFor(url).connectShadow(url);
  await server.createTrunk({
    ...{ name, topicPrefix: 'prod' },
    plan: { ...plan, tables: ['item', 'part'].map((table) => ({ schema: 'public', name: table })) },
  });
  await server[Symbol.asyncDispose]();
  const look = await sessionOn(url, name);
  const ours = `${name}__understudy.`;
  return {
    ...{ name, item: 'item', ours, pause: 'DO SLEEP(1.3)', open: await opener(url, name) },
    act: async (fence, { shown } = { shown: false }) => {
      const client = await Client.connect(new BinlogAddress(url, 'shadow.url'), name);
      onTestFinished(() => client.end().catch(() => undefined));
      await prepareActs(client, await readFlavour(client));
      const { share } = fence;
      if (shown && share !== undefined) {
        await showBinlogMember(client, name, share.member, 'acts');
      }
      await client.run('SET TRANSACTION ISOLATION LEVEL READ COMMITTED');
      await client.run('START TRANSACTION');
      if (share === undefined) await assertBinlogFence(client, fence, name);
      else await assertBinlogShare(client, share, new Map(), name);
      return {
        move: (batch) => saveBinlogPlaces(client, name, batch),
        run: (sql) => client.run(sql),
        commit: () => client.run('COMMIT'),
      };
    },
    waiting: async () => {
      const waiting = `SELECT trx_id FROM information_schema.innodb_trx
        WHERE trx_state = 'LOCK WAIT' AND trx_query LIKE '%${name}__understudy%'`;
      return (await rowsOf(look, waiting)).length;
    },
    rows: async (table = 'item') => toMap(await rowsOf(look, `SELECT * FROM ${table}`)),
    run: (sql) => look.query(sql),
  };
}

function toMap(rows: readonly Readonly<Record<string, unknown>>[]): ReadonlyMap<bigint, string> {
  return new Map(
    rows.map((row) => {
      const [id, second] = Object.values(row);
      return [BigInt(String(id)), String(second)];
    }),
  );
}
