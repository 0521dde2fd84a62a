import { afterAll, beforeAll, expect, test } from 'vitest';
import type pg from 'pg';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import { currentView, parseLsn, pinSnapshot } from '../../src/dialect/postgres/production/pin.ts';
import { connect } from '../support/comparison.ts';
import { testDatabase } from '../support/test-database.ts';

let url: string;
let admin: pg.Client;

beforeAll(async () => {
  ({ url } = await testDatabase('pin'));
  admin = await connect(url);
  // Every row says which transaction wrote it: 32 bits, as Debezium sends it.
  await admin.query(`CREATE TABLE t (xid int8 DEFAULT pg_current_xact_id()::text::int8 % 4294967296,
    id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY)`);
});

afterAll(() => admin.end());

const pin = (): ReturnType<typeof pinSnapshot> =>
  pinSnapshot({ connect: () => connect(url), tables: readCatalogue });

/** Commits, rolls back, and keeps transactions open, until told to stop. */
async function write(stop: AbortSignal, seed: number): Promise<number[]> {
  const client = await connect(url);
  const committed: number[] = [];
  for (let i = seed; !stop.aborted; i += 1) {
    await client.query(i % 3 === 0 ? 'BEGIN; SAVEPOINT a' : 'BEGIN');
    const { rows } = await client.query<{ xid: string }>(
      'INSERT INTO t DEFAULT VALUES RETURNING xid',
    );
    if (i % 5 === 0) await new Promise((resolve) => setTimeout(resolve, 15));
    await client.query(i % 7 === 0 ? 'ROLLBACK' : 'COMMIT');
    if (i % 7 !== 0) committed.push(Number(rows[0]?.xid));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await client.end();
  return committed;
}

test('visible() says of every committed transaction whether the snapshot has its rows', async () => {
  const stop = new AbortController();
  const writers = Promise.all([1, 2, 3, 4, 5, 6].map((seed) => write(stop.signal, seed)));
  const pins: { visible: (txId: number) => boolean; seen: Set<number> }[] = [];
  for (let i = 0; i < 25; i += 1) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    await using pinned = await pin();
    const { rows } = await pinnedRows(pinned);
    pins.push({ visible: (txId) => pinned.visible(txId), seen: new Set(rows) });
    expect(pinned.marker > pinned.floor).toBe(true);
  }
  stop.abort();
  const committed = (await writers).flat();
  let later = 0;
  for (const { visible, seen } of pins) {
    const wrong = committed.filter((xid) => visible(xid) !== seen.has(xid));
    expect(wrong).toEqual([]);
    later += committed.filter((xid) => !visible(xid)).length;
  }
  expect(later).toBeGreaterThan(0);
});

/** Which transactions' rows the pinned snapshot really holds. */
async function pinnedRows(pinned: Awaited<ReturnType<typeof pin>>): Promise<{ rows: number[] }> {
  const table = { table: { schema: 'public', name: 't' }, key: ['id'], columns: ['xid'] };
  const hashes = await pinned.reader.rowHashes(table, [{ from: null, to: null }]);
  const texts = await pinned.reader.rows(
    table,
    hashes.map((row) => row.key),
  );
  return { rows: texts.map((row) => Number(row.values[0])) };
}

test('the marker is in the log as one message, after the snapshot', async () => {
  const slot = 'pin_test';
  await admin.query(`SELECT pg_create_logical_replication_slot('${slot}', 'test_decoding')`);
  const before = await admin.query<{ lsn: string }>(`SELECT pg_current_wal_insert_lsn() AS lsn`);
  await using pinned = await pin();
  const { rows } = await admin.query<{ lsn: string; data: string }>(
    `SELECT lsn, data FROM pg_logical_slot_get_changes('${slot}', NULL, NULL)
     WHERE data LIKE '%prefix: understudy%'`,
  );
  await admin.query(`SELECT pg_drop_replication_slot('${slot}')`);
  expect(rows).toHaveLength(1);
  expect(pinned.floor >= parseLsn(before.rows[0]?.lsn ?? '')).toBe(true);
  expect(pinned.marker >= pinned.floor).toBe(true);
});

test('a transaction that is still open is invisible, and nothing is complete up to it', async () => {
  const writer = await connect(url);
  await writer.query('BEGIN');
  const { rows } = await writer.query<{ xid: string }>(
    'INSERT INTO t DEFAULT VALUES RETURNING xid',
  );
  const open = Number(rows[0]?.xid);
  const during = await currentView(admin);
  expect(during.visible(open)).toBe(false);
  expect(during.complete(open)).toBe(false);
  await writer.query('COMMIT');
  await writer.end();
  const after = await currentView(admin);
  expect(after.visible(open)).toBe(true);
  // Other files' transactions on the same server may be older and still open.
  await expect.poll(async () => (await currentView(admin)).complete(open)).toBe(true);
});

test('a role that may only SELECT can pin', async () => {
  await admin.query(`DROP ROLE IF EXISTS only_reader; CREATE ROLE only_reader LOGIN;
    GRANT SELECT ON t TO only_reader`);
  const reader = new URL(url);
  reader.username = 'only_reader';
  await using pinned = await pinSnapshot({
    connect: () => connect(reader.href),
    tables: readCatalogue,
  });
  expect((await pinnedRows(pinned)).rows.length).toBeGreaterThan(0);
  await admin.query(`DROP OWNED BY only_reader; DROP ROLE only_reader`);
});

test('a session that the server ends fails with PIN_FAILED and without a crash', async () => {
  let ended = false;
  const failing = pinSnapshot({
    connect: async () => {
      const client = await connect(url);
      if (!ended) {
        ended = true;
        const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
        client.on('error', () => undefined);
        await admin.query('SELECT pg_terminate_backend($1)', [rows[0]?.pid]);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      return client;
    },
    tables: readCatalogue,
  });
  await expect(failing).rejects.toMatchObject({ code: 'PIN_FAILED' });
});
