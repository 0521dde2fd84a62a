/**
 * A candidate's migration: production's image stays exact through it and after, whatever it did to tables and
 * rows, and production's changes go on into what it made.
 */
import { describe, expect, it } from 'vitest';
import { tableName } from '../../src/change/table-id.ts';
import type { SchemaChange } from '../../src/schema/schema-change.ts';
import { gone, put } from './mysql.fixture.ts';
import { CLOSED, expectExact, row, scene } from './migrating.fixture.ts';
import { ALL_ENGINES, anyRollout, trustPrograms } from './rollout.fixture.ts';

describe.each(ALL_ENGINES)('a migration on %s', (engine) => {
  const retype =
    engine === 'postgresql' ? 'ALTER COLUMN qty TYPE bigint' : 'MODIFY COLUMN qty BIGINT';

  it('adds, drops, renames and retypes columns; production’s image is exact and goes on', async () => {
    const { at, production, migrate, rename, kinds } = await scene(engine);
    const outcome = await migrate(
      `ALTER TABLE thing ADD COLUMN full_name VARCHAR(50) NOT NULL DEFAULT 'x';
      ALTER TABLE thing DROP COLUMN old;
      ALTER TABLE thing RENAME COLUMN note TO remark;
      ALTER TABLE thing ${retype};
      UPDATE thing SET full_name = name;
      UPDATE thing SET qty = qty + 100 WHERE id = 4;
      CREATE TABLE added (id INT PRIMARY KEY, v INT);
      INSERT INTO added VALUES (1, 1);
      CREATE INDEX by_name ON thing (name)`,
      { renames: [rename], beside: `UPDATE thing SET name = 'mid' WHERE id = 5` },
    );
    expect(outcome).toMatchObject({
      reshaped: [
        {
          ...{ table: { name: 'thing' }, visible: { name: 'thing' }, without: ['old'] },
          ...{ renamed: { note: 'remark' }, own: ['full_name'] },
        },
      ],
      own: [{ name: 'added' }],
      notCaptured: [],
    });
    await expectExact(production);
    const owned = ['added 1 insert', 'thing 100 insert', 'thing 2 update', 'thing 3 delete'];
    expect((await kinds()).toSorted()).toEqual(
      [...owned, 'thing 4 update', 'thing 5 update'].toSorted(),
    );
    // Who follows knows production's tables, and none but these.
    const catalogue = await at.database.catalogue();
    expect(
      [...catalogue.keys()].filter((label) => /\.(thing|other|added)$/.test(label)).length,
    ).toBe(2);
    const thing = catalogue.get(tableName({ schema: at.source, name: 'thing' }));
    expect(thing?.columns.map(({ name }) => name)).toEqual(['id', 'name', 'qty', 'note', 'old']);

    for (const id of [1, 2, 3, 4])
      await production.put(id, { name: `later${id}`, note: 'told', old: 'z' });
    await production.put(7, row(7));
    await production.delete(5);
    await production.delete(6);
    await expectExact(production);
    const seen = await at.rows('SELECT id, name, qty, remark, full_name FROM thing ORDER BY id');
    expect(seen.map(([id, name, qty, ...rest]) => [id, name, Number(qty), ...rest])).toEqual([
      [1, 'later1', 1, 'told', 'n1'],
      [2, 'mine', 2, 'note2', 'mine'],
      [4, 'n4', 104, 'note4', 'n4'],
      [5, 'mid', 5, 'note5', 'mid'],
      [7, 'n7', 7, 'note7', 'x'],
      [100, 'new', 1, 'n', 'new'],
    ]);
    // What it writes from then on is captured, in the new shape.
    await at.run(`UPDATE thing SET remark = 'mine too' WHERE id = 7`);
    await at.run('UPDATE added SET v = 2');
    expect(await kinds()).toContain('thing 7 update');
    await production.put(7, { name: 'later7' });
    await expectExact(production);
    await at.database.resetOverlay(at.fence, { table: { schema: at.source, name: 'thing' } });
    const back = await at.rows('SELECT id, name, qty, remark FROM thing ORDER BY id');
    expect(back.map(([id, name, qty, remark]) => [id, name, Number(qty), remark])).toEqual(
      (await at.production('thing', 'id, name, qty, note')).map(([id, name, qty, note]) => [
        ...[id, name, Number(qty), note],
      ]),
    );
    await expectExact(production);
  });

  it('that changes no shape leaves nothing beside, and captures what it wrote', async () => {
    const { at, production, migrate, kinds } = await scene(engine);
    const outcome = await migrate(
      `CREATE INDEX by_name ON thing (name); UPDATE thing SET name = 'm' WHERE id = 1;
      DELETE FROM thing WHERE id = 100`,
    );
    expect(outcome).toEqual({ reshaped: [], own: [], notCaptured: [] });
    expect(await kinds()).toEqual(['thing 2 update', 'thing 3 delete', 'thing 1 update']);
    for (const id of [1, 2, 3, 4]) await production.put(id, { name: `later${id}` });
    await expectExact(production);
    await at.database.resetOverlay(at.fence, {});
    expect(await at.rows('SELECT id, name, note FROM thing ORDER BY id')).toEqual(
      await at.production('thing', 'id, name, note'),
    );
  });

  it('drops a table of production’s: its rows are kept, and go on in its image alone', async () => {
    const { at, production, migrate, kinds } = await scene(engine);
    const outcome = await migrate('DROP TABLE thing');
    expect(outcome.reshaped).toMatchObject([{ table: { name: 'thing' }, visible: null }]);
    await expectExact(production);
    await production.put(1, { name: 'later' });
    await production.delete(2);
    await production.put(8, row(8));
    await expectExact(production);
    await at.run(`UPDATE other SET v = 'm' WHERE id = 1`);
    expect(await kinds()).toEqual(['other 1 update']);
  });

  it('comes after another one, and what both did holds', async () => {
    const { production, migrate, at, rename, kinds } = await scene(engine);
    await migrate(
      'ALTER TABLE thing RENAME COLUMN note TO remark; CREATE TABLE added (id INT PRIMARY KEY)',
      {
        renames: [rename],
      },
    );
    await production.put(1, { note: 'between' });
    await migrate(
      'ALTER TABLE thing DROP COLUMN old; ALTER TABLE added ADD COLUMN v INT; INSERT INTO added VALUES (1, 1)',
    );
    await production.put(4, { note: 'after', old: 'kept' });
    await expectExact(production);
    expect(await at.rows('SELECT remark FROM thing WHERE id IN (1, 4) ORDER BY id')).toEqual([
      ['between'],
      ['after'],
    ]);
    expect((await kinds()).toSorted()).toEqual(
      ['added 1 insert', 'thing 100 insert', 'thing 2 update', 'thing 3 delete'].toSorted(),
    );
  });

  it('changes what production may be refused for: that is told, and the rest goes on', async () => {
    const { at, production, migrate } = await scene(engine);
    await migrate(
      'CREATE UNIQUE INDEX one_name ON thing (name); ALTER TABLE thing ADD COLUMN extra INT',
    );
    await production.put(1, { name: 'free' });
    await expectExact(production);
    expect(await at.rows('SELECT name, extra FROM thing WHERE id = 1')).toEqual([['free', null]]);
  });

  it('is left as it is when production changes its own schema, which its image follows', async () => {
    const { at, production, migrate, rename } = await scene(engine);
    await migrate(
      'ALTER TABLE thing RENAME COLUMN note TO remark; ALTER TABLE thing ADD COLUMN later INT; CREATE TABLE added (id INT PRIMARY KEY)',
      { renames: [rename] },
    );
    const table = { schema: at.source, name: 'thing' };
    const catalogue = await at.database.catalogue();
    const column = (name: string) => {
      const found = catalogue.get(tableName(table))?.columns.find((one) => one.name === name);
      if (found === undefined) throw new Error(`there is no column ${name}`);
      return found;
    };
    const carry = (change: SchemaChange, clause: string) =>
      at.database.evolving.carry(at.fence, [
        {
          change,
          statements: [{ sql: `ALTER TABLE thing ${clause}`, what: 'thing', optional: false }],
          beside: (beside) => [`ALTER TABLE ${beside} ${clause}`],
        },
      ]);
    // Of the name that the candidate has for one of its own.
    const later = { ...column('name'), name: 'later' };
    await carry({ kind: 'add', table, column: later }, 'ADD COLUMN later VARCHAR(20)');
    await carry(
      {
        kind: 'rename',
        table,
        from: column('old'),
        to: { ...column('old'), name: 'former' },
        certain: true,
      },
      'RENAME COLUMN old TO former',
    );
    await carry({ kind: 'drop', table, column: column('qty') }, 'DROP COLUMN qty');
    const names = (await at.database.catalogue()).get(tableName(table))?.columns;
    expect(names?.map(({ name }) => name)).toEqual(['id', 'name', 'note', 'former', 'later']);
    await at.apply(
      at.step('thing', put(['id'], { id: '1', name: 'n', note: 'told', former: 'f', later: 'l' })),
    );
    expect(await at.production('thing', 'id, name, note, former, later')).toContainEqual([
      ...[1, 'n', 'told', 'f', 'l'],
    ]);
    expect(await at.production('thing', 'id')).toHaveLength(production.rows.size);
    expect(
      await at.rows('SELECT id, name, remark, old, qty, later FROM thing WHERE id = 1'),
    ).toEqual([[1, 'n', 'told', 'f', 1, null]]);
    const own = { schema: at.source, name: 'added' };
    await expect(
      carry({ kind: 'newTable', table: own, certain: true }, 'CREATE TABLE added (id INT)'),
    ).rejects.toMatchObject({ code: 'SCHEMA_FAILED' });
    await expect(
      carry({ kind: 'key', table, from: ['id'], to: ['name'], primary: true }, 'DROP PRIMARY KEY'),
    ).rejects.toMatchObject({ code: 'SCHEMA_FAILED' });
  });

  it('that a crash cut off is ended by who takes the fence next', async () => {
    const { at, production, kinds } = await scene(engine);
    const { url } = await at.database.migrations.begin(at.fence, { role: at.role, renames: [] });
    await at.as(url, `ALTER TABLE thing DROP COLUMN old; UPDATE thing SET name = 'm' WHERE id = 1`);
    await at.database.releaseFence(at.fence);
    const fence = await at.database.takeFence('another');
    expect(fence).not.toBeNull();
    await expect(at.as(url, 'SELECT 1')).rejects.toThrow(CLOSED);
    await expectExact(production);
    expect((await kinds()).toSorted()).toEqual(
      ['thing 1 update', 'thing 100 insert', 'thing 2 update', 'thing 3 delete'].toSorted(),
    );
    await at.run(`UPDATE thing SET name = 'own' WHERE id = 6`);
    expect(await kinds()).toContain('thing 6 update');
  });
});

