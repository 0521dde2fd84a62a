/**
 * What is written at a barrier beside the log: with the real follower, on real databases, with
 * production's own log as event log (slot-log.ts).
 */
import type { FollowerParts } from '../../src/apply/follower-parts.ts';
import type pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import type { BarrierPlan } from '../../src/apply/barrier.ts';
import type { Follower } from '../../src/apply/follower.ts';
import type { ChangeEvent } from '../../src/change/record.ts';
import { UNSURE, type ColumnValue } from '../../src/change/value.ts';
import { connectProduction } from '../../src/dialect/postgres/production/production.ts';
import { connectShadow } from '../../src/dialect/postgres/shadow/server.ts';
import type { Fence, ShadowDatabase } from '../../src/dialect/dialect.ts';
import { UnderstudyError } from '../../src/errors/understudy-error.ts';
import type { BatchStep, NetChange } from '../../src/order/change-batch.ts';
import { followSlotLog, loggedUntilNow } from '../support/follow-slot-log.ts';
import { image } from '../support/change-events.ts';
import { compareDatabases, connect } from '../support/comparison.ts';
import { batchOf } from '../support/overlay-applier.ts';
import { databaseUrl } from '../support/postgres.ts';
import { SlotLog } from '../support/slot-log.ts';
import { postgresUrl, testDatabase } from '../support/test-database.ts';
import { freshName } from './shadow.fixture.ts';

interface Setting {
  readonly url: string;
  readonly log: SlotLog;
  readonly production: pg.Client;
  readonly shadow: pg.Client;
  readonly database: ShadowDatabase;
  readonly fence: Fence;
}

let slots = 0;

async function setting(): Promise<Setting> {
  const { url: productionUrl } = await testDatabase('supply');
  const production = await connect(productionUrl);
  onTestFinished(() => production.end());
  await production.query(`CREATE TABLE a (id int PRIMARY KEY, v int, w text);
    CREATE TABLE b (id int PRIMARY KEY, v int)`);
  slots += 1;
  const log = await SlotLog.start(productionUrl, `supply_${process.pid}_${slots}`);
  onTestFinished(() => log[Symbol.asyncDispose]());
  const server = await connectShadow(postgresUrl());
  onTestFinished(() => server[Symbol.asyncDispose]());
  const name = freshName('trunk');
  const plan = await (await connectProduction(productionUrl)).planShadow();
  await server.createTrunk({ name, topicPrefix: 'p', plan, bootstrap: false });
  const database = await server.open(name);
  const fence = await database?.takeFence('test');
  if (database === null || fence === null || fence === undefined) throw new Error('not taken');
  onTestFinished(() => database[Symbol.asyncDispose]());
  const url = databaseUrl(postgresUrl(), name);
  const shadow = await connect(url);
  onTestFinished(() => shadow.end());
  return { url, log, production, shadow, database, fence };
}

type Writes = FollowerParts['database'];

const follow = (at: Setting, writes?: Writes): ReturnType<typeof followSlotLog> =>
  followSlotLog(at, { writes, batchEvents: 3 });

const logged = (at: Setting): Promise<Pick<BarrierPlan, 'ends' | 'starts'>> =>
  loggedUntilNow(at.production, at.log);

async function catchUp(at: Setting, follower: Follower): Promise<void> {
  const { ends, starts } = await logged(at);
  await follower.until(() => follower.caughtUp(ends, starts));
}

const LONG = 'one'.repeat(20);
const A = { schema: 'public', name: 'a' };
const B = { schema: 'public', name: 'b' };

function upsert(row: Readonly<Record<string, ColumnValue>>, complete: boolean): NetChange {
  const key = [String(row['id'])];
  return { kind: 'upsert', key, from: key, image: image(row), complete };
}

/** Row 1 of a gets an unknown w, and row 2 is parked, as events leave them. */
async function withGaps(at: Setting, follower: Follower): Promise<void> {
  await at.production.query(`INSERT INTO a VALUES (1, 1, '${LONG}'), (2, 2, 'two'), (3, 3, 'three');
    INSERT INTO b VALUES (1, 1)`);
  await catchUp(at, follower);
  await follower.freeze();
  await at.shadow.query('DELETE FROM a WHERE id = 2');
  const changes = [upsert({ id: '1', w: UNSURE }, false), upsert({ id: '2', v: '2' }, false)];
  await at.database.apply(at.fence, {
    ...batchOf({ kind: 'rows', table: A, changes }),
    ...{ position: follower.position, ahead: [] },
  });
  await at.shadow.query(`UPDATE a SET w = 'wrong' WHERE id = 1`);
  expect(await ledgers(at)).toBe(2);
}

const OF_A: BatchStep = {
  kind: 'rows',
  table: A,
  changes: [upsert({ id: '1', w: LONG }, false), upsert({ id: '2', v: '2', w: 'two' }, true)],
};
const OF_B: BatchStep = { kind: 'rows', table: B, changes: [upsert({ id: '1', v: '1' }, true)] };

