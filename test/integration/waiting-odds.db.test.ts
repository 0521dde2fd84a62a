/** What keys that wait on PostgreSQL must not do, beside what waiting.db.test.ts has. */
import { setTimeout as pause } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { SourcePosition } from '../../src/change/position.ts';
import { waitingOf } from '../../src/dialect/waiting.ts';
import { isUnderstudyError } from '../../src/errors/understudy-error.ts';
import type { BatchStep } from '../../src/order/change-batch.ts';
import { batchOf, gone, put } from './mysql.fixture.ts';
import { anyRollout, type AnyRollout } from './rollout.fixture.ts';
import { reopened } from './waiting.fixture.ts';

const row = (id: number, n: number) => put(['id'], { id: String(id), n: String(n) });

function sourceAt(lsn: bigint): SourcePosition {
  return { connector: 'postgresql', lsn, lastCommitLsn: lsn, txId: 1 };
}

/** As a follower does. `lsn`: where production's log stands with it, if that is known. */
async function follow(at: AnyRollout, lsn: bigint | null, ...steps: BatchStep[]): Promise<void> {
  const { position, ...batch } = batchOf(steps);
  const source = lsn === null ? null : sourceAt(lsn);
  const begun = performance.now();
  for (;;) {
    try {
      await at.database.apply(at.fence, { ...batch, position: { ...position, source } });
      return;
    } catch (error) {
      if (!isUnderstudyError(error, 'APPLY_BLOCKED')) throw error;
      if (performance.now() - begun > 10_000) throw error;
      await pause(20);
    }
  }
}

async function waits({ database }: AnyRollout): Promise<number> {
  const counts = (await waitingOf(database)?.counts()) ?? [];
  return counts.reduce((sum, { keys }) => sum + keys, 0);
}

const write = ({ database, fence }: AnyRollout) => waitingOf(database)?.write(fence);

it('a conflict has the place of the change that waited, and not of what came after', async () => {
  const at = await anyRollout('postgresql', 'CREATE TABLE u (id int PRIMARY KEY, n int)');
  await follow(at, 101n, at.step('u', row(1, 1), row(2, 1)));
  const candidate = await at.session();
  await candidate('BEGIN');
  await candidate('UPDATE u SET n = 50 WHERE id = 1');
  await follow(at, 102n, at.step('u', row(1, 2)));
  await follow(at, 103n, at.step('u', row(2, 2)));
  await candidate('COMMIT');
  expect(await write(at)).toEqual({ written: 1, left: 0 });
  const [conflict] = await at.database.overlayConflicts(9);
  expect(conflict).toMatchObject({ kind: 'update_differs', key: ['1'] });
  expect(conflict?.source).toContain('102');
});

it.each([201n, null])('what is kept out is told again when it changes, place %s', async (place) => {
  const at = await anyRollout(
    'postgresql',
    'CREATE TABLE u (id int PRIMARY KEY, n int UNIQUE, m int)',
  );
  const three = (m: number) => put(['id'], { id: '1', n: '5', m: String(m) });
  await at.run('INSERT INTO u VALUES (1000, 5, 0)');
  await follow(at, place, at.step('u', three(1)));
  await at.database.resolveOverlay(at.fence, {}, 'ours');
  expect(await at.database.overlayConflicts(9)).toEqual([]);
  const candidate = await at.session();
  await candidate('BEGIN');
  await candidate('UPDATE u SET m = 5 WHERE id = 1000');
  await follow(at, place === null ? null : place + 1n, at.step('u', three(2)));
  expect(await waits(at)).toBe(1);
  await candidate('COMMIT');
  expect(await write(at)).toEqual({ written: 1, left: 0 });
  const [conflict] = await at.database.overlayConflicts(9);
  expect(conflict).toMatchObject({ kind: 'multiple_unique', key: ['1'] });
  expect(conflict?.source?.includes('202') ?? null).toBe(place === null ? null : true);
});

it('more than can be written at once is written before a person’s act', async () => {
  const at = await anyRollout('postgresql', 'CREATE TABLE big (id int PRIMARY KEY, n int)');
  const some = Array.from({ length: 12_500 }, (_, i) => row(i + 1, 1));
  const candidate = await at.session();
  await candidate('BEGIN');
  await candidate('LOCK TABLE big IN SHARE MODE');
  await follow(at, null, at.step('big', ...some));
  expect(await waits(at)).toBe(12_500);
  await candidate('ROLLBACK');
  const table = { schema: at.source, name: 'big' };
  expect(await at.database.truncateOverlay(at.fence, table)).toBe(12_500);
  expect(await waits(at)).toBe(0);
  expect(await at.rows('SELECT id FROM big')).toEqual([]);
  expect(await at.production('big', 'count(*)::int')).toEqual([[12_500]]);
  await at.database.resetOverlay(at.fence, {});
  await candidate('BEGIN');
  await candidate('LOCK TABLE big IN SHARE MODE');
  await follow(at, null, at.step('big', ...some.map((_, i) => row(i + 1, 2))));
  await candidate('ROLLBACK');
  const { migrations } = at.database;
  await migrations.begin(at.fence, { role: at.role, renames: [] });
  await migrations.end(at.fence);
  expect(await waits(at)).toBe(0);
});

const OTHER = 'CREATE TABLE other (id int PRIMARY KEY, n int)';

