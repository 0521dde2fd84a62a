import { expect, test } from 'vitest';
import pg from 'pg';
import { dialectFor } from '../../src/dialect/registry.ts';
import { createTrunk } from '../../src/dialect/postgres/shadow/create-trunk.ts';
import { CREATING, noteState, readMarker } from '../../src/dialect/postgres/shadow/marker.ts';
import { newestVersion } from '../../src/dialect/postgres/session/migrations.ts';
import { createDatabase, databaseUrl } from '../support/postgres.ts';
import { postgresUrl } from '../support/test-database.ts';
import {
  ask,
  freshName,
  freshTrunk,
  ITEMS,
  planOf,
  session,
  shadowAddress,
} from './shadow.fixture.ts';

const options = (name: string, ...sql: readonly string[]): Parameters<typeof createTrunk>[1] => ({
  ...{ name, topicPrefix: 'prod', plan: planOf(...sql) },
});

const exists = async (name: string): Promise<boolean> =>
  (await ask(`SELECT FROM pg_database WHERE datname = ${pg.escapeLiteral(name)}`)).length === 1;

test('a trunk has its schema, a marker of its own and admits nobody uninvited', async () => {
  const { name, url } = await freshTrunk();
  const client = await session(url);
  await client.query('SELECT id, name FROM item');
  const found = await readMarker(client);
  expect(found).toMatchObject({
    marker: { kind: 'trunk', name, topicPrefix: 'prod', schemaVersion: newestVersion('shadow') },
    writtenFor: name,
  });
  const { rows } = await client.query<{ lets: boolean }>(
    `SELECT has_database_privilege('pg_monitor', $1, 'CONNECT') AS lets`,
    [name],
  );
  expect(rows).toEqual([{ lets: false }]);
});

test('a trunk that is just being made is not taken for foreign', async () => {
  const name = freshName('making');
  await createDatabase(postgresUrl(), name);
  const server = await dialectFor(postgresUrl()).connectShadow(postgresUrl());
  await using closing = server;
  const opening = closing.open(name);
  await ask(`SELECT pg_sleep(0.1)`);
  await ask(`COMMENT ON DATABASE ${pg.escapeIdentifier(name)} IS '${CREATING}'`);
  expect(await opening).toBeNull();
});

test('an empty database without marker may be taken, a non-empty one is refused', async () => {
  const empty = freshName('empty');
  await createDatabase(postgresUrl(), empty);
  await createTrunk(shadowAddress(), options(empty, ITEMS));

  for (const content of ['CREATE TABLE t ()', 'CREATE SCHEMA s', 'CREATE VIEW v AS SELECT 1']) {
    const foreign = freshName('foreign');
    const client = await session(await createDatabase(postgresUrl(), foreign));
    await client.query(content);
    await expect(createTrunk(shadowAddress(), options(foreign, ITEMS))).rejects.toMatchObject({
      code: 'TARGET_NOT_OURS',
    });
    await client.query('SELECT 1');
  }
});

test('a plan that fails leaves no database behind, and names its statement', async () => {
  const name = freshName('failing');
  await expect(
    createTrunk(shadowAddress(), options(name, ITEMS, 'CREATE TABLE item (id int)')),
  ).rejects.toMatchObject({ code: 'SCHEMA_FAILED' });
  expect(await exists(name)).toBe(false);
});

test('a trunk that a crash left half made is made again', async () => {
  const name = freshName('half');
  const client = await session(await createDatabase(postgresUrl(), name));
  await client.query('CREATE TABLE left_over ()');
  await noteState(client, name, CREATING);
  await createTrunk(shadowAddress(), options(name, ITEMS));
  const made = await session(databaseUrl(postgresUrl(), name));
  await expect(made.query('SELECT FROM left_over')).rejects.toMatchObject({ code: '42P01' });
  await made.query('SELECT FROM item');
});

test('of two processes that make the same trunk at once, one makes it and both succeed', async () => {
  const name = freshName('both');
  const made = await Promise.all(
    [1, 2].map(() => createTrunk(shadowAddress(), options(name, ITEMS))),
  );
  expect(made).toEqual([{ skipped: [] }, { skipped: [] }]);
});