describe.each(['mysql', 'mariadb'] as const)('what a migration defines on %s', (engine) => {
  it('acts for the candidate with its rights, and not on what is applied', async () => {
    const { at, production, migrate, kinds } = await scene(engine);
    await trustPrograms(at);
    await migrate(
      `CREATE TABLE seen (id INT AUTO_INCREMENT PRIMARY KEY, thing INT);
      CREATE TRIGGER sees AFTER UPDATE ON thing FOR EACH ROW INSERT INTO seen (thing) VALUES (NEW.id);
      CREATE VIEW named AS SELECT id, name FROM thing;
      CREATE PROCEDURE rename_all() UPDATE thing SET name = 'all' WHERE id < 2`,
    );
    await production.put(4, { name: 'later' });
    await production.put(1, { name: 'later' });
    expect(await at.rows('SELECT thing FROM seen')).toEqual([]);
    await at.run('CALL rename_all()');
    expect(await at.rows('SELECT thing FROM seen')).toEqual([[1]]);
    expect(await at.rows('SELECT name FROM named WHERE id = 1')).toEqual([['all']]);
    await at.run(`UPDATE thing SET name = 'mine' WHERE id = 4`);
    expect(await kinds()).toEqual(expect.arrayContaining(['thing 1 update', 'thing 4 update']));
    await expectExact(production);
    await expect(at.run('TRUNCATE thing')).rejects.toThrow('denied');
  });
});

