/** The few statements that benchmarks send to a database of either kind. */
import mysql from 'mysql2/promise';
import pg from 'pg';
import { databaseUrl } from '../../support/postgres.ts';

export type Row = Readonly<Record<string, unknown>>;

export interface Door extends AsyncDisposable {
  /** The rows of one statement. */
  query(sql: string, values?: readonly unknown[]): Promise<readonly Row[]>;
}

/** A connection to the database at `url`: `postgresql://…` or `mysql://…`. */
async function openDoor(url: string): Promise<Door> {
  if (url.startsWith('mysql:')) {
    const client = await mysql.createConnection({ uri: url, multipleStatements: true });
    return {
      query: async (sql, values = []) => {
        const [rows] = await client.query(sql, [...values]);
        return Array.isArray(rows) ? (rows as Row[]) : [];
      },
      [Symbol.asyncDispose]: () => client.end(),
    };
  }
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return {
    query: async (sql, values = []) => (await client.query<Row>(sql, [...values])).rows,
    [Symbol.asyncDispose]: () => client.end(),
  };
}

/** Sees to it that `work` has such a connection, and that it is closed. */
export async function onDatabase<T>(url: string, work: (door: Door) => Promise<T>): Promise<T> {
  await using door = await openDoor(url);
  return await work(door);
}

/** Makes an empty database on the server at `url`; one that is there goes. Returns its URL. */
export async function makeDatabase(url: string, name: string): Promise<string> {
  await forgetDatabase(url, name);
  await onDatabase(url, (door) => door.query(`CREATE DATABASE ${name}`));
  return databaseUrl(url, name);
}

export async function forgetDatabase(url: string, name: string): Promise<void> {
  const force = url.startsWith('mysql:') ? '' : ' WITH (FORCE)';
  await onDatabase(url, (door) => door.query(`DROP DATABASE IF EXISTS ${name}${force}`));
}
