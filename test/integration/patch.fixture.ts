/** Copies of a rollout's production, to which patches are applied in a session as people have it. */
import mysql from 'mysql2/promise';
import pg from 'pg';
import { onTestFinished } from 'vitest';
import { dialectFor } from '../../src/dialect/registry.ts';
import { patchOf } from '../../src/runtime/patch.ts';
import { testDatabase } from '../support/test-database.ts';
import { freshName, serverOf } from './mysql.fixture.ts';
import type { AnyRollout } from './rollout.fixture.ts';

export function patchFor(at: AnyRollout, towards: 'candidate' | 'production' = 'candidate') {
  const writer = dialectFor(at.url).sql;
  const isolates = (): boolean => false;
  return patchOf(at.database, {}, { ...{ towards, writer, isolates }, mostRows: 1000 });
}

/** A text as a literal in the candidate's session. */
export function given(at: AnyRollout, text: string): string {
  const hex = Buffer.from(text).toString('hex');
  return at.engine === 'postgresql'
    ? `convert_from(decode('${hex}', 'hex'), 'UTF8')`
    : `CONVERT(X'${hex}' USING utf8mb4)`;
}

export interface Copy {
  /** Each in a query of its own, in one session that has these settings; ends with the first error. */
  apply(statements: readonly string[], ...settings: readonly string[]): Promise<void>;
  /** A value of the session that applied last. */
  readonly told: (sql: string) => Promise<unknown>;
  rows(table: string): Promise<readonly string[]>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Of production's image, with these tables of it, parents first. */
export async function copyOf(
  at: AnyRollout,
  ddl: readonly string[],
  tables: readonly string[],
): Promise<Copy> {
  return at.engine === 'postgresql' ? copyPostgres(at, ddl, tables) : copyMySql(at, ddl, tables);
}

/** The candidate's rows, as a copy tells its own. */
export async function candidateRows(at: AnyRollout, table: string): Promise<readonly string[]> {
  if (at.engine === 'postgresql') {
    return (await at.rows(`SELECT t::text FROM ${table} t`)).map(([row]) => String(row)).toSorted();
  }
  return (await at.rows(`SELECT * FROM ${table}`)).map((row) => JSON.stringify(row)).toSorted();
}

async function copyPostgres(
  at: AnyRollout,
  ddl: readonly string[],
  tables: readonly string[],
): Promise<Copy> {
  const database = await testDatabase('copy');
  const own = new pg.Client({ connectionString: database.url });
  own.on('error', () => undefined);
  await own.connect();
  onTestFinished(() => own.end().catch(() => undefined));
  for (const sql of ddl) await own.query(sql);
  for (const table of tables) {
    const [[rows] = []] = await at.rows(
      `SELECT coalesce(json_agg(t), '[]')::text FROM public__production.${table} t`,
    );
    await own.query(
      `INSERT INTO ${table} SELECT * FROM json_populate_recordset(NULL::${table}, $1)`,
      [rows],
    );
  }
  let last = own;
  return {
    apply: async (statements, ...settings) => {
      last = new pg.Client({ connectionString: database.url });
      await last.connect();
      const session = last;
      onTestFinished(() => session.end().catch(() => undefined));
      for (const sql of [...settings, ...statements]) await session.query(sql);
    },
    told: async (sql) => {
      const { rows } = await last.query<unknown[]>({ text: sql, rowMode: 'array' });
      return rows[0]?.[0];
    },
    rows: async (table) => {
      const { rows } = await own.query<{ row: string }>(`SELECT t::text AS row FROM ${table} t`);
      return rows.map(({ row }) => row).toSorted();
    },
    [Symbol.asyncDispose]: async () => {
      await last.end();
      await own.end();
    },
  };
}

async function copyMySql(
  at: AnyRollout,
  ddl: readonly string[],
  tables: readonly string[],
): Promise<Copy> {
  const { url } = await serverOf(at.engine === 'mariadb' ? 'mariadb' : 'mysql');
  const name = freshName('copy', url);
  await at.rows(`CREATE DATABASE ${name} CHARACTER SET utf8mb4`);
  const home = `USE ${at.name}`;
  await at.rows(`USE ${name}`);
  for (const sql of ddl) await at.rows(sql);
  for (const table of tables) {
    await at.rows(`INSERT INTO ${table} SELECT * FROM ${at.name}__production.${table}`);
  }
  await at.rows(home);
  let last: mysql.Connection | null = null;
  return {
    apply: async (statements, ...settings) => {
      const session = await mysql.createConnection({ uri: url, database: name });
      onTestFinished(() => {
        session.destroy();
      });
      last = session;
      for (const sql of [...settings, ...statements]) await session.query(sql);
    },
    told: async (sql) => {
      const [rows] = (await last?.query({ sql, rowsAsArray: true })) ?? [];
      return (rows as unknown[][] | undefined)?.[0]?.[0];
    },
    rows: async (table) => {
      const rows = await at.rows(`SELECT * FROM ${name}.${table}`);
      return rows.map((row) => JSON.stringify(row)).toSorted();
    },
    [Symbol.asyncDispose]: () => Promise.resolve(last?.destroy()),
  };
}
