import { expect, onTestFinished, test } from 'vitest';
import pg from 'pg';
import { scramVerifier } from '../../src/dialect/postgres/shadow/candidate-role.ts';
import { CREATING, COPYING, noteState } from '../../src/dialect/postgres/shadow/marker.ts';
import { newestVersion } from '../../src/dialect/postgres/session/migrations.ts';
import { connectShadow } from '../../src/dialect/postgres/shadow/server.ts';
import type { ShadowServer } from '../../src/dialect/dialect.ts';
import { createDatabase, databaseUrl } from '../support/postgres.ts';
import { postgresUrl } from '../support/test-database.ts';
import { ask, freshName, freshTrunk, session } from './shadow.fixture.ts';

async function shadow(): Promise<ShadowServer> {
  const server = await connectShadow(postgresUrl());
  onTestFinished(() => server[Symbol.asyncDispose]());
  return server;
}

/** A rollout of a fresh trunk with its role; both go with the test. */
async function freshRollout(): Promise<{
  readonly server: ShadowServer;
  readonly trunk: string;
  readonly database: string;
  readonly url: string;
}> {
  const server = await shadow();
  const trunk = await freshTrunk();
  const database = freshName('rollout');
  await server.clone({ from: trunk.name, to: database, rolloutName: 'next' });
  const { url } = await server.createCandidateRole({ database, role: database, password: 'pass' });
  onTestFinished(() => server.drop({ database, role: database }));
  return { server, trunk: trunk.name, database, url };
}

test('facts about the server are told: version, identity, address without credentials', async () => {
  const server = await shadow();
  expect(server.version).toMatch(/^\d+/);
  expect(server.address).toMatch(/^127\.0\.0\.1:\d+\/postgres$/);
  const identity = await server.identity();
  expect(identity).toMatchObject({ inRecovery: false });
  expect(identity.systemId).toMatch(/^\d{15,}$/);
});

test('an advisory lock is seen from any database, and only while it is held', async () => {
  const server = await shadow();
  for (const probe of [2n ** 60n + 12_345n, -(2n ** 62n) + 7n, 5n]) {
    const holder = await session((await freshTrunk()).url);
    expect(await server.lockVisible(probe)).toBe(false);
    await holder.query('SELECT pg_advisory_lock($1)', [probe]);
    expect(await server.lockVisible(probe)).toBe(true);
    await holder.query('SELECT pg_advisory_unlock($1)', [probe]);
    expect(await server.lockVisible(probe)).toBe(false);
  }
});

test('a server that does not answer, or refuses, is told apart, without the password', async () => {
  const wrong = new URL(postgresUrl());
  wrong.port = '1';
  wrong.password = 'hunter2';
  const error: unknown = await connectShadow(wrong.href).catch((e: unknown) => e);
  expect(error).toMatchObject({ code: 'SHADOW_UNREACHABLE' });
  expect(JSON.stringify(error) + String(error)).not.toContain('hunter2');
  wrong.port = new URL(postgresUrl()).port;
  wrong.username = 'nobody_of_this_name';
  await expect(connectShadow(wrong.href)).rejects.toMatchObject({ code: 'DATABASE_PERMISSION' });
});

test('what is not ours is neither opened nor dropped; what is not there is null', async () => {
  const server = await shadow();
  const foreign = freshName('foreign');
  expect(await server.open(foreign)).toBeNull();
  await createDatabase(postgresUrl(), foreign);
  // An empty one may be what a crash left of a trunk: whoever makes the trunk makes it anew.
  expect(await server.open(foreign)).toBeNull();
  await (await session(databaseUrl(postgresUrl(), foreign))).query('CREATE TABLE theirs (id int)');
  await expect(server.open(foreign)).rejects.toMatchObject({ code: 'TARGET_NOT_OURS' });
  await expect(server.drop({ database: foreign, role: null })).rejects.toMatchObject({
    code: 'TARGET_NOT_OURS',
  });
  await expect(
    server.clone({ from: foreign, to: freshName('copy'), rolloutName: 'x' }),
  ).rejects.toMatchObject({ code: 'TARGET_NOT_OURS' });
  expect(await ask(`SELECT FROM pg_database WHERE datname = '${foreign}'`)).toHaveLength(1);
});

test('a clone ends open sessions, has its own marker, a higher generation and the settings', async () => {
  const server = await shadow();
  const trunk = await freshTrunk();
  const inUse = await session(trunk.url);
  await inUse.query(`INSERT INTO item VALUES (1, 'one')`);
  await inUse.query(`ALTER DATABASE ${trunk.name} SET search_path = "$user", item_s, public`);
  await inUse.query(`ALTER DATABASE ${trunk.name} SET work_mem = '5MB'`);
  await inUse.query(`ALTER DATABASE ${trunk.name} SET my.setting = 'it''s'`);
  await using source = await server.open(trunk.name);
  const fence = await source?.takeFence('a');
  expect(fence?.generation).toBe(1n);
  const to = freshName('copy');
  await server.clone({ from: trunk.name, to, rolloutName: 'next' });

  await expect(inUse.query('SELECT 1')).rejects.toBeInstanceOf(Error);
  await using copy = await server.open(to);
  expect(copy?.marker).toMatchObject({ kind: 'rollout', name: 'next', topicPrefix: 'prod' });
  expect(copy?.marker.id).not.toBe(source?.marker.id);
  expect(await copy?.fenceState()).toMatchObject({ generation: 2n, holder: null, free: true });
  const inside = await session(databaseUrl(postgresUrl(), to));
  expect((await inside.query('SELECT * FROM item')).rows).toEqual([{ id: '1', name: 'one' }]);
  const settings = `SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d
    ON d.oid = s.setdatabase WHERE d.datname = `;
  expect(await ask(`${settings}'${to}'`)).toEqual(await ask(`${settings}'${trunk.name}'`));
  // The trunk goes on: sessions are let in again, and nobody took it from its holder meanwhile.
  await session(trunk.url);
  await using standBy = await server.open(trunk.name);
  expect(await standBy?.fenceState()).toMatchObject({ holder: 'a', free: false });
  expect((await standBy?.fenceState())?.silentMs).toBeLessThan(5_000);
});

