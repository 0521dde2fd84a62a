/** As isolated.db.test.ts, on MySQL and MariaDB. */
import { expect, it, onTestFinished } from 'vitest';
import { dialectFor } from '../../src/dialect/registry.ts';
import type { BatchStep } from '../../src/order/change-batch.ts';
import {
  appliedUnlessBlocked,
  inOrder,
  race,
  written,
  type Raced,
} from '../support/isolated-race.ts';
import { baseSeed } from '../support/seeds.ts';
import {
  batchOf,
  ENGINES,
  gone,
  openTrunk,
  put,
  rolloutOf,
  rowsOf,
  rowsStep,
  sessionOn,
  stageOf,
  stranger,
  type Stage,
} from './mysql.fixture.ts';

/** A rollout that keeps `job` to itself. */
async function isolatedRollout(stage: Stage) {
  const name = await rolloutOf(stage);
  const server = await dialectFor(stage.url).connectShadow(stage.url, {
    ...{ leaseMs: 60_000, isolates: (table: { readonly name: string }) => table.name === 'job' },
  });
  onTestFinished(() => server[Symbol.asyncDispose]());
  const database = await openTrunk(server, name);
  const fence = await database.takeFence('test');
  if (fence === null) throw new Error('the fence of a new rollout is taken');
  await database.installOverlay(fence);
  const candidate = await stranger(stage, name, 'SELECT, INSERT, UPDATE, DELETE');
  const admin = await sessionOn(stage.url, name);
  const apply = (...steps: readonly BatchStep[]) => database.apply(fence, batchOf(steps));
  return { name, candidate, admin, apply };
}

it.each(ENGINES)('on %s they are as the candidate left them', async (engine) => {
  const stage = await stageOf(
    engine,
    'CREATE TABLE job (id INT PRIMARY KEY, state VARCHAR(9) UNIQUE, note TEXT)',
    'CREATE TABLE other (id INT PRIMARY KEY, state VARCHAR(9), note TEXT)',
  );
  await stage.client.query(
    `INSERT INTO job VALUES (1, 'a', 'of 1'), (2, 'b', 'of 2'), (3, 'c', 'of 3')`,
  );
  await stage.client.query(`INSERT INTO other VALUES (1, 'a', 'of 1')`);
  const { name, candidate, admin, apply } = await isolatedRollout(stage);
  const job = (id: string, state: string) => put(['id'], { id, state, note: `of ${id}` });
  await candidate.query(`UPDATE job SET state = 'mine' WHERE id = 2`);
  await candidate.query(`INSERT INTO job VALUES (9, 'new', NULL)`);
  await apply(
    rowsStep(
      ...([stage, 'job', job('1', 'done'), job('2', 'done too'), gone('3')] as const),
      ...[job('4', 'mine'), job('9', 'theirs')],
    ),
    rowsStep(stage, 'other', job('1', 'done'), job('2', 'new')),
  );
  const seen = () => rowsOf(admin, 'SELECT id, state FROM job ORDER BY id');
  const image = () =>
    rowsOf(admin, `SELECT id, state FROM \`${name}__production\`.job ORDER BY id`);
  const visible = [
    ...[
      { id: 1, state: 'a' },
      { id: 2, state: 'mine' },
      { id: 3, state: 'c' },
    ],
    { id: 9, state: 'new' },
  ];
  expect(await seen()).toEqual(visible);
  expect(await image()).toEqual([
    ...[
      { id: 1, state: 'done' },
      { id: 2, state: 'done too' },
      { id: 4, state: 'mine' },
    ],
    { id: 9, state: 'theirs' },
  ]);
  expect(await rowsOf(admin, 'SELECT id, state FROM other ORDER BY id')).toEqual([
    ...[
      { id: 1, state: 'done' },
      { id: 2, state: 'new' },
    ],
  ]);
  await apply(rowsStep(stage, 'job', gone('4'), gone('9'), job('6', 'short')));
  await apply(rowsStep(stage, 'job', gone('6')));
  const journal = `\`${name}__understudy\`.\`job#journal\``;
  expect(await rowsOf(admin, `SELECT id FROM ${journal} WHERE id IN (4, 6)`)).toEqual([]);
  expect(await rowsOf(admin, `SELECT * FROM \`${name}__understudy\`.outcome`)).toEqual([]);
  await apply({ kind: 'truncate', table: { schema: stage.source, name: 'job' } });
  expect(await seen()).toEqual(visible);
  expect(await image()).toEqual([]);
  await apply(rowsStep(stage, 'job', job('1', 'again')));
  expect(await seen()).toEqual(visible);
  expect(await image()).toEqual([{ id: 1, state: 'again' }]);
});

it.each(ENGINES)('on %s they stay so while both write at the same time', async (engine) => {
  const stage = await stageOf(engine, 'CREATE TABLE job (id INT PRIMARY KEY, state VARCHAR(20))');
  const old = Array.from({ length: 12 }, (_, id) => [id, 'old']);
  await stage.client.query('INSERT INTO job VALUES ?', [old]);
  const { name, candidate, admin, apply } = await isolatedRollout(stage);
  const { user, password } = candidate.config as { user: string; password: string };
  const url = new URL(stage.url);
  [url.username, url.password] = [user, password];
  const clients = await Promise.all(Array.from({ length: 4 }, () => sessionOn(url.href, name)));
  const seed = baseSeed(process.env['UNDERSTUDY_SEED']);
  const raced = await race({
    ...{ seed, forMs: 3_000 },
    write: (writer, statements, commits) =>
      written(async (sql) => clients[writer]?.query(sql), statements, commits),
    apply: (changes) => {
      const all = [...changes].map(([id, state]) =>
        state === null ? gone(String(id)) : put(['id'], { id: String(id), state }),
      );
      return appliedUnlessBlocked(apply(rowsStep(stage, 'job', ...all)));
    },
  });
  const place = `seed ${String(seed)}, ${String(raced.written)} and ${String(raced.applied)}`;
  const told = (rows: Raced['visible']) => inOrder(rows).map(([id, state]) => ({ id, state }));
  expect(Math.min(raced.written, raced.applied), place).toBeGreaterThan(5);
  expect(await rowsOf(admin, 'SELECT id, state FROM job ORDER BY id'), place).toEqual(
    told(raced.visible),
  );
  const image = `SELECT id, state FROM \`${name}__production\`.job ORDER BY id`;
  expect(await rowsOf(admin, image), place).toEqual(told(raced.production));
});
