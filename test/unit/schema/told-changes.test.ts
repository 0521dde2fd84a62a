import { describe, expect, test } from 'vitest';
import type { SchemaChangeRecord, ToldTable } from '../../../src/change/table-change.ts';
import { describeChange, type SchemaChange } from '../../../src/schema/schema-change.ts';
import type { ColumnSchema } from '../../../src/schema/table-schema.ts';
import { becameOf, clarified, wasDropped } from '../../../src/schema/told-changes.ts';

const T = { schema: 'shop', name: 't' };

const column = (name: string): ColumnSchema => ({
  ...{ name, type: { sql: 'int', kind: 'int32' }, nullable: true, generated: 'no' },
  ...{ identity: 'no', toastable: false },
});

function told(
  kind: ToldTable['kind'],
  columns: string,
  ddl: string,
  table = T,
): SchemaChangeRecord {
  const names = columns.split(' ').map((name) => ({ name, nullable: true, default: null }));
  return {
    ...{ kind: 'schema-change', at: { topic: 'p', partition: 0, offset: 0n }, eventTimeMs: null },
    source: { connector: 'mysql', file: null, pos: null, row: 0, gtid: null },
    database: 'shop',
    ...{ ddl, snapshot: false, tables: [{ table, kind, columns: names, key: ['id'] }] },
  };
}

const rename = (from: string, to: string): SchemaChange => ({
  ...{ kind: 'rename', table: T, from: column(from), to: column(to), certain: false },
});
const drop = (name: string): SchemaChange => ({ kind: 'drop', table: T, column: column(name) });
const add = (name: string): SchemaChange => ({ kind: 'add', table: T, column: column(name) });

function words(
  changes: readonly SchemaChange[],
  ...history: SchemaChangeRecord[]
): readonly string[] {
  return clarified(changes, history).map((change) =>
    change.kind === 'add' && change.told !== undefined
      ? `${describeChange(change)} by ${change.told.ddl}`
      : describeChange(change),
  );
}

const MADE = told('created', 'id a', 'CREATE TABLE t …');

describe('a column that may be renamed', () => {
  test.each([
    ['ALTER TABLE t RENAME COLUMN a TO b'],
    ['alter table t rename column `a` to `b`'],
    ['ALTER TABLE t CHANGE a b INT'],
    ['ALTER TABLE t RENAME COLUMN "a" TO "b"'],
    ['ALTER TABLE t RENAME COLUMN IF EXISTS a TO b'],
    ['ALTER TABLE t RENAME /* it */ COLUMN a/**/TO b'],
    ['ALTER TABLE t CHANGE COLUMN `a` `b` INT, ADD c INT'],
  ])('is so by %s', (ddl) => {
    expect(words([rename('a', 'b')], MADE, told('altered', 'id b', ddl))).toEqual([
      'column a renamed to b',
    ]);
  });

  test.each([
    ['ALTER TABLE t DROP a, ADD b INT'],
    ['ALTER TABLE t RENAME COLUMN aa TO b, DROP a'],
    ['ALTER TABLE t RENAME COLUMN a TO bb, ADD b INT'],
  ])('was dropped, and another added, by %s', (ddl) => {
    expect(words([rename('a', 'b')], MADE, told('altered', 'id b', ddl))).toEqual([
      'column a dropped',
      `column b added by ${ddl}`,
    ]);
  });

  test('is found through several names, and beside one that was dropped', () => {
    const history = [
      told('created', 'id a other', 'CREATE'),
      told('altered', 'id a2 other', 'ALTER TABLE t RENAME COLUMN a TO a2'),
      told('altered', 'id a2', 'ALTER TABLE t DROP other'),
      told('altered', 'id b', 'ALTER TABLE t CHANGE a2 b INT'),
    ];
    expect(words([rename('other', 'b'), drop('a')], ...history)).toEqual([
      'column a renamed to b',
      'column other dropped',
    ]);
  });

  test('stays unclear where nothing is told of it', () => {
    const unclear = ['column a gone, and new is b'];
    expect(words([rename('a', 'b')])).toEqual(unclear);
    expect(words([rename('a', 'b')], told('altered', 'id b', 'ALTER TABLE t …'))).toEqual(unclear);
    const other = told('altered', 'id b', 'ALTER TABLE u RENAME COLUMN a TO b', {
      schema: 'shop',
      name: 'u',
    });
    expect(words([rename('a', 'b')], MADE, other)).toEqual(unclear);
  });
});

describe('a column that was added', () => {
  test('is told of by the last statement that made it', () => {
    const history = [
      MADE,
      told('altered', 'id a b', 'first'),
      told('altered', 'id a', 'gone again'),
      told('altered', 'id a b', 'second'),
      told('altered', 'id a b c', 'another'),
    ];
    expect(words([add('b')], ...history)).toEqual(['column b added by second']);
  });

  test('is not told of by the statement that made its table', () => {
    expect(words([add('a')], MADE)).toEqual(['column a added']);
    const anew = [told('dropped', '', 'DROP TABLE t'), told('created', 'id a b', 'CREATE')];
    expect(words([add('b')], MADE, ...anew)).toEqual(['column b added']);
  });
});

test('a table is new if it was created, and not if it got another name', () => {
  const change: SchemaChange = { kind: 'newTable', table: T, certain: false };
  expect(clarified([change], [MADE])).toEqual([{ ...change, certain: true }]);
  expect(clarified([change], [told('altered', 'id a', 'RENAME TABLE u TO t')])).toEqual([change]);
});

test('what became of a column is told by the statements since', () => {
  const history = [
    told('created', 'id a b c', 'CREATE'),
    told('altered', 'id a2 b c', 'ALTER TABLE t RENAME COLUMN a TO a2'),
    told('altered', 'id a3 c', 'ALTER TABLE t CHANGE a2 a3 INT, DROP b'),
  ];
  const became = ['a', 'a2', 'b', 'c', 'never'].map((name) => becameOf(history, T, name));
  expect(became).toEqual(['a3', 'a3', null, undefined, undefined]);
});

test('a table was dropped if that is the last that is told of it', () => {
  const dropped = told('dropped', '', 'DROP TABLE t');
  expect(wasDropped([MADE, dropped], 'shop.t')).toBe(true);
  expect(wasDropped([MADE, dropped, MADE], 'shop.t')).toBe(false);
  expect(wasDropped([MADE, { ...dropped, snapshot: true }], 'shop.t')).toBe(false);
  expect(wasDropped([], 'shop.t')).toBe(false);
});
