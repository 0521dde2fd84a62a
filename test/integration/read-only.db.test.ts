/** Tables that a candidate may only read: production's changes come in, and its own are refused. */
import { describe, expect, it } from 'vitest';
import type { TableId } from '../../src/change/table-id.ts';
import { put } from './mysql.fixture.ts';
import { ALL_ENGINES, ruledRollout } from './rollout.fixture.ts';

const REFUSED = /read-only in this rollout/;

const DDL = [
  'CREATE TABLE ref (id INT PRIMARY KEY, v VARCHAR(9))',
  `CREATE TABLE kid (id INT PRIMARY KEY, ref_id INT,
    CONSTRAINT kid_ref FOREIGN KEY (ref_id) REFERENCES ref (id) ON DELETE CASCADE)`,
  'CREATE TABLE own (id INT PRIMARY KEY, v VARCHAR(9))',
  'CREATE TABLE log (v VARCHAR(9))',
];

describe.each(ALL_ENGINES)('a read-only table on %s', (engine) => {
  const scene = async (...names: readonly string[]) => {
    const guarded = new Set(names);
    const rules = { readOnly: ({ name }: TableId): boolean => guarded.has(name) };
    const at = await ruledRollout(engine, rules, ...DDL);
    await at.apply(at.step('ref', put(['id'], { id: '1', v: 'a' })));
    return { at, guarded };
  };

  it('follows production, and refuses each write of the candidate’s', async () => {
    const { at } = await scene('ref', 'log');
    for (const sql of [
      `INSERT INTO ref VALUES (2, 'x')`,
      `UPDATE ref SET v = 'x'`,
      'DELETE FROM ref',
      `INSERT INTO log VALUES ('x')`,
      ...(engine === 'postgresql'
        ? ['TRUNCATE ref CASCADE']
        : [`REPLACE INTO ref VALUES (1, 'x')`]),
    ]) {
      await expect(at.run(sql), sql).rejects.toThrow(REFUSED);
    }
    await at.run(`INSERT INTO own VALUES (1, 'x')`);
    await at.apply(
      at.step('ref', put(['id'], { id: '1', v: 'b' }), put(['id'], { id: '3', v: 'c' })),
    );
    expect(await at.rows('SELECT id, v FROM ref ORDER BY id')).toEqual([
      [1, 'b'],
      [3, 'c'],
    ]);
    expect(await at.database.overlayRows(9)).toMatchObject([{ key: ['1'], kind: 'insert' }]);
    // What guards is nothing that captures, and the other way round.
    expect(await at.database.watchCapture(at.fence)).toEqual([]);
  });

  it('refuses what a cascade does to its rows, and only that', async () => {
    const { at } = await scene('kid');
    await at.apply(
      at.step('ref', put(['id'], { id: '2', v: 'b' })),
      at.step('kid', put(['id'], { id: '7', ref_id: '2' })),
    );
    await at.run('DELETE FROM ref WHERE id = 1');
    await expect(at.run('DELETE FROM ref WHERE id = 2')).rejects.toThrow(REFUSED);
    expect(await at.rows('SELECT id FROM ref')).toEqual([[2]]);
  });

  it('is so by the rules as they are by now, and though somebody drops what guards it', async () => {
    const { at, guarded } = await scene('ref');
    const write = `UPDATE ref SET v = 'x' WHERE id = 1`;
    const name = engine === 'postgresql' ? '"!understudy_read_only" ON ref' : '`ref#understudy_ru`';
    await at.rows(`DROP TRIGGER ${name}`);
    await at.database.guardReadOnly(at.fence);
    await expect(at.run(write)).rejects.toThrow(REFUSED);
    guarded.delete('ref');
    guarded.add('own');
    await at.database.guardReadOnly(at.fence);
    await at.run(write);
    await expect(at.run(`INSERT INTO own VALUES (1, 'x')`)).rejects.toThrow(REFUSED);
  });

  it('stays so through a migration, which may make tables of the candidate’s own', async () => {
    const { at, guarded } = await scene('ref');
    guarded.add('made').add('renamed');
    const { migrations } = at.database;
    const { url } = await migrations.begin(at.fence, { role: at.role, renames: [] });
    await at.as(url, 'ALTER TABLE ref ADD COLUMN more INT');
    await at.as(url, 'CREATE TABLE made (id INT PRIMARY KEY)');
    await migrations.end(at.fence);
    await at.database.guardReadOnly(at.fence);
    await at.run('INSERT INTO made VALUES (1)');
    await expect(at.run('UPDATE ref SET more = 1')).rejects.toThrow(REFUSED);
    await at.apply(at.step('ref', put(['id'], { id: '1', v: 'z' })));
    expect(await at.rows('SELECT id, v FROM ref')).toEqual([[1, 'z']]);
  });

  it('is guarded later where somebody is at it, and what captures is made again all the same', async () => {
    const { at, guarded } = await scene();
    const candidate = await at.session();
    await candidate('BEGIN');
    await candidate('INSERT INTO own VALUES (5, $$x$$)'.replaceAll('$$', "'"));
    guarded.add('own');
    await at.rows(
      engine === 'postgresql'
        ? 'ALTER TABLE ref DISABLE TRIGGER ALL'
        : 'DROP TRIGGER `ref#understudy_au`',
    );
    expect(await at.database.watchCapture(at.fence)).toMatchObject([{ name: 'ref' }]);
    await expect(at.database.guardReadOnly(at.fence)).rejects.toMatchObject({
      code: 'APPLY_BLOCKED',
    });
    expect(await at.database.captureGaps()).toMatchObject([{ name: 'ref' }]);
    await candidate('COMMIT');
    await at.database.guardReadOnly(at.fence);
    await expect(at.run('DELETE FROM own')).rejects.toThrow(REFUSED);
  });
});
