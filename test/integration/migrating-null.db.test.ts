/** NULL that production sends for a column that the candidate's migration closed is refused, and not made empty. */
import { expect, it } from 'vitest';
import { OVERLAY_WINS } from '../../src/overlay/policy.ts';
import { put } from './mysql.fixture.ts';
import { ALL_ENGINES, ruledRollout } from './rollout.fixture.ts';

it.each(ALL_ENGINES)('on %s, whatever the policy', async (engine) => {
  for (const others of ['overlay-wins', 'merge'] as const) {
    const policies = () => ({ ...OVERLAY_WINS, others });
    const at = await ruledRollout(
      engine,
      { policies },
      'CREATE TABLE t (id INT PRIMARY KEY, b VARCHAR(9), c VARCHAR(9))',
    );
    const row = (id: number, b: string, c: string | null) => put(['id'], { id: String(id), b, c });
    await at.apply(at.step('t', row(1, 'b', 'c'), row(2, 'b', 'c'), row(3, 'b', 'c')));
    const { migrations } = at.database;
    const { url } = await migrations.begin(at.fence, { role: at.role, renames: [] });
    await at.as(
      url,
      engine === 'postgresql'
        ? 'ALTER TABLE t ALTER c SET NOT NULL'
        : 'ALTER TABLE t MODIFY c VARCHAR(9) NOT NULL',
    );
    await migrations.end(at.fence);
    await at.run(`UPDATE t SET b = 'mine' WHERE id = 2`);
    // Beside others, which are written before it.
    await at.apply(at.step('t', row(3, 'x', 'c'), row(1, 'b', null)));
    await at.apply(at.step('t', row(2, 'b', null)));
    await at.apply(at.step('t', row(5, 'b', 'c'), row(6, 'b', null)));
    await at.apply(at.step('t', row(3, 'later', 'c'), row(4, 'b', null), row(7, 'b', null)));
    expect(await at.production('t', 'id, b, c')).toEqual([
      [1, 'b', null],
      [2, 'b', null],
      [3, 'later', 'c'],
      [4, 'b', null],
      [5, 'b', 'c'],
      [6, 'b', null],
      [7, 'b', null],
    ]);
    expect(await at.rows('SELECT id, b, c FROM t ORDER BY id')).toEqual([
      [1, 'b', 'c'],
      [2, 'mine', 'c'],
      [3, 'later', 'c'],
      [5, 'b', 'c'],
    ]);
  }
});