test('a trunk that was closed for a copy by a process that died is opened again', async () => {
  const server = await shadow();
  const trunk = await freshTrunk();
  const admin = await session(postgresUrl());
  await noteState(admin, trunk.name, COPYING);
  await admin.query(`ALTER DATABASE ${trunk.name} ALLOW_CONNECTIONS false`);
  await using opened = await server.open(trunk.name);
  expect(opened?.marker.kind).toBe('trunk');
});

test('a copy that was never finished is not opened, but can be dropped', async () => {
  const server = await shadow();
  const trunk = await freshTrunk();
  const admin = await session(postgresUrl());
  const [noted, bare] = [freshName('noted'), freshName('bare')];
  for (const copy of [noted, bare]) {
    await admin.query(`CREATE DATABASE ${copy} TEMPLATE ${trunk.name}`);
  }
  await noteState(admin, noted, CREATING);
  expect(await server.open(noted)).toBeNull();
  await expect(server.open(bare)).rejects.toMatchObject({ code: 'TARGET_NOT_OURS' });
  for (const copy of [noted, bare]) {
    await server.drop({ database: copy, role: null });
    expect(await server.open(copy)).toBeNull();
  }
});

test('a clone onto a name that is taken is refused', async () => {
  const { server, trunk, database } = await freshRollout();
  await expect(
    server.clone({ from: trunk, to: database, rolloutName: 'again' }),
  ).rejects.toMatchObject({ code: 'TARGET_NOT_OURS' });
});

test('a candidate reads and writes the tables, and reaches nothing of ours nor the trunk', async () => {
  const { trunk, database, url } = await freshRollout();
  const candidate = await session(url);
  await candidate.query(`INSERT INTO item VALUES (1, 'a'), (2, 'b')`);
  await candidate.query(`UPDATE item SET name = 'c' WHERE id = 1`);
  await candidate.query('DELETE FROM item WHERE id = 2');
  expect((await candidate.query('SELECT name FROM item')).rows).toEqual([{ name: 'c' }]);
  await candidate.query('TRUNCATE item');
  const admin = await session(databaseUrl(postgresUrl(), database));
  await admin.query('CREATE TABLE later (id int GENERATED ALWAYS AS IDENTITY)');
  await candidate.query('INSERT INTO later DEFAULT VALUES');

  for (const sql of [
    'SELECT * FROM understudy.marker',
    'UPDATE understudy.fence SET generation = 99',
    'CREATE TABLE understudy.mine ()',
    'SET session_replication_role = replica',
  ]) {
    await expect(candidate.query(sql), sql).rejects.toMatchObject({ code: '42501' });
  }
  const elsewhere = new URL(url);
  for (const other of [trunk, (await freshTrunk()).name]) {
    elsewhere.pathname = `/${other}`;
    await expect(session(elsewhere.href)).rejects.toMatchObject({ code: '42501' });
  }
});

test('a role of somebody else is neither taken over nor dropped', async () => {
  const { server, database } = await freshRollout();
  const role = freshName('somebody');
  const admin = await session(postgresUrl());
  await admin.query(`CREATE ROLE ${role}`);
  onTestFinished(async () => {
    await ask(`DROP ROLE ${role}`);
  });
  const made = server.createCandidateRole({ database, role, password: 'x' });
  await expect(made).rejects.toMatchObject({ code: 'TARGET_NOT_OURS' });
  const copy = freshName('copy');
  await expect(server.drop({ database: copy, role })).rejects.toMatchObject({
    code: 'TARGET_NOT_OURS',
  });
});

test('a rollout is dropped whatever the candidate left open, and its role with it', async () => {
  const { server, database, url } = await freshRollout();
  const candidate = await session(url);
  await candidate.query('BEGIN');
  await candidate.query(`INSERT INTO item VALUES (1, 'x')`);
  await candidate.query(`PREPARE TRANSACTION '${database}'`);
  await candidate.query('BEGIN');
  await candidate.query('SELECT * FROM item');
  await server.drop({ database, role: database });
  expect(await server.open(database)).toBeNull();
  expect(await ask(`SELECT FROM pg_roles WHERE rolname = '${database}'`)).toEqual([]);
});

test('a database that a newer program wrote is refused', async () => {
  const server = await shadow();
  const trunk = await freshTrunk();
  await using held = await server.open(trunk.name);
  const admin = await session(trunk.url);
  await admin.query(`INSERT INTO understudy.migration (version, what) VALUES ($1, 'later')`, [
    newestVersion('shadow') + 1,
  ]);
  await expect(server.open(trunk.name)).rejects.toMatchObject({ code: 'SCHEMA_TOO_NEW' });
  await expect(held?.takeFence('old program')).rejects.toMatchObject({ code: 'SCHEMA_TOO_NEW' });
});

test('the server itself accepts the password’s stored form, and its text shows no password', async () => {
  const verifier = scramVerifier('pencil', Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64'));
  // RFC 7677's example.
  expect(verifier).toBe(
    'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=',
  );
  expect(pg.escapeLiteral(verifier)).not.toContain('pencil');
});