describe('a migration of a partitioned table', () => {
  const put2 = (id: number, at: number, v: string) =>
    put(['at', 'id'], { id: String(id), at: String(at), v });

  it('goes on with what production says of its partitions, by their names', async () => {
    const at = await anyRollout(
      'postgresql',
      'CREATE TABLE m (id int, at int, v text, PRIMARY KEY (at, id)) PARTITION BY RANGE (at)',
      'CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (10)',
      'CREATE TABLE m2 PARTITION OF m FOR VALUES FROM (10) TO (20)',
    );
    await at.apply(
      at.step('m1', put2(1, 1, 'a'), put2(2, 2, 'b')),
      at.step('m2', put2(3, 11, 'c')),
    );
    await at.run(`UPDATE m SET v = 'mine' WHERE id = 2`);
    const { url } = await at.database.migrations.begin(at.fence, { role: at.role, renames: [] });
    await at.as(
      url,
      `ALTER TABLE m ADD COLUMN extra int DEFAULT 7; ALTER TABLE m DETACH PARTITION m2; DROP TABLE m2`,
    );
    const { reshaped } = await at.database.migrations.end(at.fence);
    expect(reshaped).toMatchObject([
      { table: { name: 'm' }, visible: { name: 'm' }, own: ['extra'] },
    ]);
    expect([...(await at.database.catalogue()).keys()]).toEqual(
      expect.arrayContaining(['public.m', 'public.m1', 'public.m2']) as string[],
    );
    expect(await at.production('m', 'id, v')).toEqual([
      [1, 'a'],
      [2, 'b'],
      [3, 'c'],
    ]);
    await at.apply(
      at.step('m1', put2(1, 1, 'later'), put2(4, 4, 'd')),
      at.step('m2', gone('11', '3')),
    );
    expect(await at.production('m', 'id, v')).toEqual([
      [1, 'later'],
      [2, 'b'],
      [4, 'd'],
    ]);
    expect(await at.rows('SELECT id, v, extra FROM m ORDER BY id')).toEqual([
      [1, 'later', 7],
      [2, 'mine', 7],
      [4, 'd', 7],
    ]);
    await at.run(`UPDATE m SET v = 'too' WHERE id = 4`);
    expect((await at.database.overlayRows(9)).map(({ key, kind }) => [...key, kind])).toEqual([
      ['2', '2', 'update'],
      ['4', '4', 'update'],
    ]);
  });
});

