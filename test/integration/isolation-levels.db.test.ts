/** Candidates above READ COMMITTED meet no error that production would not give, while production's image moves. */
import { describe, expect, it } from 'vitest';
import { gone, put } from './mysql.fixture.ts';
import { ALL_ENGINES, anyRollout } from './rollout.fixture.ts';

const T = 'CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9), n INT)';

describe.each(ALL_ENGINES)('on %s', (engine) => {
  it.each(['REPEATABLE READ', 'SERIALIZABLE'])(
    'a candidate in %s goes on with rows that it owns',
    async (level) => {
      const at = await anyRollout(engine, T);
      const row = (id: string, v: string) => put(['id'], { id, v, n: '0' });
      await at.apply(at.step('t', row('1', 'a'), row('2', 'b'), row('3', 'c')));
      await at.run(`UPDATE t SET v = 'mine' WHERE id = 1`);
      await at.run(`UPDATE t SET v = 'mine' WHERE id = 2`);
      await at.run(`INSERT INTO t VALUES (9, 'new', 0)`);
      const candidate = await at.session();
      await candidate(
        `SET SESSION ${engine === 'postgresql' ? 'CHARACTERISTICS AS ' : ''}TRANSACTION ISOLATION LEVEL ${level}`,
      );
      // A snapshot, of other rows: in SERIALIZABLE these servers lock what is read.
      await candidate('START TRANSACTION');
      await candidate('SELECT * FROM t WHERE id = 3');
      await at.apply(at.step('t', row('1', 'later'), gone('2'), row('9', 'theirs')));
      await candidate('UPDATE t SET n = n + 1 WHERE id = 1');
      await candidate('UPDATE t SET n = n + 1 WHERE id = 2');
      await candidate('DELETE FROM t WHERE id = 9');
      await candidate('COMMIT');
      expect(await at.rows('SELECT id, v, n FROM t ORDER BY id')).toEqual([
        [1, 'mine', 1],
        [2, 'mine', 1],
        [3, 'c', 0],
      ]);
      expect(await at.production('t', 'id, v')).toEqual([
        [1, 'later'],
        [3, 'c'],
        [9, 'theirs'],
      ]);
      expect(
        (await at.database.overlayRows(9)).map(({ key, kind }) => `${key.join()} ${kind}`).sort(),
      ).toEqual(['1 update', '2 insert', '9 delete']);
    },
  );
});
