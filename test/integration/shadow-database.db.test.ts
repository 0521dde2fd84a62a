import { expect, onTestFinished, test } from 'vitest';
import type { Position, SourcePosition } from '../../src/change/position.ts';
import { RowShape } from '../../src/change/value.ts';
import type { Fence, ShadowDatabase } from '../../src/dialect/dialect.ts';
import { UNPROVEN_LIMIT } from '../../src/dialect/postgres/shadow/progress.ts';
import { connectShadow } from '../../src/dialect/postgres/shadow/server.ts';
import type { ChangeBatch } from '../../src/order/change-batch.ts';
import { REMEMBERED_IDS } from '../../src/order/recent-ids.ts';
import { databaseUrl } from '../support/postgres.ts';
import { postgresUrl } from '../support/test-database.ts';
import { ask, freshName, freshTrunk, session } from './shadow.fixture.ts';

const SHAPE = new RowShape(['id', 'name']);
const item = { schema: 'public', name: 'item' };

const SOURCE: SourcePosition = {
  ...{ connector: 'postgresql', lsn: 2n ** 60n + 1n, lastCommitLsn: null, txId: 4_294_967_295 },
};

function position(next: bigint, source: SourcePosition | null = SOURCE): Position {
  return {
    offsets: new Map([
      ['prod.public.item/0', next],
      ['prod.transaction/0', 2n ** 62n],
    ]),
    ...{ source, eventTimeMs: 1_700_000_000_123 },
  };
}

/** Upserts rows 1…n, all named alike. */
function batch(name: string, next: bigint, options: Partial<ChangeBatch> = {}): ChangeBatch {
  const changes = [1, 2, 3].map((id) => ({
    ...{ kind: 'upsert' as const, key: [String(id)], from: [String(id)], complete: true },
    image: { shape: SHAPE, values: [String(id), name] },
  }));
  return {
    steps: [{ kind: 'rows', table: item, changes }],
    ...{ position: position(next), txIds: [], unmarked: 2, events: 3, transactions: 1, bytes: 100 },
    ...options,
  };
}

async function held(): Promise<{
  readonly database: ShadowDatabase;
  readonly fence: Fence;
  readonly url: string;
}> {
  const { name, url } = await freshTrunk();
  const server = await connectShadow(postgresUrl());
  onTestFinished(() => server[Symbol.asyncDispose]());
  const database = await server.open(name);
  const fence = await database?.takeFence('test');
  if (database === null || fence === null || fence === undefined) throw new Error('not opened');
  onTestFinished(() => database[Symbol.asyncDispose]());
  return { database, fence, url };
}

async function names(url: string): Promise<readonly (string | null)[]> {
  const client = await session(url);
  const sql = 'SELECT name FROM item ORDER BY id';
  return (await client.query<{ name: string | null }>(sql)).rows.map((row) => row.name);
}

const terminate = (database: string, role: string): Promise<unknown> =>
  ask(`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE application_name = 'understudy:${database}:${role}'`);

test('progress starts empty, and comes back exactly as it was saved with the rows', async () => {
  const { database, fence, url } = await held();
  expect(await database.progress()).toEqual({
    position: { offsets: new Map(), source: null, eventTimeMs: null },
    ...{ unproven: [], unprovenEvicted: null, parked: 0, deadLetters: 0, unknown: 0, unmarked: 0 },
  });
  const first = batch('a', 10n, { txIds: [4_294_967_295, 7, 7] });
  expect(await database.apply(fence, first)).toMatchObject({ rows: 3, owned: 0 });
  const saved = await database.progress();
  expect(saved).toMatchObject({
    position: position(10n),
    unproven: [4_294_967_295, 7],
    unmarked: 2,
  });
  expect(await names(url)).toEqual(['a', 'a', 'a']);
  // The same again changes nothing.
  await database.apply(fence, first);
  expect(await database.progress()).toEqual(saved);

  const mysql: SourcePosition = {
    ...{ connector: 'mysql', file: 'bin.1', pos: 2n ** 63n, row: 2, gtid: null },
  };
  await database.apply(fence, batch('b', 11n, { position: position(11n, mysql) }));
  expect((await database.progress()).position).toEqual(position(11n, mysql));
});

const AHEAD = [{ topic: 'prod.public.item', partition: 0, first: 11n, next: 12n }] as const;

