/**
 * A reset or a release of all there is leaves tables alone that rollouts keep to themselves: with production's
 * rows there, the candidate's workers would do production's jobs. By its name such a table is put back.
 */
import { expect, it } from 'vitest';
import { gone, put } from './mysql.fixture.ts';
import { ALL_ENGINES, ruledRollout } from './rollout.fixture.ts';

it.each(ALL_ENGINES)('on %s', async (engine) => {
  const isolates = ({ name }: { readonly name: string }): boolean => name === 'job';
  const at = await ruledRollout(
    engine,
    { isolates },
    'CREATE TABLE job (id INT PRIMARY KEY, v VARCHAR(9))',
    'CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9))',
  );
  const row = (id: string, v: string) => put(['id'], { id, v });
  await at.apply(at.step('t', row('1', 'a'), row('2', 'b')));
  await at.apply(at.step('job', row('1', 'theirs'), row('2', 'theirs')));
  await at.apply(at.step('job', gone('2')));
  await at.run(`INSERT INTO job VALUES (9, 'mine')`);
  await at.run(`UPDATE t SET v = 'mine' WHERE id = 1`);
  const jobs = () => at.rows('SELECT id, v FROM job ORDER BY id');
  // Rows that production alone wrote are nothing that a reset would have to put back.
  expect(await at.database.releaseOverlay(at.fence, {})).toEqual({ released: 0, kept: 1 });
  expect(await at.database.resetOverlay(at.fence, {})).toBe(1);
  expect(await jobs()).toEqual([[9, 'mine']]);
  expect(await at.rows('SELECT id, v FROM t ORDER BY id')).toEqual([
    [1, 'a'],
    [2, 'b'],
  ]);
  await at.database.resetOverlay(at.fence, { table: { schema: at.source, name: 'job' } });
  expect(await jobs()).toEqual([[1, 'theirs']]);
});
