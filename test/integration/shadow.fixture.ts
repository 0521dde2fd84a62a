import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { onTestFinished } from 'vitest';
import { createTrunk } from '../../src/dialect/postgres/shadow/create-trunk.ts';
import { openSession, ServerAddress } from '../../src/dialect/postgres/session/session.ts';
import type { ShadowPlan } from '../../src/schema/shadow-plan.ts';
import { databaseUrl, dropDatabase } from '../support/postgres.ts';
import { postgresUrl } from '../support/test-database.ts';

/** A plan of one statement per entry, none of them optional. */
export function planOf(...sql: readonly string[]): ShadowPlan {
  return {
    statements: sql.map((text) => ({ sql: text, what: text.slice(0, 40), optional: false })),
    notCarried: [],
    tables: [],
  };
}

export const ITEMS = 'CREATE TABLE item (id int8 PRIMARY KEY, name text)';

/** A name nobody uses; the database of this name, if any, goes with the test. */
export function freshName(purpose: string): string {
  const name = `${purpose}_${randomBytes(4).toString('hex')}`;
  onTestFinished(() => dropDatabase(postgresUrl(), name));
  return name;
}

export function shadowAddress(): ServerAddress {
  return new ServerAddress(postgresUrl());
}

/** A trunk with the table `item`, and what else is said. */
export async function freshTrunk(
  ...more: readonly string[]
): Promise<{ readonly name: string; readonly url: string }> {
  const name = freshName('trunk');
  await createTrunk(shadowAddress(), { name, topicPrefix: 'prod', plan: planOf(ITEMS, ...more) });
  return { name, url: databaseUrl(postgresUrl(), name) };
}

/** A session as superuser, or as whom the URL says; it ends with the test. */
export async function session(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  onTestFinished(() => client.end().catch(() => undefined));
  return client;
}

/** As `session`, but as the program opens it, with its exact types. */
export async function exactSession(url: string): Promise<pg.Client> {
  const address = new ServerAddress(url);
  const client = await openSession(address, address.database, 'test');
  onTestFinished(() => client.end().catch(() => undefined));
  return client;
}

/** The rows of one statement on the server's own database. */
export async function ask<Row extends pg.QueryResultRow>(sql: string): Promise<readonly Row[]> {
  const client = await session(postgresUrl());
  return (await client.query<Row>(sql)).rows;
}