test('what is applied ahead of the position is told until the position has passed it', async () => {
  const { database, fence, url } = await held();
  await database.apply(fence, batch('a', 10n, { delivered: ['1', '2'] }));
  const first = batch('b', 10n, { ahead: AHEAD, delivered: ['3'] });
  await database.apply(fence, first);
  const resume = await database.resumePoint();
  expect(resume).toEqual({ position: position(10n), ahead: AHEAD, delivered: ['1', '2', '3'] });
  expect((await database.progress()).unmarked).toBe(4);

  // The answer to its commit was lost: the same again changes nothing.
  const client = await session(url);
  await client.query('DELETE FROM item');
  expect(await database.apply(fence, first)).toMatchObject({ rows: 0 });
  expect(await names(url)).toEqual([]);
  expect(await database.resumePoint()).toEqual(resume);
  expect((await database.progress()).unmarked).toBe(4);

  // What is of no record is written whenever it is asked for.
  expect(await database.apply(fence, batch('c', 10n, { ahead: [] }))).toMatchObject({ rows: 3 });
  await database.apply(fence, batch('d', 11n));
  expect((await database.resumePoint()).ahead).toEqual(AHEAD);
  await database.apply(fence, batch('e', 12n));
  expect((await database.resumePoint()).ahead).toEqual([]);
});

test('only the newest ids of transactions are remembered', async () => {
  const { database, fence } = await held();
  const ids = Array.from({ length: REMEMBERED_IDS }, (_, n) => String(n));
  await database.apply(fence, batch('a', 10n, { delivered: ['old'] }));
  await database.apply(fence, batch('b', 11n, { delivered: ids }));
  await database.apply(fence, batch('c', 12n, { delivered: ['new'] }));
  expect((await database.resumePoint()).delivered).toEqual([...ids, 'new']);
});

test('a position is never saved without its rows, nor rows without their position', async () => {
  const { database, fence, url } = await held();
  await database.apply(fence, batch('a', 10n));
  const blocker = await session(url);

  // The rows are refused.
  const bad = { schema: 'public', name: 'gone' };
  const refused = batch('b', 20n, {
    steps: [...batch('b', 20n).steps, { kind: 'truncate', table: bad }],
  });
  await expect(database.apply(fence, refused)).rejects.toMatchObject({ code: 'TABLE_UNKNOWN' });

  // The position is refused: this batch was not made from here.
  await expect(database.apply(fence, batch('c', 5n))).rejects.toMatchObject({
    code: 'APPLY_FAILED',
  });

  // The session is ended between the position, which is saved first, and the rows.
  const look = await session(postgresUrl());
  await blocker.query('BEGIN; LOCK TABLE item IN ACCESS EXCLUSIVE MODE');
  const applying = database.apply(fence, batch('d', 30n)).catch((error: unknown) => error);
  await expect
    .poll(async () => {
      const waiting = await look.query(`SELECT FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND application_name = 'understudy:${database.name}:apply'`);
      return waiting.rowCount;
    })
    .toBe(1);
  await terminate(database.name, 'apply');
  expect(await applying).toMatchObject({ code: 'SHADOW_UNREACHABLE', retry: 'reconnect' });
  await blocker.query('ROLLBACK');

  expect(await names(url)).toEqual(['a', 'a', 'a']);
  expect((await database.progress()).position).toEqual(position(10n));
  // The connection heals by itself.
  await database.apply(fence, batch('d', 30n));
  expect(await names(url)).toEqual(['d', 'd', 'd']);
});

test('every connection that is lost while idle is opened again at its next use', async () => {
  const { database, fence } = await held();
  await database.apply(fence, batch('a', 10n));
  await database.progress();
  const tries: Readonly<Record<string, () => Promise<unknown>>> = {
    apply: () => database.apply(fence, batch('b', 11n)),
    fence: () => database.renewFence(fence, { state: 'x', oldestTransactionMs: null, degraded: 0 }),
    read: () => database.catalogue(),
  };
  for (const [role, attempt] of Object.entries(tries)) {
    await terminate(database.name, role);
    await expect
      .poll(() =>
        attempt().then(
          () => 'done',
          (error: unknown) => (error as { code: string }).code,
        ),
      )
      .toBe('done');
  }
  // The new sessions show that the holder lives: nobody takes over meanwhile.
  expect(await database.fenceState()).toMatchObject({ holder: 'test', free: false });
});

test('a lock of another session is waited for a little, then told', async () => {
  const { database, fence, url } = await held();
  await database.apply(fence, batch('a', 10n));
  const candidate = await session(url);
  await candidate.query('BEGIN');
  await candidate.query('SELECT FROM item WHERE id = 2 FOR UPDATE');
  await expect(database.apply(fence, batch('b', 11n))).rejects.toMatchObject({
    code: 'APPLY_BLOCKED',
  });
  const waiting = database.apply(fence, batch('b', 11n));
  await candidate.query('ROLLBACK');
  await waiting;
  expect(await names(url)).toEqual(['b', 'b', 'b']);
});

