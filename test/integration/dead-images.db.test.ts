/**
 * A rollout's production views show rows that are set aside as they are in production, where that is
 * known, and leave them out where it is not: with the real follower, on real databases.
 */
import { expect, test } from 'vitest';
import type { Follower } from '../../src/apply/follower.ts';
import { replay, type ReplayOutcome } from '../../src/apply/replay.ts';
import type { ChangeEvent, DecodedRecord, RowChange } from '../../src/change/record.ts';
import { UNAVAILABLE } from '../../src/change/value.ts';
import { unread } from '../support/change-events.ts';
import { commit, follow, letters } from './dead-letters.fixture.ts';
import { slotTrunk, type SlotTrunk } from './slot-trunk.fixture.ts';

/** Values that are not sent when they do not change. */
const BIG = `repeat(md5(random()::text), 400)`;
const TABLES = `CREATE TYPE grade AS ENUM ('low', 'high');
  CREATE TABLE a (id int PRIMARY KEY, v int, u int UNIQUE, big text, grade grade,
    twice int GENERATED ALWAYS AS (v * 2) STORED);
  ALTER TABLE a ALTER big SET STORAGE EXTERNAL;
  CREATE TABLE word (id numeric PRIMARY KEY, v int)`;
const NARROW = `ALTER TABLE a ADD CONSTRAINT small CHECK (v < 100);
  ALTER TABLE word ADD CONSTRAINT small CHECK (v < 100);
  ALTER TYPE grade RENAME VALUE 'high' TO 'lost'`;
const ROWS = `INSERT INTO a SELECT i, i, i, ${BIG}, 'low' FROM generate_series(1, 9) i`;

/** As Debezium tells that a value was not sent. */
function unsent(record: DecodedRecord): DecodedRecord {
  if (record.kind !== 'change' || record.op === 'unread' || record.after === null) return record;
  const values = record.after.values.map((value) =>
    value === 'unchanged-toast-datum' ? UNAVAILABLE : value,
  );
  return { ...record, after: { ...record.after, values } };
}

async function start(): Promise<SlotTrunk> {
  const at = await slotTrunk(TABLES);
  await at.shadow.query(NARROW);
  return at;
}

interface Shown {
  readonly rows: readonly unknown[];
  readonly hidden: number;
}

const rowsOf = (from: string, without: readonly number[]): string =>
  `SELECT id, left(r::text, 20) AS row, md5(r::text) AS digest FROM ${from} r
    WHERE id <> ALL ('{${without.join(',')}}') ORDER BY id`;

/** Rows of the view, and of how many it is told that they are not there. */
async function seen(at: SlotTrunk, table: string): Promise<Shown> {
  const { rows } = await at.shadow.query(rowsOf(`public__production.${table}`, []));
  const told = (await letters(at)).filter((letter) => letter.table.name === table);
  return { rows, hidden: told.reduce((sum, letter) => sum + letter.hidden, 0) };
}

/** All that production has, but for those with these keys. */
async function due(at: SlotTrunk, table: string, ...hidden: readonly number[]): Promise<Shown> {
  const { rows } = await at.production.query(rowsOf(table, hidden));
  return { rows, hidden: hidden.length };
}

async function replayAll(at: SlotTrunk, follower: Follower): Promise<ReplayOutcome> {
  const { database, fence } = at;
  const box = database.deadLetters;
  const events = (places: Parameters<Parameters<typeof replay>[0]['events']>[0]) =>
    Promise.resolve(
      places.map((place) => {
        const record = { ...place, timestampMs: 0, key: null, value: null, headers: [] };
        return unsent(at.log.decode(record)) as ChangeEvent;
      }),
    );
  const ids = (await box.list()).map(({ id }) => id);
  const catalogue = await database.catalogue();
  const outcome = await replay({ database, fence, box, catalogue, events }, ids);
  follower.forgetDead();
  return outcome;
}

