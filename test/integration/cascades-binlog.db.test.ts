/** What foreign keys do to rows of others, where the log does not hold it. */
import { describe, expect, it } from 'vitest';
import { ENGINES, gone, put, rowsStep, stageOf } from './mysql.fixture.ts';

describe.each(ENGINES)('on %s', (engine) => {
  it('lets the server do what foreign keys do where the log does not hold it', async () => {
    const stage = await stageOf(
      engine,
      'CREATE TABLE folder (id INT PRIMARY KEY, code INT UNIQUE)',
      `CREATE TABLE file (id INT PRIMARY KEY, folder INT, up INT,
        FOREIGN KEY (folder) REFERENCES folder (code) ON DELETE CASCADE ON UPDATE CASCADE,
        FOREIGN KEY (up) REFERENCES file (id) ON DELETE CASCADE)`,
      `CREATE TABLE line (id INT PRIMARY KEY, file INT,
        FOREIGN KEY (file) REFERENCES file (id) ON DELETE SET NULL)`,
      `CREATE TABLE held (id INT PRIMARY KEY, folder INT,
        FOREIGN KEY (folder) REFERENCES folder (id) ON DELETE RESTRICT)`,
    );
    const table = (name: string) => ({ schema: stage.source, name });
    const rules = [...(await stage.database.catalogue()).values()].flatMap(({ id, foreignKeys }) =>
      foreignKeys.map(({ columns, unlogged }) => [id.name, columns[0], unlogged]),
    );
    // MySQL writes to its log what its foreign keys do.
    const logged = engine === 'mysql';
    expect(rules).toEqual([
      ['file', 'folder', logged ? undefined : { onDelete: true, onUpdate: true }],
      ['file', 'up', logged ? undefined : { onDelete: true, onUpdate: false }],
      ['held', 'folder', undefined],
      ['line', 'file', logged ? undefined : { onDelete: true, onUpdate: false }],
    ]);
    const file = (id: string, folder: string | null, up: string | null) =>
      put(['id'], { id, folder, up });
    await stage.apply(
      rowsStep(
        stage,
        'folder',
        ...['1', '2', '3', '4'].map((id) => put(['id'], { id, code: `${id}0` })),
      ),
      rowsStep(stage, 'file', file('1', '10', null), file('2', null, '1'), file('3', '20', null)),
      rowsStep(stage, 'file', file('5', '40', null)),
      rowsStep(stage, 'line', ...['1', '2', '3', '5'].map((id) => put(['id'], { id, file: id }))),
      rowsStep(stage, 'held', put(['id'], { id: '1', folder: '3' })),
    );
    // A row that comes back after its parent went, in the same batch; and one that refers to another
    // value of its parent's; and a parent that cannot have gone where keys were checked.
    await stage.apply(
      {
        ...{ kind: 'cascade', table: table('folder') },
        changes: [
          { kind: 'delete', key: ['1'] },
          { kind: 'delete', key: ['3'] },
          { kind: 'update', key: ['2'], columns: [['code', '21']] },
        ],
      },
      rowsStep(stage, 'folder', gone('3'), put(['id'], { id: '1', code: '10' })),
      rowsStep(stage, 'file', file('2', '10', null)),
    );
    expect(await stage.rows('SELECT id, code FROM folder ORDER BY id')).toEqual([
      { id: 1, code: 10 },
      { id: 2, code: 21 },
      { id: 4, code: 40 },
    ]);
    expect(await stage.rows('SELECT id, folder, up FROM file ORDER BY id')).toEqual([
      { id: 2, folder: 10, up: null },
      { id: 3, folder: 21, up: null },
      { id: 5, folder: 40, up: null },
    ]);
    expect(await stage.rows('SELECT id, file FROM line ORDER BY id')).toEqual([
      { id: 1, file: null },
      { id: 2, file: null },
      { id: 3, file: 3 },
      { id: 5, file: 5 },
    ]);
    expect(await stage.rows('SELECT id, folder FROM held')).toEqual([{ id: 1, folder: 3 }]);
    // The session checks no more than before.
    await stage.apply(rowsStep(stage, 'file', file('9', '999', null)));
    expect(await stage.rows('SELECT id FROM file WHERE id = 9')).toEqual([{ id: 9 }]);
  });
});
