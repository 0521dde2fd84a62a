/** As isolated.db.test.ts, on MySQL and MariaDB; and what production's foreign keys do to such rows. */
import { expect, it } from 'vitest';
import { dialectFor } from '../../src/dialect/registry.ts';
import type { BatchStep } from '../../src/order/change-batch.ts';
import {
  batchOf,
  ENGINES,
  gone,
  put,
  rolloutOf,
  rowsOf,
  rowsStep,
  sessionOn,
  stageOf,
  stranger,
} from './mysql.fixture.ts';

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
  const name = await rolloutOf(stage);
  const server = await dialectFor(stage.url).connectShadow(stage.url, {
    ...{ leaseMs: 60_000, isolates: (table: { readonly name: string }) => table.name === 'job' },
  });
  const database = await server.open(name);
  const fence = (await database?.takeFence('test')) ?? null;
  if (database === null || fence === null) throw new Error('the rollout is not there');
  await database.installOverlay(fence);
  const candidate = await stranger(stage, name, 'SELECT, INSERT, UPDATE, DELETE');
  const admin = await sessionOn(stage.url, name);
  const apply = (...steps: readonly BatchStep[]) => database.apply(fence, batchOf(steps));
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
  await database[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});