test('rows that are set aside are shown as in production, through all that comes for them', async () => {
  const at = await start();
  const { follower, catchUp } = await follow(at, { decode: unsent });
  // Two that the candidate will own, one that it will not; none with its big value.
  await commit(at, ROWS, 'UPDATE a SET v = 500 WHERE id IN (1, 2, 4)');
  await catchUp();
  await at.database.installOverlay(at.fence);
  expect(await seen(at, 'a')).toEqual(await due(at, 'a'));
  await at.shadow.query('UPDATE a SET v = 77 WHERE id IN (2, 3, 5)');
  await at.shadow.query('DELETE FROM a WHERE id = 4');
  const steps = [
    'UPDATE a SET u = u + 100 WHERE id < 6',
    // A key that changes and keeps what was not sent; into one that was left; two that swap theirs.
    'UPDATE a SET id = 20 WHERE id = 1',
    'UPDATE a SET id = 1 WHERE id = 2',
    'UPDATE a SET id = 30 WHERE id = 1; UPDATE a SET id = 1 WHERE id = 20; UPDATE a SET id = 20 WHERE id = 30',
    'DELETE FROM a WHERE id = 20',
    `INSERT INTO a VALUES (20, 900, 900, ${BIG}, 'low')`,
    `UPDATE a SET big = ${BIG} WHERE id = 4; DELETE FROM a WHERE id = 4`,
    'UPDATE a SET v = 600 WHERE id = 7; UPDATE a SET v = 7, u = 71 WHERE id = 7',
  ];
  for (const sql of steps) {
    await commit(at, sql);
    await catchUp();
    expect(await seen(at, 'a')).toEqual(await due(at, 'a'));
  }
  expect((await at.database.progress()).deadLetters).toBeGreaterThan(3);
  await at.shadow.query('ALTER TABLE a DROP CONSTRAINT small');
  expect((await replayAll(at, follower)).left).toEqual([]);
  expect(await seen(at, 'a')).toEqual(await due(at, 'a'));
  await commit(at, 'UPDATE a SET v = v + 1', 'DELETE FROM a WHERE id = 1');
  await catchUp();
  expect(await seen(at, 'a')).toEqual(await due(at, 'a'));
  const left = await at.shadow.query('SELECT FROM understudy."public.a#image"');
  expect(left.rowCount).toBe(0);
});

test('of a table where all rows wait together each row is shown as it is', async () => {
  const at = await start();
  const { catchUp } = await follow(at, { decode: unsent });
  await commit(at, 'INSERT INTO word VALUES (1.0, 1), (2, 2), (3, 3)');
  await commit(at, 'UPDATE word SET v = 500 WHERE id = 1');
  await catchUp();
  await at.database.installOverlay(at.fence);
  await commit(at, 'UPDATE word SET v = 20, id = 2.00 WHERE id = 2; DELETE FROM word WHERE id = 3');
  await commit(at, 'INSERT INTO word VALUES (4, 4); UPDATE word SET id = 5.0 WHERE id = 1');
  await catchUp();
  expect(await seen(at, 'word')).toEqual(await due(at, 'word'));
  expect(await letters(at)).toMatchObject([{ keys: [null], hidden: 0 }]);
});

test('a row whose values its types do not take is left out and told, until they do', async () => {
  const at = await start();
  await at.database.installOverlay(at.fence);
  const { catchUp } = await follow(at, { decode: unsent });
  await commit(at, ROWS);
  await commit(at, `UPDATE a SET grade = 'high', u = 22 WHERE id = 2`);
  await catchUp();
  expect(await seen(at, 'a')).toEqual(await due(at, 'a', 2));
  // Its big value is not sent, and nobody knows it any more.
  await commit(at, `UPDATE a SET grade = 'low' WHERE id = 2`);
  await catchUp();
  expect(await seen(at, 'a')).toEqual(await due(at, 'a', 2));
  await commit(at, `UPDATE a SET big = ${BIG} WHERE id = 2`);
  await catchUp();
  expect(await seen(at, 'a')).toEqual(await due(at, 'a'));
  await commit(at, `INSERT INTO a VALUES (99, 1, 99, 'x', 'high')`, `DELETE FROM a WHERE id = 2`);
  await catchUp();
  expect(await seen(at, 'a')).toEqual(await due(at, 'a', 99));
});

