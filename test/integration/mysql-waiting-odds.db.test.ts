/** What minds keys that wait on MySQL and MariaDB, beside applying (mysql-waiting.db.test.ts). */
import type { Connection } from 'mysql2/promise';
import { expect, it, onTestFinished } from 'vitest';
import { migrationsOf } from '../../src/dialect/migrating.ts';
import { dialectFor } from '../../src/dialect/registry.ts';
import { waitingOf } from '../../src/dialect/waiting.ts';
import {
  batchOf,
  ENGINES,
  gone,
  openTrunk,
  overlaidRollout,
  put,
  rolloutOf,
  rowsOf,
  rowsStep,
  sessionOn,
  stageOf,
  stranger,
  type Overlaid,
} from './mysql.fixture.ts';

const TABLE = `CREATE TABLE t (id INT PRIMARY KEY, n INT, secret INT NOT NULL DEFAULT 7)`;
type Rollout = Pick<Overlaid, 'name' | 'database' | 'fence' | 'admin'>;

const row = (id: string, n: string) => put(['id'], { id, n, secret: '1' });
/** As a connector tells it that leaves a column out. */
const part = (id: string, n: string) => put(['id'], { id, n });

async function idleOn(url: string, name: string, ...sql: readonly string[]): Promise<Connection> {
  const session = await sessionOn(url, name);
  await session.query('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
  await session.query('START TRANSACTION');
  for (const one of sql) await session.query(one);
  return session;
}

async function keysOf({ database }: Rollout): Promise<number> {
  const counts = (await waitingOf(database)?.counts()) ?? [];
  return counts.reduce((sum, { keys }) => sum + keys, 0);
}

async function written({ database, fence }: Rollout): Promise<void> {
  const left = async (): Promise<number | undefined> =>
    (await waitingOf(database)?.write(fence))?.left;
  await expect.poll(left, { timeout: 15_000, interval: 100 }).toBe(0);
}

const imageOf = ({ admin, name }: Rollout) =>
  rowsOf(admin, `SELECT id, n, secret FROM \`${name}__production\`.t ORDER BY id`);
const seenOf = ({ admin }: Rollout) => rowsOf(admin, 'SELECT id, n, secret FROM t ORDER BY id');

it.each(ENGINES)(
  'on %s columns that are never sent are the row’s, or the table’s own',
  async (engine) => {
    const stage = await stageOf(engine, TABLE);
    await stage.apply(rowsStep(stage, 't', row('1', '1')));
    const at = await overlaidRollout(stage);
    const idle = await idleOn(
      at.candidateUrl,
      at.name,
      'UPDATE t SET n = 100 WHERE id = 1',
      'INSERT INTO t VALUES (2, 200, 2)',
    );
    await at.apply(rowsStep(stage, 't', part('1', '11'), part('2', '21')));
    expect(await keysOf(at)).toBe(2);
    await at.apply(rowsStep(stage, 't', part('1', '12'), part('2', '22'), part('3', '3')));
    expect(await keysOf(at)).toBe(2);
    expect(await imageOf(at)).toMatchObject([
      { id: 1, n: 12, secret: 1 },
      { id: 2, n: 22 },
      { id: 3, n: 3, secret: 7 },
    ]);
    await idle.query('ROLLBACK');
    await written(at);
    expect(await seenOf(at)).toEqual([
      { id: 1, n: 12, secret: 1 },
      { id: 2, n: 22, secret: 7 },
      { id: 3, n: 3, secret: 7 },
    ]);
    expect(await imageOf(at)).toEqual(await seenOf(at));
  },
);

it.each(ENGINES)('on %s a table that is kept apart has its image all the same', async (engine) => {
  const stage = await stageOf(engine, TABLE);
  await stage.apply(rowsStep(stage, 't', row('1', '1'), row('2', '2')));
  const name = await rolloutOf(stage);
  const server = await dialectFor(stage.url).connectShadow(stage.url, {
    ...{ leaseMs: 60_000, isolates: () => true },
  });
  onTestFinished(() => server[Symbol.asyncDispose]());
  const database = await openTrunk(server, name);
  const fence = await database.takeFence('test');
  if (fence === null) throw new Error('the fence of a new rollout is taken');
  await database.installOverlay(fence);
  const candidate = await stranger(stage, name, 'SELECT, INSERT, UPDATE, DELETE');
  const at = { name, database, fence, admin: await sessionOn(stage.url, name) };
  await candidate.query('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
  await candidate.query('START TRANSACTION');
  await candidate.query('UPDATE t SET n = 100 WHERE id = 1');
  await candidate.query('INSERT INTO t VALUES (3, 300, 3)');
  const apply = (...changes: Parameters<typeof rowsStep>[2][]) =>
    database.apply(fence, batchOf([rowsStep(stage, 't', ...changes)]));
  await apply(row('1', '11'), row('2', '22'), row('3', '33'));
  const image = [
    { id: 1, n: 11, secret: 1 },
    { id: 2, n: 22, secret: 1 },
    { id: 3, n: 33, secret: 1 },
  ];
  expect(await imageOf(at)).toEqual(image);
  await candidate.query('COMMIT');
  await written(at);
  expect(await imageOf(at)).toEqual(image);
  expect(await seenOf(at)).toEqual([
    { id: 1, n: 100, secret: 1 },
    { id: 2, n: 2, secret: 1 },
    { id: 3, n: 300, secret: 3 },
  ]);
});

it.each(ENGINES)('on %s a migration of the candidate’s comes after it', async (engine) => {
  const stage = await stageOf(engine, TABLE);
  await stage.apply(rowsStep(stage, 't', row('1', '1'), row('2', '2')));
  const at = await overlaidRollout(stage);
  const role = at.name;
  await stage.server.createCandidateRole({ database: at.name, role, password: 'x' });
  const idle = await idleOn(at.candidateUrl, at.name, 'UPDATE t SET n = 100 WHERE id = 1');
  await at.apply(rowsStep(stage, 't', gone('1'), row('2', '22')));
  const migrations = migrationsOf(at.database);
  if (migrations === null) throw new Error('a rollout migrates');
  const begin = () => migrations.begin(at.fence, { role, renames: [] });
  await expect(begin()).rejects.toMatchObject({ code: 'APPLY_BLOCKED' });
  expect(await keysOf(at)).toBe(1);
  await idle.query('ROLLBACK');
  await begin();
  expect(await keysOf(at)).toBe(0);
  await migrations.end(at.fence);
  const row2 = [{ id: 2, n: 22, secret: 1 }];
  expect(await seenOf(at)).toEqual(row2);
  expect(await imageOf(at)).toEqual(row2);
});

it.each(ENGINES)('on %s a rollout of an older version gets what it lacks', async (engine) => {
  const stage = await stageOf(engine, TABLE);
  await stage.apply(rowsStep(stage, 't', row('1', '1')));
  const at = await overlaidRollout(stage);
  await at.candidate.query('UPDATE t SET n = 5 WHERE id = 1');
  await at.database.releaseFence(at.fence);
  await at.database[Symbol.asyncDispose]();
  const companion = `\`${at.name}__understudy\``;
  await at.admin.query(`DROP TABLE ${companion}.\`t#waiting\`, ${companion}.waiting_table`);
  await at.admin.query(`DELETE FROM ${companion}.migration WHERE version > 17`);
  const database = await openTrunk(stage.server, at.name);
  const fence = await database.takeFence('next');
  if (fence === null) throw new Error('the fence was given back');
  const next = { ...at, database, fence };
  const idle = await idleOn(at.candidateUrl, at.name, 'UPDATE t SET n = 6 WHERE id = 1');
  await database.apply(fence, batchOf([rowsStep(stage, 't', row('1', '2'), row('2', '2'))]));
  expect(await keysOf(next)).toBe(1);
  const image = [
    { id: 1, n: 2, secret: 1 },
    { id: 2, n: 2, secret: 1 },
  ];
  expect(await imageOf(next)).toEqual(image);
  await idle.query('COMMIT');
  await written(next);
  expect(await imageOf(next)).toEqual(image);
  expect(await seenOf(next)).toEqual([{ id: 1, n: 6, secret: 1 }, image[1]]);
});

it.each(ENGINES)('on %s more than is written at once is written before an act', async (engine) => {
  const stage = await stageOf(engine, TABLE);
  const rows = (n: number) =>
    rowsStep(stage, 't', ...Array.from({ length: 12_500 }, (_, i) => row(String(i), String(n))));
  await stage.apply(rows(0));
  const at = await overlaidRollout(stage);
  const held = async (n: number): Promise<void> => {
    const idle = await idleOn(at.candidateUrl, at.name, 'SELECT * FROM t FOR UPDATE');
    await at.apply(rows(n));
    expect(await keysOf(at)).toBe(12_500);
    await idle.query('ROLLBACK');
  };
  await held(1);
  await at.database.releaseOverlay(at.fence, {});
  expect(await keysOf(at)).toBe(0);
  await held(2);
  const table = { schema: stage.source, name: 't' };
  expect(await at.database.truncateOverlay(at.fence, table)).toBe(12_500);
  expect(await keysOf(at)).toBe(0);
  expect(await seenOf(at)).toEqual([]);
  expect(await imageOf(at)).toHaveLength(12_500);
});