describe('a migration on postgresql that production’s rows do not fit', () => {
  it('keeps them out, as findings about the release, and nothing stops', async () => {
    const { at, production, migrate, kinds } = await scene('postgresql');
    await migrate(
      'ALTER TABLE thing ADD COLUMN must int; UPDATE thing SET must = 1; ALTER TABLE thing ALTER COLUMN must SET NOT NULL',
    );
    await production.put(7, row(7));
    await production.put(1, { name: 'later' });
    await expectExact(production);
    expect(await at.rows('SELECT id, name FROM thing WHERE id IN (1, 7)')).toEqual([[1, 'later']]);
    expect(await kinds()).toContain('thing 7 blocked');
    expect(await at.database.gaps(9)).toEqual([]);
  });
});

describe('a migration on postgresql that renames tables', () => {
  it('follows a table by what it is, also where another one has its name', async () => {
    const { at, production, migrate, kinds } = await scene('postgresql');
    const outcome = await migrate(
      'ALTER TABLE thing RENAME TO thing_old; CREATE TABLE thing (id int PRIMARY KEY); INSERT INTO thing VALUES (1)',
    );
    expect(outcome).toMatchObject({
      reshaped: [{ table: { name: 'thing' }, visible: { name: 'thing_old' } }],
      own: [{ name: 'thing' }],
    });
    await expectExact(production);
    await production.put(1, { name: 'later' });
    await production.put(8, row(8));
    await expectExact(production);
    expect(await at.rows('SELECT id, name FROM thing_old WHERE id IN (1, 8) ORDER BY id')).toEqual([
      [1, 'later'],
      [8, 'n8'],
    ]);
    expect((await kinds()).toSorted()).toEqual(
      [
        'thing 1 insert',
        'thing_old 100 insert',
        'thing_old 2 update',
        'thing_old 3 delete',
      ].toSorted(),
    );
    await using reader = await at.database.openBaseSnapshot();
    const tables = await reader.tables();
    expect([...tables.keys()].filter((label) => label.includes('thing'))).toEqual(['public.thing']);
    const compared = {
      table: { schema: 'public', name: 'thing' },
      key: ['id'],
      columns: ['id', 'name', 'old'],
    };
    const hashes = await reader.rowHashes(compared, [{ from: null, to: null }]);
    expect(hashes).toHaveLength(production.rows.size);
    expect([...(await reader.notCaptured())].filter((label) => label.includes('thing'))).toEqual(
      [],
    );
  });
});
