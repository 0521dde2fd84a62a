/** A rollout of any engine through the port, with a candidate in it. */
import mysql from 'mysql2/promise';
import pg from 'pg';
import { onTestFinished } from 'vitest';
import type { Fence, ShadowOptions, ShadowServer } from '../../src/dialect/dialect.ts';
import type { EvolvingShadow } from '../../src/dialect/evolving.ts';
import type { MigratingShadow } from '../../src/dialect/migrating.ts';
import { dialectFor } from '../../src/dialect/registry.ts';
import { connectShadow } from '../../src/dialect/postgres/shadow/server.ts';
import type { BatchStep, NetChange } from '../../src/order/change-batch.ts';
import { databaseUrl } from '../support/postgres.ts';
import { postgresUrl } from '../support/test-database.ts';
import { batchOf, openTrunk, rolloutOf, sessionOn, stageOf } from './mysql.fixture.ts';
import { freshName, freshTrunk, session } from './shadow.fixture.ts';

export const ALL_ENGINES = ['postgresql', 'mysql', 'mariadb'] as const;
export type AnyEngine = (typeof ALL_ENGINES)[number];

export interface AnyRollout {
  readonly engine: AnyEngine;
  readonly server: ShadowServer;
  readonly name: string;
  readonly role: string;
  /** The candidate's address. */
  readonly url: string;
  /** What production's tables are in, as events name it. */
  readonly source: string;
  readonly database: MigratingShadow & EvolvingShadow;
  readonly fence: Fence;
  /** As the candidate. */
  run(sql: string): Promise<void>;
  /** A session of the candidate's, which ends with the test. */
  session(): Promise<(sql: string) => Promise<unknown>>;
  /** By another account's address. */
  as(url: string, sql: string): Promise<void>;
  /** As who sees everything. */
  rows(sql: string): Promise<readonly (readonly unknown[])[]>;
  /** Production's image of a table, by the view that shows it. */
  production(table: string, columns: string, order?: string): ReturnType<AnyRollout['rows']>;
  apply(...steps: readonly BatchStep[]): Promise<void>;
  step(table: string, ...changes: readonly NetChange[]): BatchStep;
}

/** Tables without a schema of their own. */
export function anyRollout(engine: AnyEngine, ...ddl: readonly string[]): Promise<AnyRollout> {
  return ruledRollout(engine, {}, ...ddl);
}

/** With what a configuration says of its tables. */
export async function ruledRollout(
  engine: AnyEngine,
  rules: ShadowOptions,
  ...ddl: readonly string[]
): Promise<AnyRollout> {
  const parts =
    engine === 'postgresql'
      ? await postgresParts(ddl, rules)
      : await binlogParts(engine, ddl, rules);
  const { database, fence, source, beside } = parts;
  return {
    ...{ engine, ...parts },
    production: (table, columns, order = '1') =>
      parts.rows(`SELECT ${columns} FROM ${beside(table)} ORDER BY ${order}`),
    apply: async (...steps) => {
      await database.apply(fence, batchOf(steps));
    },
    step: (table, ...changes) => ({
      kind: 'rows',
      table: { schema: source, name: table },
      changes,
    }),
  };
}

/** MySQL and MariaDB let nobody but the mightiest make a trigger otherwise, where they have a binlog. */
export async function trustPrograms(at: AnyRollout): Promise<void> {
  const set = (value: unknown) =>
    at.rows(`SET GLOBAL log_bin_trust_function_creators = ${String(value)}`);
  const [[was] = []] = await at.rows('SELECT @@global.log_bin_trust_function_creators');
  await set(1);
  onTestFinished(async () => {
    await set(was);
  });
}

type Parts = Pick<
  AnyRollout,
  | 'url'
  | 'server'
  | 'name'
  | 'role'
  | 'source'
  | 'database'
  | 'fence'
  | 'run'
  | 'session'
  | 'as'
  | 'rows'
> & { readonly beside: (table: string) => string };

async function opened(server: ShadowServer, name: string) {
  const database = (await openTrunk(server, name)) as AnyRollout['database'];
  const fence = await database.takeFence('test');
  if (fence === null) throw new Error('the fence of a new rollout is taken');
  await database.installOverlay(fence);
  const { url } = await server.createCandidateRole({
    database: name,
    role: name,
    password: 'pass',
  });
  return { database, fence, url };
}

async function postgresParts(ddl: readonly string[], rules: ShadowOptions): Promise<Parts> {
  const server = await connectShadow(postgresUrl(), rules);
  onTestFinished(() => server[Symbol.asyncDispose]());
  const trunk = await freshTrunk(...ddl);
  const name = freshName('rollout');
  await server.clone({ from: trunk.name, to: name, rolloutName: 'next' });
  onTestFinished(() => server.drop({ database: name, role: name }));
  const { database, fence, url } = await opened(server, name);
  const query = async (where: string, sql: string): Promise<readonly (readonly unknown[])[]> => {
    const client = new pg.Client({ connectionString: where });
    await client.connect();
    try {
      return (await client.query<unknown[]>({ text: sql, rowMode: 'array' })).rows;
    } finally {
      await client.end();
    }
  };
  return {
    ...{ server, name, role: name, url, source: 'public', database, fence },
    beside: (table) => `public__production.${table}`,
    run: async (sql) => {
      await query(url, sql);
    },
    session: async () => {
      const client = await session(url);
      return (sql) => client.query(sql);
    },
    as: async (where, sql) => {
      await query(where, sql);
    },
    rows: (sql) => query(databaseUrl(postgresUrl(), name), sql),
  };
}

async function binlogParts(
  engine: 'mysql' | 'mariadb',
  ddl: readonly string[],
  rules: ShadowOptions,
): Promise<Parts> {
  const stage = await stageOf(engine, ...ddl);
  const server = await dialectFor(stage.url).connectShadow(stage.url, rules);
  onTestFinished(() => server[Symbol.asyncDispose]());
  const name = await rolloutOf(stage, server);
  const { database, fence, url } = await opened(server, name);
  const admin = await sessionOn(stage.url, name);
  const as = async (where: string, sql: string): Promise<void> => {
    const client = await mysql.createConnection({ uri: where, multipleStatements: true });
    try {
      await client.query(sql);
    } finally {
      await client.end();
    }
  };
  return {
    ...{ server, name, role: name, url, source: stage.source, database, fence },
    beside: (table) => `\`${name}__production\`.\`${table}\``,
    run: (sql) => as(url, sql),
    session: async () => {
      const client = await mysql.createConnection({ uri: url, multipleStatements: true });
      onTestFinished(() => {
        client.destroy();
      });
      return (sql) => client.query(sql);
    },
    as,
    rows: async (sql) => {
      const [rows] = await admin.query({ sql, rowsAsArray: true });
      return rows as unknown[][];
    },
  };
}