it.each(['TRUNCATE thing', 'LOCK TABLE thing IN ACCESS EXCLUSIVE MODE'])(
  'a table on which nobody may look stalls no other: %s',
  async (sql) => {
    const made = await anyRollout(
      'postgresql',
      'CREATE TABLE thing (id int PRIMARY KEY, n int, m text)',
      OTHER,
    );
    const thing = (id: number, n: number, m: string) =>
      put(['id'], { id: String(id), n: String(n), m });
    const first = made.step('thing', thing(1, 1, 'a'), thing(2, 1, 'b'));
    await follow(made, null, first);
    const candidate = await made.session();
    await candidate('BEGIN');
    await candidate(sql);
    // It knows nothing of the table yet.
    await made.database.releaseFence(made.fence);
    const at = await reopened(made);
    await follow(
      at,
      null,
      at.step('thing', thing(1, 2, 'c'), gone('2'), thing(3, 1, 'd')),
      at.step('other', row(1, 1)),
    );
    expect(await at.production('other', 'id, n')).toEqual([[1, 1]]);
    expect(await waits(at)).toBe(3);
    // Completed from what waits.
    const patch = put(['id'], { id: '1', n: '3' }, { complete: false });
    await follow(at, null, at.step('thing', patch), at.step('other', row(1, 2)));
    expect(await at.production('other', 'id, n')).toEqual([[1, 2]]);
    await candidate('ROLLBACK');
    expect(await write(at)).toEqual({ written: 3, left: 0 });
    const image = [
      [1, 3, 'c'],
      [3, 1, 'd'],
    ];
    expect(await at.production('thing', 'id, n, m')).toEqual(image);
    expect(await at.rows('SELECT id, n, m FROM thing ORDER BY 1')).toEqual(image);
  },
);

it('a row that the candidate is at all the time is written', async () => {
  const at = await anyRollout('postgresql', 'CREATE TABLE hot (id int PRIMARY KEY, n int)');
  await follow(at, null, at.step('hot', row(1, 0)));
  const idle = await at.session();
  await idle('BEGIN');
  await idle('SELECT FROM hot WHERE id = 1 FOR UPDATE');
  await follow(at, null, at.step('hot', row(1, 1)));
  expect(await waits(at)).toBe(1);
  const busy = new AbortController();
  const sessions = await Promise.all(Array.from({ length: 4 }, () => at.session()));
  const running = sessions.map(async (candidate) => {
    while (!busy.signal.aborted) {
      await candidate('BEGIN');
      await candidate('SELECT FROM hot WHERE id = 1 FOR UPDATE');
      await pause(3);
      await candidate('COMMIT');
    }
  });
  await pause(100);
  await idle('ROLLBACK');
  let left = 1;
  for (let tries = 0; tries < 100 && left > 0; tries += 1) {
    left = (await write(at))?.left ?? 0;
    await pause(100);
  }
  busy.abort();
  await Promise.all(running);
  expect(left).toBe(0);
});

it('a row that another one waits for to give up its value is not lost', async () => {
  const at = await anyRollout('postgresql', 'CREATE TABLE u (id int PRIMARY KEY, v text UNIQUE)');
  const u = (id: number, v: string) => put(['id'], { id: String(id), v });
  await follow(at, null, at.step('u', u(1, 'a'), u(2, 'b'), u(3, 'c')));
  const candidate = await at.session();
  await candidate('BEGIN');
  await candidate('SELECT FROM u WHERE id = 1 FOR UPDATE');
  await follow(at, null, at.step('u', u(1, 'x'), u(2, 'a'), u(3, 'b')));
  const image = [
    [1, 'x'],
    [2, 'a'],
    [3, 'b'],
  ];
  expect(await at.production('u', 'id, v')).toEqual(image);
  expect(await at.rows('SELECT id FROM u ORDER BY 1')).toEqual([[1], [2], [3]]);
  expect(await at.database.overlayConflicts(9)).toEqual([]);
  await candidate('ROLLBACK');
  expect(await write(at)).toMatchObject({ left: 0 });
  expect(await at.rows('SELECT id, v FROM u ORDER BY 1')).toEqual(image);
  expect(await at.database.overlayConflicts(9)).toEqual([]);
});

it('what waits in a rollout of the version before is kept', async () => {
  const made = await anyRollout('postgresql', 'CREATE TABLE u (id int PRIMARY KEY, n int)');
  await follow(made, 301n, made.step('u', row(1, 1), row(2, 1)));
  const candidate = await made.session();
  await candidate('BEGIN');
  await candidate('UPDATE u SET n = 50');
  await follow(made, 302n, made.step('u', row(1, 2)));
  await made.rows('ALTER TABLE understudy."public.u#waiting" DROP COLUMN understudy_source');
  await made.rows('DROP TABLE understudy.self_migration');
  await made.rows('DROP TABLE understudy.accepted_orphan');
  await made.rows('ALTER TABLE understudy.migrating DROP COLUMN by_itself');
  await made.rows('DELETE FROM understudy.migration WHERE version >= 22');
  await made.database.releaseFence(made.fence);
  const at = await reopened(made);
  await follow(at, 303n, at.step('u', row(2, 2)));
  expect(await waits(at)).toBe(2);
  await candidate('COMMIT');
  expect(await write(at)).toEqual({ written: 2, left: 0 });
  const conflicts = await at.database.overlayConflicts(9);
  expect(new Set(conflicts.map(({ key: [key] }) => key))).toEqual(new Set(['1', '2']));
});
