/**
 * A trunk filled by a pinned copy under traffic, and handed over to the log: by real databases,
 * with production's own log as event log (slot-log.ts). End to end with Debezium:
 * test/e2e/bootstrap.e2e.test.ts.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import type { BootstrapState, CopySource } from '../../src/dialect/copying.ts';
import { compareDatabases, connect } from '../support/comparison.ts';
import { hangCommit } from '../support/hung-commit.ts';
import { createDatabase, startPostgres } from '../support/postgres.ts';
import { testDatabase } from '../support/test-database.ts';
import {
  expectEqual,
  fill,
  followToEnd,
  hold,
  makeTrunk,
  setting,
  startWriters,
  type Setting,
} from './bootstrap.fixture.ts';

test.each(['transaction', 'key'] as const)(
  'under traffic the trunk is production’s image, by consistency %s',
  async (mode) => {
    const at = await setting((await testDatabase('production')).url);
    const stop = startWriters(at.url);
    await expect.poll(() => at.log.recordsOf('public.a')).toBeGreaterThan(20);
    for (let round = 0; round < 2; round += 1) {
      await using trunk = await hold(await makeTrunk(at.url));
      const state = await fill(at, trunk);
      expect(new Set(state.tables.map((table) => table.snapshot)).size).toBe(1);
      expect(state.tables.find(({ table }) => table.name === 'a')?.ranges).toBeGreaterThan(3);
      if (round === 1) await stop();
      const follower = await followToEnd(at, trunk, mode);
      expect(follower.totals.events).toBeGreaterThan(0);
      if (round === 1) await expectEqual(at, trunk);
    }
  },
  60_000,
);

test('a copy that was cut off goes on with the tables that were not done', async () => {
  const at = await setting((await testDatabase('production')).url);
  const stop = startWriters(at.url);
  const name = await makeTrunk(at.url);
  let kept: BootstrapState | null;
  {
    await using first = await hold(name);
    const crash = new AbortController();
    await expect(
      fill(at, first, {
        jobs: 1,
        signal: crash.signal,
        onProgress: ({ phase, tablesDone, rows }) => {
          if (phase === 'copying' && tablesDone === 2 && rows > 0)
            crash.abort(new Error('cut off'));
        },
      }),
    ).rejects.toThrow('cut off');
    kept = await first.target.state();
    expect(kept?.ends).toBeNull();
  }
  const done = kept?.tables.filter((table) => table.done) ?? [];
  expect(done.length).toBeGreaterThan(0);
  expect(done.length).toBeLessThan(5);
  await sleep(300);
  await using second = await hold(name);
  const state = await fill(at, second);
  expect(state.mark).toBe(kept?.mark);
  for (const table of done) expect(state.tables).toContainEqual(table);
  expect(new Set(state.tables.map((table) => table.snapshot)).size).toBe(2);
  await stop();
  await followToEnd(at, second);
  await expectEqual(at, second);
}, 60_000);

test('a table that is truncated under the copy is copied again', async () => {
  const at = await setting((await testDatabase('production')).url);
  await using trunk = await hold(await makeTrunk(at.url));
  let reads = 0;
  const source: CopySource = {
    mark: () => at.source.mark(),
    pinAfter: async (transaction, options) => {
      const snapshot = await at.source.pinAfter(transaction, options);
      return Object.assign(Object.create(snapshot) as typeof snapshot, {
        openReader: async () => {
          const reader = await snapshot.openReader();
          const read: typeof reader.read = async (range, columns, sink) => {
            if (range.table.name === 'b' && (reads += 1) === 2) {
              await at.production.query('TRUNCATE b; INSERT INTO b VALUES (1, 1, 77)');
            }
            return reader.read(range, columns, sink);
          };
          return { read, [Symbol.asyncDispose]: () => reader[Symbol.asyncDispose]() };
        },
        tables: () => snapshot.tables(),
        ranges: (...args: Parameters<typeof snapshot.ranges>) => snapshot.ranges(...args),
        [Symbol.asyncDispose]: () => snapshot[Symbol.asyncDispose](),
      });
    },
  };
  const state = await fill(at, trunk, { jobs: 1 }, source);
  expect(state.tables.find(({ table }) => table.name === 'b')).toMatchObject({ rows: 1 });
  expect(new Set(state.tables.map((table) => table.snapshot)).size).toBe(2);
  await followToEnd(at, trunk);
  await expectEqual(at, trunk);
}, 60_000);

/** A production whose commits wait for a standby that is not there, until `let go`. */
async function withStandby(): Promise<
  Setting & { readonly hang: () => Promise<() => Promise<void>> }
> {
  const server = await startPostgres();
  onTestFinished(() => server.stop());
  const at = await setting(await createDatabase(server.url, 'shop'));
  return {
    ...at,
    /** Leaves a transaction that is in the log, and that nobody sees. */
    hang: async () => {
      const letGo = await hangCommit(at.url, 'UPDATE a SET v = 4711 WHERE id = 1');
      await expect.poll(() => at.log.recordsOf('public.a'), { timeout: 10_000 }).toBe(1);
      const { rows } = await at.production.query('SELECT v FROM a WHERE id = 1');
      expect(rows).toEqual([{ v: 1000 }]);
      return letGo;
    },
  };
}

test('a transaction that is in the log and hidden by its commit’s wait is not lost', async () => {
  const at = await withStandby();
  const letGo = await at.hang();
  await using trunk = await hold(await makeTrunk(at.url));
  const waiting = Promise.withResolvers<undefined>();
  const filling = fill(at, trunk, {
    onProgress: ({ phase }) => {
      if (phase === 'waiting-for-transactions') waiting.resolve(undefined);
    },
  });
  await Promise.race([waiting.promise, filling]);
  await sleep(500);
  expect((await trunk.target.state())?.tables).toEqual([]);
  await letGo();
  await filling;
  await followToEnd(at, trunk);
  await expectEqual(at, trunk);
}, 60_000);

test('without the wait for older transactions it would be lost', async () => {
  const at = await withStandby();
  const letGo = await at.hang();
  await using trunk = await hold(await makeTrunk(at.url));
  const careless: CopySource = {
    mark: () => at.source.mark(),
    pinAfter: (_, options) => at.source.pinAfter('0', options),
  };
  await fill(at, trunk, {}, careless);
  await letGo();
  await followToEnd(at, trunk);
  const { differences } = await compareDatabases(at.url, trunk.url);
  expect(differences).toMatchObject([{ table: 'public.a', key: { id: '1' }, kind: 'changed' }]);
}, 60_000);

test('a transaction of production that does not end is told, and nothing was copied', async () => {
  const at = await setting((await testDatabase('production')).url);
  const open = await connect(at.url);
  await open.query('BEGIN; UPDATE a SET v = 0 WHERE id = 1');
  await using trunk = await hold(await makeTrunk(at.url));
  await expect(fill(at, trunk, { pinTimeoutMs: 300 })).rejects.toMatchObject({
    code: 'PIN_FAILED',
    context: { detail: expect.stringContaining('pg_prepared_xacts') as string },
  });
  expect(await trunk.target.state()).toMatchObject({ tables: [], ends: null });
  await open.query('COMMIT');
  await open.end();
  await fill(at, trunk);
  await followToEnd(at, trunk);
  await expectEqual(at, trunk);
}, 60_000);