/** Of what follows the gaps, b is seen by the snapshot, and a is not. */
const DEFERRED = `BEGIN; UPDATE a SET v = 10 WHERE id = 1; UPDATE a SET w = 'later' WHERE id = 2; COMMIT;
  BEGIN; UPDATE b SET v = 5 WHERE id = 1; COMMIT; BEGIN; INSERT INTO a VALUES (4, 4, 'four'); COMMIT`;
const visible = ({ table }: ChangeEvent): boolean => table.name === 'b';

const state = async (at: Setting): Promise<readonly unknown[]> =>
  (
    await at.shadow.query({
      text: `SELECT id, w FROM a UNION ALL SELECT id + 100, v::text FROM b ORDER BY 1`,
      rowMode: 'array',
    })
  ).rows;

async function ledgers(at: Setting): Promise<number> {
  const { rows } = await at.shadow.query<{ n: number }>(
    `SELECT ((SELECT count(*) FROM understudy.unknown_value) +
       (SELECT count(*) FROM understudy.parked))::int AS n`,
  );
  return rows[0]?.n ?? -1;
}

async function expectEqual(at: Setting): Promise<void> {
  const url = databaseUrl(postgresUrl(), at.production.database ?? '');
  expect((await compareDatabases(url, at.url)).differences).toEqual([]);
}

/** Counts the batches of no records, and fails as told before or after the first of them. */
function failing(at: Setting, when: 'before' | 'after' | 'never'): Writes & { supplied: number } {
  const { database } = at;
  let dead = false;
  const wrapped = {
    ...{ name: database.name, supplied: 0 },
    applyTogether: database.applyTogether.bind(database),
    openBaseSnapshot: () => database.openBaseSnapshot(),
    apply: async (...[fence, batch]: Parameters<ShadowDatabase['apply']>) => {
      const crash = new UnderstudyError('INTERRUPTED', 'the process ended');
      const supplied = batch.ahead?.length === 0;
      if (dead || (supplied && when === 'before')) {
        dead = true;
        throw crash;
      }
      const outcome = await database.apply(fence, batch);
      if (!supplied) return outcome;
      wrapped.supplied += 1;
      dead = when === 'after';
      if (dead) throw crash;
      return outcome;
    },
  };
  return wrapped;
}

test('is written once, after what the snapshot saw and before what it did not', async () => {
  const at = await setting();
  const writes = failing(at, 'never');
  const { follower } = await follow(at, writes);
  await withGaps(at, follower);
  await at.production.query(DEFERRED);
  let asked = 0;
  const outcome = await follower.runToBarrier({
    ...(await logged(at)),
    visible,
    supply: async (missing, write) => {
      asked += 1;
      expect(missing).toBe(0);
      expect(await state(at)).toEqual([
        [1, 'wrong'],
        [3, 'three'],
        [101, '5'],
      ]);
      await write([OF_A]);
    },
  });
  const rows = await outcome.base.rows({ table: A, key: ['id'], columns: ['v', 'w'] }, [
    ['1'],
    ['2'],
    ['4'],
  ]);
  expect(rows.map(({ values }) => values)).toEqual([
    ['1', LONG],
    ['2', 'two'],
  ]);
  expect(await outcome.base.gaps()).toEqual([]);
  await outcome.base[Symbol.asyncDispose]();
  expect(outcome.deferredTransactions).toBe(2);
  await catchUp(at, follower);
  expect([asked, writes.supplied, await ledgers(at)]).toEqual([1, 1, 0]);
  await expectEqual(at);
});

test.each(['before', 'after'] as const)(
  'leaves nothing half when the process ends right %s it is written',
  async (when) => {
    const at = await setting();
    const { follower, done } = await follow(at, failing(at, when));
    await withGaps(at, follower);
    await at.production.query(DEFERRED);
    const plan: BarrierPlan = {
      ...(await logged(at)),
      visible,
      supply: (_, write) => write([OF_A]),
    };
    await expect(follower.runToBarrier(plan)).rejects.toMatchObject({ code: 'INTERRUPTED' });
    await expect(done).rejects.toMatchObject({ code: 'INTERRUPTED' });
    // What the snapshot did not see is not here, and comes once more.
    const supplied = when === 'after';
    expect(await state(at)).toEqual([
      ...(supplied
        ? [
            [1, LONG],
            [2, 'two'],
          ]
        : [[1, 'wrong']]),
      ...[
        [3, 'three'],
        [101, '5'],
      ],
    ]);
    expect(await ledgers(at)).toBe(supplied ? 0 : 2);
    const next = await follow(at);
    await catchUp(at, next.follower);
    // The events bring the rest, since this log has whole rows.
    expect(await ledgers(at)).toBe(0);
    await expectEqual(at);
  },
);

test('that cannot be written as a whole is not written at all, and following goes on', async () => {
  const at = await setting();
  const { follower } = await follow(at);
  await withGaps(at, follower);
  await at.shadow.query('ALTER TABLE b ADD CHECK (v <> 1) NOT VALID');
  await at.production.query(DEFERRED);
  const supply: BarrierPlan['supply'] = (_, write) => write([OF_A, OF_B]);
  const plan = { ...(await logged(at)), visible, supply };
  await expect(follower.runToBarrier(plan)).rejects.toMatchObject({ code: 'APPLY_FAILED' });
  await catchUp(at, follower);
  await expectEqual(at);
});
