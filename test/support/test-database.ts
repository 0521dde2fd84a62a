import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { afterAll, inject } from 'vitest';
import { createDatabase, dropDatabase } from './postgres.ts';

/** The URL of the superuser of the run's PostgreSQL server (see `global-postgres.ts`). */
export function postgresUrl(): string {
  return inject('postgresUrl');
}

/** A database of one's own on the run's server. */
export interface TestDatabase {
  readonly name: string;
  /** Of the superuser. */
  readonly url: string;
}

/**
 * Creates an empty database with a name of its own and drops it, with all its sessions, after the
 * tests of the file. Call it at the top level of the file: `const db = await testDatabase()`.
 */
export async function testDatabase(purpose = 'test'): Promise<TestDatabase> {
  const name = `${purpose}_${randomBytes(4).toString('hex')}`;
  const server = postgresUrl();
  const url = await createDatabase(server, name);
  afterAll(() => dropDatabase(server, name));
  return { name, url };
}

/** A connection of the test's own, which it ends. */
export async function connectTo(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return client;
}
