import { afterAll, beforeAll, expect, test } from 'vitest';
import type pg from 'pg';
import { auditHash } from '../../src/dialect/sql/audit-entry.ts';
import { PgControlStore } from '../../src/dialect/postgres/control/control-store.ts';
import { migrate, newestVersion } from '../../src/dialect/postgres/session/migrations.ts';
import { Connection, ServerAddress } from '../../src/dialect/postgres/session/session.ts';
import type { RolloutRow } from '../../src/dialect/dialect.ts';
import { testDatabase, type TestDatabase } from '../support/test-database.ts';
import { connect } from '../support/comparison.ts';

let database: TestDatabase;
let admin: pg.Client;

const open = (): PgControlStore =>
  new PgControlStore(
    new Connection({
      ...{ address: new ServerAddress(database.url), database: database.name, role: 'control' },
    }),
  );

beforeAll(async () => {
  database = await testDatabase('control');
  admin = await connect(database.url);
  await migrate(admin, 'control', database.name);
});

afterAll(() => admin.end());

const rollout: RolloutRow = {
  ...{ name: 'next', database: 'shop_next', role: 'shop_next', url: '', state: 'creating' },
  ...{ createdAt: new Date(1_700_000_000_123), expiresAt: new Date(1_800_000_000_456) },
};

test('a rollout comes back as it was written, and its name is taken once', async () => {
  await using store = open();
  await store.insertRollout(rollout);
  expect(await store.rollouts()).toEqual([rollout]);
  await expect(store.insertRollout(rollout)).rejects.toMatchObject({ code: 'ROLLOUT_EXISTS' });
  await store.updateRollout('next', { state: 'following', url: 'postgres://x' });
  await store.updateRollout('next', { expiresAt: null });
  expect(await store.rollout('next')).toEqual({
    ...rollout,
    ...{ state: 'following', url: 'postgres://x', expiresAt: null },
  });
  await store.deleteRollout('next');
  expect(await store.rollout('next')).toBeNull();
  await expect(store.updateRollout('next', { state: 'paused' })).rejects.toMatchObject({
    code: 'ROLLOUT_NOT_FOUND',
  });
});

test('each request is claimed once, oldest first, however many claim', async () => {
  await using one = open();
  await using two = open();
  const ids: string[] = [];
  for (let n = 0; n < 30; n += 1) ids.push(await one.submitRequest('reset', 'db', { n }));
  await one.submitRequest('reset', 'other', {});
  const claim = async (store: PgControlStore): Promise<string[]> => {
    const mine: string[] = [];
    for (;;) {
      const request = await store.claimRequest('db', 'host/1/x');
      if (request === null) return mine;
      mine.push(request.id);
    }
  };
  const claimed = await Promise.all([claim(one), claim(two)]);
  expect(claimed.flat().sort()).toEqual([...ids].sort());
  for (const mine of claimed) expect(mine).toEqual([...mine].sort((a, b) => Number(a) - Number(b)));
});

test('a request that somebody is just claiming is not waited for', async () => {
  await using store = open();
  const first = await store.submitRequest('reset', 'busy', {});
  const second = await store.submitRequest('reset', 'busy', {});
  await admin.query('BEGIN');
  await admin.query('SELECT FROM understudy.request WHERE id = $1 FOR UPDATE', [first]);
  const claiming = store.claimRequest('busy', 'other');
  const run = `UPDATE understudy.request SET state = 'running', holder = 'me' WHERE id = $1`;
  await admin.query(run, [first]);
  const early = await Promise.race([
    claiming,
    new Promise((resolve) => setTimeout(resolve, 2_000, 'waited')),
  ]);
  await admin.query('COMMIT');
  expect(early).toMatchObject({ id: second });
  await claiming;
});

test('what a former holder left running is opened again, what is finished stays so', async () => {
  await using store = open();
  const first = await store.submitRequest('drift-check', 'left', { table: 'a' });
  const second = await store.submitRequest('drift-check', 'left', null);
  await store.claimRequest('left', 'old');
  await store.claimRequest('left', 'old');
  await store.finishRequest(second, 'done', { rows: 12n });
  expect(await store.reopenRequests('left', 'old')).toBe(0);
  expect(await store.reopenRequests('left', 'new')).toBe(1);
  expect((await store.claimRequest('left', 'new'))?.id).toBe(first);
  expect(await store.request(second)).toMatchObject({ state: 'done', outcome: { rows: '12' } });
});

test('the audit log is one chain, whoever writes, and can only grow', async () => {
  await using one = open();
  await using two = open();
  await Promise.all(
    Array.from({ length: 20 }, (_, n) =>
      (n % 2 === 0 ? one : two).audit('me', 'reset', 'shop', { n, big: 1n, none: undefined }),
    ),
  );
  const { rows } = await admin.query<Record<string, string>>(
    'SELECT * FROM understudy.audit ORDER BY seq',
  );
  expect(rows).toHaveLength(20);
  let previous = '';
  for (const row of rows) {
    const { actor = '', action = '', subject = '', detail = '' } = row;
    const [seq, atMs] = [BigInt(row['seq'] ?? 0), BigInt(row['at_ms'] ?? 0)];
    expect(row['previous']).toBe(previous);
    previous = auditHash(previous, { seq, atMs, actor, action, subject, detail });
    expect(row['hash']).toBe(previous);
  }
  for (const sql of ['DELETE FROM', 'TRUNCATE']) {
    await expect(admin.query(`${sql} understudy.audit`)).rejects.toMatchObject({ code: '0A000' });
  }
});

test('an older program refuses a schema that a newer one wrote', async () => {
  await admin.query(`INSERT INTO understudy.migration (version, what) VALUES ($1, 'later')`, [
    newestVersion('control') + 1,
  ]);
  await expect(migrate(admin, 'control', database.name)).rejects.toMatchObject({
    code: 'SCHEMA_TOO_NEW',
  });
});