test('a table that changed behind our back is looked at again', async () => {
  const { database, fence, url } = await held();
  await database.apply(fence, batch('a', 10n));
  const admin = await session(url);
  await admin.query('ALTER TABLE item ADD COLUMN extra int');
  const image = { shape: new RowShape(['id', 'name', 'extra']), values: ['1', 'b', '5'] };
  const change = { kind: 'upsert', key: ['1'], from: ['1'], complete: true, image } as const;
  const wider = batch('b', 11n, { steps: [{ kind: 'rows', table: item, changes: [change] }] });
  await database.apply(fence, wider);
  expect(await names(url)).toEqual(['b', 'a', 'a']);
});

test('the newest transactions wait for their proof; of older ones the newest id is kept', async () => {
  const { database, fence } = await held();
  const start = 4_294_967_295 - 100;
  const ids = Array.from({ length: UNPROVEN_LIMIT + 300 }, (_, n) => (start + n) % 2 ** 32);
  await database.apply(fence, batch('a', 10n, { txIds: ids.slice(0, UNPROVEN_LIMIT) }));
  expect(await database.progress()).toMatchObject({ unprovenEvicted: null });
  await database.apply(fence, batch('a', 11n, { txIds: ids.slice(UNPROVEN_LIMIT) }));
  const full = await database.progress();
  expect(full.unproven).toEqual(ids.slice(300));
  // Past 2^32 counting starts again, and 199 is newer than 4294967295.
  expect(full.unprovenEvicted).toBe(ids[299]);
  expect(ids[299]).toBe(198);

  await database.proveVisible(fence, ids.slice(400));
  expect((await database.progress()).unproven).toEqual(ids.slice(300, 400));
  await database.apply(fence, batch('a', 12n, { txIds: [5_000_000] }));
  expect(await database.progress()).toMatchObject({
    ...{ unproven: [...ids.slice(300, 400), 5_000_000], unprovenEvicted: ids[299] },
  });
});

test('a rollout follows, keeps what its candidate wrote, and shows production beside it', async () => {
  const { database: trunk, fence: trunkFence } = await held();
  await trunk.apply(trunkFence, batch('a', 10n));
  await trunk.releaseFence(trunkFence);
  await trunk[Symbol.asyncDispose]();
  const name = freshName('rollout');
  await using server = await connectShadow(postgresUrl());
  await server.clone({ from: trunk.name, to: name, rolloutName: 'next' });
  await using rollout = await server.open(name);
  const fence = await rollout?.takeFence('test');
  if (rollout === null || fence === null || fence === undefined) throw new Error('not opened');
  expect((await rollout.progress()).position).toEqual(position(10n));
  expect(await rollout.installOverlay(fence)).toMatchObject({ notCaptured: [], sequencesLeft: [] });
  const { url } = await server.createCandidateRole({ database: name, role: name, password: 'pw' });
  onTestFinished(async () => {
    await using cleaner = await connectShadow(postgresUrl());
    await cleaner.drop({ database: name, role: name });
  });
  const candidate = await session(url);
  await candidate.query(`UPDATE item SET name = 'mine' WHERE id = 2`);
  await candidate.query(`INSERT INTO item VALUES (9, 'new')`);
  expect(await rollout.apply(fence, batch('b', 11n))).toMatchObject({ owned: 1 });
  const inside = databaseUrl(postgresUrl(), name);
  expect(await names(inside)).toEqual(['b', 'mine', 'b', 'new']);
  expect(await rollout.overlayCounts()).toMatchObject([{ inserted: 1, updated: 1, deleted: 0 }]);
  expect(await rollout.overlayRows(10)).toHaveLength(2);
  await expect(candidate.query('SELECT * FROM public__production.item')).rejects.toMatchObject({
    code: '42501',
  });

  const compared = { table: item, key: ['id'], columns: ['id', 'name'] };
  {
    await using base = await rollout.openBaseSnapshot();
    const rows = await base.rows(compared, [['1'], ['2'], ['9']]);
    expect(rows.map((row) => row.values)).toEqual([
      ['1', 'b'],
      ['2', 'b'],
    ]);
  }
  expect(await rollout.resetOverlay(fence, { table: item, key: ['2'] })).toBe(1);
  expect(await names(inside)).toEqual(['b', 'b', 'b', 'new']);
  expect(await rollout.resetOverlay(fence, {})).toBe(1);
  expect(await names(inside)).toEqual(['b', 'b', 'b']);
});
