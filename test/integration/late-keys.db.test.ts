/** Keys that are checked at the end of a transaction: two rows may have one for a while. */
import { expect, it } from 'vitest';
import { apply, content, gone, put, rows, tables, user, useShop } from './apply.fixture.ts';

useShop();

const TABLE = `CREATE TABLE t (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, a text);
  INSERT INTO t VALUES (1, 'p')`;
const base = (): Promise<readonly unknown[]> =>
  content('SELECT id, a FROM shop__production.t ORDER BY id');

it.each([
  ['deleted', gone('1'), []],
  ['changed', put(['id'], { id: '1', a: 'again' }), [[1, 'again']]],
] as const)(
  'a snapshot that still has a row which production %s takes it for no image of production’s',
  async (_, change, after) => {
    await tables(TABLE, true);
    await user.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await user.query('SELECT FROM t');
    await apply(rows('t', change));
    await expect(user.query(`INSERT INTO t VALUES (1, 'mine')`)).rejects.toMatchObject({
      code: '40001',
    });
    await user.query('ROLLBACK');
    expect(await base()).toEqual(after);
    expect(await content('SELECT id, a FROM t')).toEqual(after);
    // Beside one that is there still, as production has it.
    await user.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await user.query(`INSERT INTO t VALUES (1, 'mine')`);
    await user.query(`DELETE FROM t WHERE a <> 'mine'`);
    await user.query('COMMIT');
    expect(await base()).toEqual(after);
    expect(await content('SELECT id, a FROM t')).toEqual([[1, 'mine']]);
  },
);
