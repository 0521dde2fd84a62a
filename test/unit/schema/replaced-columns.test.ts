import { describe, expect, test } from 'vitest';
import type { SchemaChangeRecord, ToldTable } from '../../../src/change/table-change.ts';
import { mayReplace, replacedColumns } from '../../../src/schema/replaced-columns.ts';
import { adds, drops, renamesInto } from '../../../src/schema/told-changes.ts';
import { textTable } from '../../support/change-events.ts';

const T = { schema: 'shop', name: 't' };

function told(
  columns: string,
  ddl: string,
  kind: ToldTable['kind'] = 'altered',
): SchemaChangeRecord {
  const made = columns.split(' ').map((name) => ({ name, nullable: true, default: null }));
  return {
    ...{ kind: 'schema-change', at: { topic: 'p', partition: 0, offset: 0n }, eventTimeMs: null },
    source: { connector: 'mysql', file: null, pos: null, row: 0, gtid: null },
    database: 'shop',
    ...{ ddl, snapshot: false, tables: [{ table: T, kind, columns: made, key: ['id'] }] },
  };
}

const MADE = told('id a b', 'CREATE TABLE t …', 'created');

/** Of a shadow's table with these columns, by the last statement. */
const replaced = (
  columns: string,
  history: readonly SchemaChangeRecord[],
  former: ReadonlyMap<string, string | null> = new Map(),
): readonly string[] =>
  replacedColumns({ ...textTable('t', columns.split(' ')), id: T, former }, history);

describe('a column is replaced', () => {
  test.each([
    ['dropped and added in one statement', [told('id a b', 'ALTER TABLE t DROP a, ADD a INT')]],
    [
      'dropped and added in two',
      [
        told('id b', 'ALTER TABLE t DROP COLUMN `a`'),
        told('id b a', 'ALTER TABLE t ADD COLUMN a INT'),
      ],
    ],
  ])('that is %s', (_, statements) => {
    expect(replaced('id a b', [MADE, ...statements])).toEqual(['a']);
    expect(replaced('id b', [MADE, ...statements])).toEqual([]);
  });

  test('whose name another got, in one statement or in three', () => {
    const swap = 'ALTER TABLE t RENAME COLUMN a TO b, RENAME COLUMN b TO a';
    expect(replaced('id a b', [MADE, told('id b a', swap)])).toEqual(['a', 'b']);
    const change = 'ALTER TABLE t CHANGE a b INT, CHANGE COLUMN `b` `a` INT';
    expect(replaced('id a b', [MADE, told('id b a', change)])).toEqual(['a', 'b']);
    const steps = [
      told('id c b', 'ALTER TABLE t RENAME COLUMN a TO c'),
      told('id c a', 'ALTER TABLE t RENAME COLUMN b TO a'),
      told('id b a', 'ALTER TABLE t RENAME COLUMN c TO b'),
    ];
    expect(replaced('id a b', [MADE, ...steps.slice(0, 2)])).toEqual(['a']);
    expect(replaced('id a b', [MADE, ...steps])).toEqual(['b']);
  });
});

describe('a column is not replaced', () => {
  test('that is new, or has its own name again', () => {
    const added = told('id a b c', 'ALTER TABLE t ADD c INT');
    expect(replaced('id a b c', [MADE, added])).toEqual([]);
    const back = [
      told('id c b', 'ALTER TABLE t CHANGE a c INT'),
      told('id a b', 'ALTER TABLE t CHANGE c a INT'),
    ];
    expect(replaced('id a b', [MADE, ...back])).toEqual([]);
  });

  test('that was renamed as the shadow’s was, or before there was a shadow', () => {
    const renamed = [MADE, told('id c b', 'ALTER TABLE t RENAME COLUMN a TO c')];
    expect(replaced('id c b', renamed, new Map([['a', 'c']]))).toEqual([]);
    expect(replaced('id c b', renamed)).toEqual([]);
  });

  test('by a statement that concerns others', () => {
    const others = told('id a b c', 'ALTER TABLE t DROP INDEX a, ADD INDEX a (b), ADD c INT');
    expect(replaced('id a b c', [MADE, others])).toEqual([]);
    expect(replaced('id a b', [MADE, told('id b', 'ALTER TABLE t DROP a')])).toEqual([]);
  });
});

test('what a statement says is read by words, and not in texts or comments', () => {
  expect(drops('ALTER TABLE t DROP IF EXISTS `a`, ADD x INT', 'a')).toBe(true);
  expect(drops('ALTER TABLE t DROP ab', 'a')).toBe(false);
  expect(drops("ALTER TABLE t COMMENT 'drop a' /* drop a */", 'a')).toBe(false);
  expect(drops('ALTER TABLE t DROP FOREIGN KEY a', 'a')).toBe(false);
  expect(adds('ALTER TABLE t ADD (x INT, a INT)', 'a')).toBe(true);
  expect(adds('ALTER TABLE t ADD a INT', 'a')).toBe(true);
  expect(adds('ALTER TABLE t ADD INDEX a (x)', 'a')).toBe(false);
  expect(renamesInto('ALTER TABLE t CHANGE COLUMN `it``s` a INT, CHANGE a a INT', 'a')).toEqual([
    'it`s',
  ]);
  const table = textTable('t', ['id', 'a']);
  expect(mayReplace(table, 'ALTER TABLE t MODIFY a BIGINT')).toBe(false);
  expect(mayReplace(table, 'ALTER TABLE t RENAME COLUMN b TO a')).toBe(true);
});
