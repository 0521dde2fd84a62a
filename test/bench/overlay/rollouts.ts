/** Two rollouts of one trunk on one server: one whose writes are captured, and one without. */
import mysql from 'mysql2/promise';
import pg from 'pg';
import type { Fence, ShadowDatabase } from '../../../src/dialect/dialect.ts';
import { dialectFor } from '../../../src/dialect/registry.ts';
import { startMariaDB } from '../../support/mariadb.ts';
import { startMySQL } from '../../support/mysql.ts';
import { databaseUrl, startPostgres } from '../../support/postgres.ts';
import { onDatabase, type Door } from '../apply/door.ts';

export type Engine = 'postgresql' | 'mysql' | 'mariadb';

/** How a commit is made safe: on the disk before it is answered, or some time after. */
export type Commits = 'durable' | 'later';

export const ROWS = 200_000;

interface Server {
  readonly url: string;
  readonly pid: number;
  stop(): Promise<void>;
}

function startServer(engine: Engine, commits: Commits): Promise<Server> {
  const binlog = commits === 'durable' ? '1' : '0';
  const flags = [
    `--innodb-flush-log-at-trx-commit=${commits === 'durable' ? '1' : '2'}`,
    ...[`--sync-binlog=${binlog}`, '--innodb-buffer-pool-size=512M'],
  ];
  switch (engine) {
    case 'postgresql': {
      const later = commits === 'later' ? ['-c', 'synchronous_commit=off'] : [];
      const sizes = ['-c', 'shared_buffers=512MB', '-c', 'max_wal_size=4GB'];
      // What it does by itself would be counted to whoever runs then.
      const quiet = ['-c', 'autovacuum=off'];
      return startPostgres({ durable: true, flags: [...later, ...sizes, ...quiet] });
    }
    case 'mysql':
      return startMySQL({ flags });
    case 'mariadb':
      return startMariaDB({ flags });
  }
}

const isPostgres = (url: string): boolean => url.startsWith('postgres');

/** Six columns of the kinds that tables have. */
const tableSql = (url: string): string =>
  `CREATE TABLE account (id INT PRIMARY KEY, owner VARCHAR(40) NOT NULL, n INT NOT NULL,
    balance NUMERIC(12, 2) NOT NULL, note VARCHAR(200),
    at ${isPostgres(url) ? 'TIMESTAMP' : 'DATETIME'} NOT NULL)`;

/** The same numbers in as many rows, in SQL. */
function fillSql(url: string): string {
  const columns = (id: string): string =>
    `${id}, CONCAT('owner of ', ${id}), 0, ${id} / 100.0, CONCAT('note ', ${id} * 7), '2026-01-01 00:00:00'`;
  if (isPostgres(url)) {
    return `INSERT INTO account SELECT ${columns('i').replace(`'2026-01-01 00:00:00'`, `timestamp '2026-01-01'`)}
      FROM generate_series(1, ${String(ROWS)}) i`;
  }
  const digit =
    '(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)';
  const number = 'a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d + 100000 * g.d + 1';
  const from = ['a', 'b', 'c', 'e', 'f', 'g'].map((name) => `${digit} ${name}`).join(', ');
  return `INSERT INTO account SELECT ${columns('i')}
    FROM (SELECT ${number} AS i FROM ${from}) n WHERE i <= ${String(ROWS)}`;
}

/** One statement after another of one session, prepared once. */
export interface Caller extends AsyncDisposable {
  call(sql: string, values: readonly (number | string)[]): Promise<void>;
}

async function openCaller(url: string): Promise<Caller> {
  if (isPostgres(url)) {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    return {
      call: async (text, values) =>
        void (await client.query({ name: text, text, values: [...values] })),
      [Symbol.asyncDispose]: () => client.end(),
    };
  }
  const client = await mysql.createConnection({ uri: url });
  return {
    call: async (sql, values) => {
      // What begins and ends transactions cannot be prepared.
      if (values.length === 0) await client.query(sql);
      else await client.execute(sql, [...values]);
    },
    [Symbol.asyncDispose]: () => client.end(),
  };
}

export interface Rollout {
  readonly name: string;
  /** Of the candidate. */
  readonly url: string;
  readonly database: ShadowDatabase;
  readonly fence: Fence;
  /** As the candidate. */
  open(): Promise<Caller>;
  /** As who may do everything. */
  withDoor<T>(work: (door: Door) => Promise<T>): Promise<T>;
}

export interface Rollouts extends AsyncDisposable {
  readonly engine: Engine;
  /** What the applier calls the table's schema. */
  readonly source: string;
  readonly pid: number;
  readonly captured: Rollout;
  readonly bare: Rollout;
}

export async function openRollouts(engine: Engine, commits: Commits): Promise<Rollouts> {
  await using started = new AsyncDisposableStack();
  const server = started.adopt(await startServer(engine, commits), (one) => one.stop());
  const production = databaseUrl(server.url, 'shop');
  await onDatabase(server.url, (door) => door.query('CREATE DATABASE shop'));
  await onDatabase(production, (door) => door.query(tableSql(server.url)));
  const dialect = dialectFor(server.url);
  const from = started.use(await dialect.connectProduction(production, () => true));
  const shadow = started.use(await dialect.connectShadow(server.url, { leaseMs: 3_600_000 }));
  await shadow.createTrunk({ name: 'trunk', topicPrefix: 'p', plan: await from.planShadow() });
  const trunk = databaseUrl(server.url, 'trunk');
  await onDatabase(trunk, async (door) => {
    await door.query(fillSql(server.url));
    await door.query(isPostgres(server.url) ? 'VACUUM ANALYZE account' : 'ANALYZE TABLE account');
  });
  const make = async (name: string, isCaptured: boolean): Promise<Rollout> => {
    await shadow.clone({ from: 'trunk', to: name, rolloutName: name });
    const opened = await shadow.open(name);
    if (opened === null) throw new Error('the rollout is not there');
    const database = started.use(opened);
    const fence = await database.takeFence('bench');
    if (fence === null) throw new Error('the fence of a new rollout is taken');
    if (isCaptured) await database.installOverlay(fence);
    const { url } = await shadow.createCandidateRole({ database: name, role: name, password: 'x' });
    const admin = databaseUrl(server.url, name);
    return {
      ...{ name, url, database, fence, open: () => openCaller(url) },
      withDoor: (work) => onDatabase(admin, work),
    };
  };
  const [captured, bare] = [await make('captured', true), await make('bare', false)];
  const source = isPostgres(server.url) ? 'public' : 'shop';
  const all = started.move();
  return {
    ...{ engine, source, pid: server.pid, captured, bare },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}
