/**
 * Tables that rollouts keep to themselves: production's changes go to its image alone, exactly, and what the
 * candidate sees is what it was made with and what it wrote.
 */
import { expect, it } from 'vitest';
import { applyBatch } from '../../src/dialect/postgres/apply/apply.ts';
import { releaseOverlay } from '../../src/dialect/postgres/overlay/release.ts';
import type { BatchStep } from '../../src/order/change-batch.ts';
import { appliedUnlessBlocked, inOrder, race, written } from '../support/isolated-race.ts';
import { batchOf } from '../support/overlay-applier.ts';
import { baseSeed } from '../support/seeds.ts';
import { connectTo } from '../support/test-database.ts';
import {
  acting,
  content,
  create,
  gone,
  put,
  rows,
  shop,
  tables,
  url,
  user,
  useShop,
} from './apply.fixture.ts';

useShop();

const isolates = ({ name }: { readonly name: string }): boolean => name === 'job';
const isolated = <T>(act: Parameters<typeof acting<T>>[0]): Promise<T> => acting(act, { isolates });

const apply = (...steps: readonly BatchStep[]) =>
  isolated((session) => applyBatch(session, batchOf(...steps)));

const job = (id: string, state: string) => create({ id, state, note: `of ${id}` });

it('are as the candidate left them, and production’s image is exact beside them', async () => {
  await tables(
    `CREATE TABLE job (id int PRIMARY KEY, state text UNIQUE, note text);
    CREATE TABLE other (id int PRIMARY KEY, state text, note text);
    INSERT INTO job VALUES (1, 'a', 'of 1'), (2, 'b', 'of 2'), (3, 'c', 'of 3');
    INSERT INTO other VALUES (1, 'a', 'of 1')`,
    true,
  );
  await user.query(`UPDATE job SET state = 'mine' WHERE id = 2`);
  await user.query(`INSERT INTO job VALUES (9, 'new', NULL)`);
  await apply(
    rows(
      'job',
      ...[put(['id'], { id: '1', state: 'done' }), job('2', 'done too'), gone('3')],
      // A unique value that a row of the candidate has, and a new row of production's.
      ...[job('4', 'mine'), job('9', 'theirs')],
    ),
    rows('other', job('1', 'done'), job('2', 'new')),
  );
  const seen = 'SELECT id, state FROM job ORDER BY id';
  const image = 'SELECT id, state, note FROM shop__production.job ORDER BY id';
  const visible = [
    ...[
      [1, 'a'],
      [2, 'mine'],
      [3, 'c'],
      [9, 'new'],
    ],
  ];
  expect(await content(seen)).toEqual(visible);
  expect(await content(image)).toEqual([
    ...[
      [1, 'done', 'of 1'],
      [2, 'done too', 'of 2'],
      [4, 'mine', 'of 4'],
    ],
    [9, 'theirs', 'of 9'],
  ]);
  expect(await content('SELECT id, state FROM other ORDER BY id')).toEqual([
    ...[
      [1, 'done'],
      [2, 'new'],
    ],
  ]);
  // A key moves, a row comes and goes: nothing is left of that, and nobody counts it as come together.
  await apply(rows('job', put(['id'], { id: '5', state: 'moved' }, ['4']), gone('4'), gone('9')));
  await apply(rows('job', job('6', 'short')));
  await apply(rows('job', gone('6')));
  expect(await content(seen)).toEqual(visible);
  expect(await content(image)).toEqual([
    ...[
      [1, 'done', 'of 1'],
      [2, 'done too', 'of 2'],
      [5, 'moved', 'of 4'],
    ],
  ]);
  expect(await content(`SELECT 1 FROM understudy."shop.job#journal" WHERE id IN (4, 6)`)).toEqual(
    [],
  );
  await isolated((session) => releaseOverlay(session, {}));
  expect(await content('SELECT 1 FROM understudy.outcome')).toEqual([]);
  await apply({ kind: 'truncate', table: shop('job') });
  expect(await content(seen)).toEqual(visible);
  expect(await content(image)).toEqual([]);
  await apply(rows('job', job('1', 'again')));
  expect(await content(seen)).toEqual(visible);
  expect(await content(image)).toEqual([[1, 'again', 'of 1']]);
});

it('stay so while both write at the same time', async () => {
  await tables(
    `CREATE TABLE job (id int PRIMARY KEY, state text);
    INSERT INTO job SELECT i, 'old' FROM generate_series(0, 11) i`,
    true,
  );
  const clients = await Promise.all(Array.from({ length: 4 }, () => connectTo(url)));
  for (const client of clients) await client.query('SET search_path = shop');
  const seed = baseSeed(process.env['UNDERSTUDY_SEED']);
  const raced = await race({
    ...{ seed, forMs: 3_000 },
    write: (writer, statements, commits) =>
      written(async (sql) => clients[writer]?.query(sql), statements, commits),
    apply: (changes) => {
      const all = [...changes].map(([id, state]) =>
        state === null ? gone(String(id)) : create({ id: String(id), state }),
      );
      return appliedUnlessBlocked(apply(rows('job', ...all)));
    },
  });
  for (const client of clients) await client.end();
  const place = `seed ${String(seed)}, ${String(raced.written)} and ${String(raced.applied)}`;
  expect(Math.min(raced.written, raced.applied), place).toBeGreaterThan(5);
  expect(await content('SELECT id, state FROM job ORDER BY id'), place).toEqual(
    inOrder(raced.visible),
  );
  expect(await content('SELECT id, state FROM shop__production.job ORDER BY id'), place).toEqual(
    inOrder(raced.production),
  );
});
