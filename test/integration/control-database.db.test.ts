import type pg from 'pg';
import { expect, test } from 'vitest';
import { CREATING } from '../../src/dialect/postgres/shadow/marker.ts';
import { lockName } from '../../src/dialect/postgres/session/server-locks.ts';
import { connectShadow } from '../../src/dialect/postgres/shadow/server.ts';
import { connect } from '../support/comparison.ts';
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

async function isWaitedFor(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ waiting: boolean }>(
    `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted) AS waiting`,
  );
  return rows[0]?.waiting === true;
}