test('a row that cannot be read is left out until a whole event tells it', async () => {
  const at = await start();
  await at.database.installOverlay(at.fence);
  const damaged = ({ table, after }: RowChange): boolean =>
    table.name === 'a' && after?.values[1] === '13';
  const { catchUp } = await follow(at, {
    decode: (record) =>
      record.kind === 'change' && record.op !== 'unread' && damaged(record)
        ? unread(record)
        : unsent(record),
  });
  await commit(at, ROWS);
  await commit(at, 'UPDATE a SET v = 13 WHERE id IN (3, 4)');
  await catchUp();
  expect(await seen(at, 'a')).toEqual(await due(at, 'a', 3, 4));
  await commit(at, 'DELETE FROM a WHERE id = 3', `UPDATE a SET v = 14, big = 'short' WHERE id = 4`);
  await catchUp();
  expect(await seen(at, 'a')).toEqual(await due(at, 'a'));
});

test('what the trunk set aside comes along, and an older rollout learns to show it', async () => {
  const at = await start();
  const { follower, catchUp } = await follow(at, { decode: unsent });
  await commit(at, ROWS);
  await commit(at, 'UPDATE a SET v = 500 WHERE id = 1', `UPDATE a SET grade = 'high' WHERE id = 2`);
  await commit(at, 'UPDATE a SET u = 11 WHERE id = 1');
  await catchUp();
  await at.database.installOverlay(at.fence);
  expect(await seen(at, 'a')).toEqual(await due(at, 'a', 2));
  // A rollout as the former version made it: nothing is kept, and its view knows nothing of it.
  await at.database.deadLetters.discard(
    at.fence,
    (await letters(at)).map(({ id }) => id),
  );
  follower.forgetDead();
  await at.shadow.query(`CREATE OR REPLACE VIEW public__production.a AS
      SELECT t.* FROM a t WHERE NOT EXISTS (SELECT FROM understudy."public.a#journal" j WHERE j.id = t.id)
      UNION ALL SELECT j.id, j.v, j.u, j.big, j.grade, j.twice
        FROM understudy."public.a#journal" j WHERE j.understudy_present;
    DROP TABLE understudy."public.a#image"`);
  await commit(at, `UPDATE a SET v = v + 1000, big = 'b', grade = 'low' WHERE id < 4`);
  await catchUp();
  expect(await seen(at, 'a')).toEqual(await due(at, 'a'));
});

test('what is discarded stays as it is known until an event tells more; a truncate ends it all', async () => {
  const at = await start();
  const { follower, catchUp } = await follow(at, { decode: unsent });
  await commit(at, ROWS);
  await commit(at, 'UPDATE a SET v = 500 WHERE id IN (1, 2, 3)');
  await catchUp();
  await at.database.installOverlay(at.fence);
  const ids = (await letters(at)).map(({ id }) => id);
  expect(ids).toHaveLength(3);
  await at.database.deadLetters.discard(at.fence, ids);
  follower.forgetDead();
  expect(await seen(at, 'a')).toEqual(await due(at, 'a'));
  await commit(at, `UPDATE a SET v = 5, big = 'known' WHERE id = 1`);
  await catchUp();
  expect(await seen(at, 'a')).toEqual(await due(at, 'a'));
  // Of this one something is not sent: it is parked, and left out.
  await commit(at, 'UPDATE a SET v = 6 WHERE id = 2');
  await catchUp();
  const shown = await at.shadow.query(
    'SELECT id FROM public__production.a WHERE id < 4 ORDER BY id',
  );
  expect(shown.rows).toEqual([{ id: 1 }, { id: 3 }]);
  expect((await at.database.progress()).parked).toBe(2);
  await commit(at, 'TRUNCATE a', ROWS, 'UPDATE a SET v = 500 WHERE id = 9');
  await catchUp();
  expect(await seen(at, 'a')).toEqual(await due(at, 'a'));
});
