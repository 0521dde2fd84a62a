import { chmod } from 'node:fs/promises';
import path from 'node:path';
import type pg from 'pg';
import { expect, test } from 'vitest';
import { CREATING } from '../../src/dialect/postgres/shadow/marker.ts';
import { lockName } from '../../src/dialect/postgres/session/server-locks.ts';
import { connectShadow } from '../../src/dialect/postgres/shadow/server.ts';
import { connect } from '../support/comparison.ts';
import { removeFolder, temporaryFolder } from '../support/process/folders.ts';
import { createDatabase, startPostgres } from '../support/postgres.ts';

test('the control database is made on demand, once, and never out of somebody else’s', async () => {
  // A server of its own: the database has one name on each server.
  const postgres = await startPostgres();
  try {
    await using server = await connectShadow(postgres.url);
    expect(await server.control({ create: false })).toBeNull();
    await createDatabase(postgres.url, 'understudy');
    await expect(server.control({ create: true })).rejects.toMatchObject({
      code: 'TARGET_NOT_OURS',
    });
  } finally {
    await postgres.stop();
  }
  const fresh = await startPostgres();
  try {
    await using server = await connectShadow(fresh.url);
    await using other = await connectShadow(fresh.url);
    const [one, two] = await Promise.all([
      server.control({ create: true }),
      other.control({ create: true }),
    ]);
    const id = await one.submitRequest('reset', 'shop', { table: 'item' });
    expect(await two.request(id)).toMatchObject({ state: 'open', args: { table: 'item' } });
    await using again = await server.control({ create: false });
    expect(await again?.request(id)).toMatchObject({ kind: 'reset' });
    await one[Symbol.asyncDispose]();
    await two[Symbol.asyncDispose]();
  } finally {
    await fresh.stop();
  }
});

test('one that another process is just making is waited for', async () => {
  const postgres = await startPostgres();
  const maker = await connect(postgres.url);
  try {
    await using server = await connectShadow(postgres.url);
    await lockName(maker, 'understudy', 1_000);
    await maker.query('CREATE DATABASE understudy');
    const opening = server.control({ create: true });
    await expect.poll(() => isWaitedFor(maker)).toBe(true);
    await maker.query(`COMMENT ON DATABASE understudy IS '${CREATING}'`);
    await maker.end();
    await using control = await opening;
    expect(await control.rollouts()).toEqual([]);
  } finally {
    await maker.end();
    await postgres.stop();
  }
});

test('what it was told is there after a crash of a server that commits asynchronously', async () => {
  const settings = ['synchronous_commit=off', 'wal_writer_delay=10s', 'wal_writer_flush_after=1GB'];
  const flags = settings.flatMap((setting) => ['-c', setting]);
  const folder = await temporaryFolder('control');
  // The server may run as somebody else.
  await chmod(folder, 0o755);
  const dataDir = path.join(folder, 'data');
  const postgres = await startPostgres({ flags, dataDir, durable: true });
  const { port } = postgres;
  let crashed = postgres;
  try {
    await using server = await connectShadow(postgres.url);
    await using control = await server.control({ create: true });
    const lost = await connect(postgres.url);
    // Its server is killed under it.
    lost.on('error', () => undefined);
    await lost.query('CREATE TABLE lost (n int)');
    const id = await control.submitRequest('reset', 'shop', { table: 'item' });
    await lost.query('INSERT INTO lost VALUES (1)');
    await postgres.process.kill();
    await lost.end().catch(() => undefined);
    crashed = await startPostgres({ dataDir, port, flags, durable: true });
    const after = await connect(crashed.url);
    // The fault that it is safe from: what was committed without waiting is gone.
    expect((await after.query('SELECT FROM lost')).rowCount).toBe(0);
    await after.end();
    await using again = await connectShadow(crashed.url);
    await using found = await again.control({ create: true });
    expect(await found.request(id)).toMatchObject({ state: 'open', kind: 'reset' });
  } finally {
    await crashed.stop();
    await removeFolder(folder);
  }
});

async function isWaitedFor(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ waiting: boolean }>(
    `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted) AS waiting`,
  );
  return rows[0]?.waiting === true;
}
