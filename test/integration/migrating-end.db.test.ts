/** The end of a migration on servers that commit at each of its steps: what is cut off is ended again. */
import { describe, expect, it } from 'vitest';
import { companionName, viewDatabase } from '../../src/dialect/mysql/session/names.ts';
import type { Swept } from '../../src/dialect/overlay.ts';
import { expectExact, scene } from './migrating.fixture.ts';
import { put } from './mysql.fixture.ts';
import { anyRollout } from './rollout.fixture.ts';

describe.each(['mysql', 'mariadb'] as const)('the end of a migration on %s', (engine) => {
  it('that is cut off in its midst is ended again, and loses nothing', async () => {
    const { at, production, kinds } = await scene(engine);
    const { migrations, name } = at.database;
    const { url } = await migrations.begin(at.fence, { role: at.role, renames: [] });
    await at.as(
      url,
      `ALTER TABLE thing DROP COLUMN old; UPDATE thing SET name = 'm' WHERE id = 1;
      CREATE TABLE added (id INT AUTO_INCREMENT PRIMARY KEY); INSERT INTO added VALUES (1)`,
    );
    // What captures is there by then, and the views come last.
    const inTheWay = `\`${viewDatabase(name, 'difference')}\`.other`;
    await at.rows(`CREATE TABLE ${inTheWay} (id INT)`);
    for (let i = 0; i < 2; i += 1) await expect(migrations.end(at.fence)).rejects.toThrow(/./);
    await at.rows(`DROP TABLE ${inTheWay}`);
    expect(await migrations.end(at.fence)).toMatchObject({
      reshaped: [{ table: { name: 'thing' }, without: ['old'] }],
      own: [{ name: 'added' }],
    });
    await expectExact(production);
    expect(await at.production('other', 'id, v')).toEqual([
      [1, 'a'],
      [2, 'b'],
    ]);
    expect((await kinds()).toSorted()).toEqual(
      [
        ...['added 1 insert', 'thing 1 update', 'thing 100 insert', 'thing 2 update'],
        'thing 3 delete',
      ].toSorted(),
    );
    await at.apply(at.step('other', put(['id'], { id: '3', v: 'c' })));
    expect(await at.rows('SELECT COUNT(*) FROM other')).toEqual([['3']]);
  });

  it('takes no column for renamed that it left as it was', async () => {
    const { at, production, migrate, rename, kinds } = await scene(engine);
    await at.run(`UPDATE thing SET note = 'mine' WHERE id = 4`);
    const { reshaped } = await migrate('ALTER TABLE thing ADD COLUMN extra INT', {
      renames: [rename],
    });
    expect(reshaped).toMatchObject([{ without: [], renamed: {}, own: ['extra'] }]);
    expect(await kinds()).toContain('thing 4 update');
    await production.put(1, { note: 'later' });
    await production.put(4, { note: 'later' });
    await expectExact(production);
    expect(await at.rows('SELECT note FROM thing WHERE id IN (1, 4) ORDER BY id')).toEqual([
      ['later'],
      ['mine'],
    ]);
  });

  it('leaves no row of the candidate’s to production that was kept out before', async () => {
    const { at, production, kinds } = await scene(engine);
    await at.run('CREATE UNIQUE INDEX by_qty ON thing (qty)').catch(() => undefined);
    const { migrations } = at.database;
    const begin = () => migrations.begin(at.fence, { role: at.role, renames: [] });
    const first = await begin();
    await at.as(first.url, 'ALTER TABLE thing ADD CONSTRAINT few CHECK (qty < 1000)');
    await migrations.end(at.fence);
    await production.put(1, { qty: '5000' });
    await production.put(4, { qty: '5000' });
    expect(await kinds()).toEqual(expect.arrayContaining(['thing 1 blocked', 'thing 4 blocked']));
    const { url } = await begin();
    await at.as(
      url,
      `UPDATE thing SET name = 'mine' WHERE id = 1; ALTER TABLE thing DROP CHECK few`.replace(
        'DROP CHECK',
        engine === 'mysql' ? 'DROP CHECK' : 'DROP CONSTRAINT',
      ),
    );
    await migrations.end(at.fence);
    for (let place: string | null = null; ;) {
      const { next }: Swept = await at.database.sweepOverlay(at.fence, place);
      if (next === null) break;
      place = next;
    }
    await production.put(1, { note: 'later' });
    expect(await at.rows('SELECT name FROM thing WHERE id = 1')).toEqual([['mine']]);
    expect(await kinds()).toContain('thing 1 update');
    await expectExact(production);
  });

  it('numbers rows of a swapped table above production’s, and forgets tables that went', async () => {
    const at = await anyRollout(
      engine,
      'CREATE TABLE thing (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(9))',
    );
    await at.apply(at.step('thing', put(['id'], { id: '1', v: 'a' })));
    const migrate = async (sql: string) => {
      const { url } = await at.database.migrations.begin(at.fence, { role: at.role, renames: [] });
      await at.as(url, sql);
      await at.database.migrations.end(at.fence);
    };
    await migrate(
      `CREATE TABLE thing_new LIKE thing; INSERT INTO thing_new SELECT * FROM thing;
      RENAME TABLE thing TO thing_old, thing_new TO thing; DROP TABLE thing_old;
      CREATE TABLE coupon (id INT PRIMARY KEY); INSERT INTO coupon VALUES (1)`,
    );
    await at.run(`INSERT INTO thing (v) VALUES ('mine')`);
    const [[most] = []] = await at.rows('SELECT MAX(id) FROM thing');
    expect(Number(most)).toBeGreaterThan(1_000_000);
    await migrate('DROP TABLE coupon');
    const journals = await at.rows(
      `SELECT TABLE_NAME FROM information_schema.TABLES
        WHERE TABLE_SCHEMA = '${companionName(at.database.name)}' AND TABLE_NAME LIKE 'coupon%'`,
    );
    expect(journals).toEqual([]);
  });
});
