import { describe, expect, test } from 'vitest';
import { changesBetween, type SchemaChange } from '../../../src/schema/schema-change.ts';
import type { ColumnSchema, ColumnType, TableSchema } from '../../../src/schema/table-schema.ts';

const INT: ColumnType = { sql: 'integer', kind: 'int32' };
const BIG: ColumnType = { sql: 'bigint', kind: 'int64' };
const TEXT: ColumnType = { sql: 'text', kind: 'text' };
const mood = (...labels: string[]): ColumnType => ({ sql: 'public.mood', kind: 'enum', labels });

const column = (
  name: string,
  type: ColumnType,
  more: Partial<ColumnSchema> = {},
): ColumnSchema => ({
  ...{ name, type, nullable: true, generated: 'no', identity: 'no', toastable: false },
  ...more,
});

const ID = column('id', INT, { nullable: false });

function table(columns: readonly ColumnSchema[], name = 't', key = ['id']): TableSchema {
  const id = { schema: 'public', name };
  return { id, columns, key, uniques: [], foreignKeys: [], partitioned: false };
}

function between(
  ours: readonly TableSchema[],
  theirs: readonly TableSchema[],
): readonly SchemaChange[] {
  const [a, b] = [ours, theirs].map(
    (tables) => new Map(tables.map((one) => [`public.${one.id.name}`, one])),
  );
  return changesBetween(a ?? new Map(), b ?? new Map());
}

/** In few words, of one table whose columns change. */
function words(ours: readonly ColumnSchema[], theirs: readonly ColumnSchema[]): readonly string[] {
  return between([table([ID, ...ours])], [table([ID, ...theirs])]).map((change) => {
    switch (change.kind) {
      case 'add':
      case 'drop':
        return `${change.kind} ${change.column.name}`;
      case 'rename':
        return `${change.certain ? '' : 'perhaps '}rename ${change.from.name} ${change.to.name}`;
      case 'widen':
      case 'retype':
        return `${change.kind} ${change.from.name}`;
      case 'enumValue':
        return change.labels.map(({ label, before }) => `${label} < ${before ?? '-'}`).join(', ');
      default:
        return change.kind;
    }
  });
}

describe('columns', () => {
  test('that are the same are no change, whatever their defaults and identities', () => {
    const ours = column('a', TEXT);
    expect(words([ours], [{ ...ours, hasDefault: true, identity: 'always' }])).toEqual([]);
  });

  test('are added and dropped', () => {
    expect(words([column('a', INT)], [column('b', TEXT)])).toEqual(['drop a', 'add b']);
  });

  test('that stand before a shared one were renamed: a new one stands at the end', () => {
    const last = column('z', TEXT);
    expect(words([column('a', INT), last], [column('b', INT), last])).toEqual(['rename a b']);
    expect(
      words(
        [column('a', INT), column('b', TEXT), last],
        [column('c', INT), column('d', TEXT), last],
      ),
    ).toEqual(['rename a c', 'rename b d']);
  });

  test('at the end may be old or new ones, if one of their type is gone', () => {
    expect(words([column('a', INT)], [column('b', INT)])).toEqual(['perhaps rename a b']);
    expect(
      words([column('a', INT), column('b', TEXT)], [column('b', TEXT), column('c', INT)]),
    ).toEqual(['perhaps rename a c']);
  });

  test('that may be NULL now are wider, and those that may not be any more are as they were', () => {
    const [strict, loose] = [column('a', INT, { nullable: false }), column('a', INT)];
    expect(words([strict], [loose])).toEqual(['widen a']);
    expect(words([loose], [strict])).toEqual([]);
  });

  test('that are computed in another way are of another type', () => {
    expect(words([column('a', INT)], [column('a', INT, { generated: 'stored' })])).toEqual([
      'retype a',
    ]);
  });
});

describe('labels of an enum', () => {
  test('are added one before the other, from the last on', () => {
    expect(
      words([column('m', mood('b', 'd'))], [column('m', mood('a', 'b', 'c', 'd', 'e', 'f'))]),
    ).toEqual(['f < -, e < f, c < d, a < b']);
  });

  test('of an array too', () => {
    const list = (...labels: string[]): ColumnType => ({
      ...{ sql: 'public.mood[]', kind: 'array', element: mood(...labels) },
    });
    expect(words([column('m', list('a'))], [column('m', list('a', 'b'))])).toEqual(['b < -']);
  });

  test('that are gone, or stand elsewhere, make another type', () => {
    expect(words([column('m', mood('a', 'b'))], [column('m', mood('a', 'c'))])).toEqual([
      'retype m',
    ]);
    expect(words([column('m', mood('a', 'b'))], [column('m', mood('b', 'a'))])).toEqual([
      'retype m',
    ]);
  });
});

const numeric = (precision?: number, scale = 0): ColumnType => ({
  ...{
    sql: precision === undefined ? 'numeric' : `numeric(${precision},${scale})`,
    kind: 'numeric',
  },
  ...(precision !== undefined && { precision, scale }),
});
const varchar = (length?: number): ColumnType => ({
  ...{ sql: `character varying${length === undefined ? '' : `(${length})`}`, kind: 'text' },
  ...(length !== undefined && { length }),
});
const stamp = (precision?: number): ColumnType => ({
  ...{ sql: `timestamp(${precision ?? ''})`, kind: 'timestamp' },
  ...(precision !== undefined && { precision }),
});
const int = (sql: string, kind: ColumnType['kind'], unsigned?: true): ColumnType => ({
  ...{ sql: unsigned === undefined ? sql : `${sql} unsigned`, kind },
  ...(unsigned !== undefined && { unsigned }),
});

describe('a column of another type', () => {
  test.each<[ColumnType, ColumnType]>([
    [INT, BIG],
    [INT, numeric()],
    [INT, numeric(10)],
    [BIG, numeric(22, 2)],
    [numeric(5, 2), numeric(6, 2)],
    [numeric(5, 2), numeric(6, 3)],
    [numeric(5, 2), numeric()],
    [varchar(5), varchar(6)],
    [varchar(5), varchar()],
    [varchar(5), TEXT],
    [varchar(), TEXT],
    [stamp(3), stamp(6)],
    [stamp(3), stamp()],
    [int('int', 'int32', true), int('bigint', 'int64')],
    [int('tinyint', 'int16'), int('smallint', 'int16')],
    [int('mediumint', 'int32'), int('int', 'int32')],
    [
      { sql: 'text', kind: 'text' },
      { sql: 'longtext', kind: 'text' },
    ],
    [
      { sql: 'varchar(5)[]', kind: 'array', element: varchar(5) },
      { sql: 'text[]', kind: 'array', element: TEXT },
    ],
  ])('%j to %j is wider', (from, to) => {
    expect(words([column('a', from)], [column('a', to)])).toEqual(['widen a']);
    expect(words([column('a', to)], [column('a', from)])).toEqual(['retype a']);
  });

  test.each<[ColumnType, ColumnType]>([
    [INT, TEXT],
    [INT, numeric(9)],
    [BIG, numeric(20, 2)],
    [INT, int('int', 'int32', true)],
    [int('int', 'int32', true), INT],
    [numeric(5, 2), numeric(5, 3)],
    [
      { sql: 'real', kind: 'float32' },
      { sql: 'double precision', kind: 'float64' },
    ],
    [
      { sql: 'character(5)', kind: 'char', length: 5 },
      { sql: 'character(6)', kind: 'char', length: 6 },
    ],
    [TEXT, { sql: 'public.citext', kind: 'text' }],
    [varchar(5), { sql: 'public.word', kind: 'text', domainOf: 'text' }],
    [stamp(), { sql: 'timestamptz', kind: 'timestamptz' }],
    [
      { sql: 'bit(3)', kind: 'bits', length: 3 },
      { sql: 'bit(4)', kind: 'bits', length: 4 },
    ],
  ])('%j to %j is not', (from, to) => {
    expect(words([column('a', from)], [column('a', to)])).toEqual(['retype a']);
  });
});

describe('tables', () => {
  test('come and go', () => {
    const [old, fresh] = [table([ID], 'old'), table([ID, column('a', INT)], 'fresh')];
    expect(between([old], [fresh])).toEqual([
      { kind: 'droppedTable', table: old.id },
      { kind: 'newTable', table: fresh.id, certain: true },
    ]);
  });

  test('with the columns of one that is gone may be that one', () => {
    expect(between([table([ID], 'old')], [table([ID], 'fresh')]).at(-1)).toMatchObject({
      ...{ kind: 'newTable', certain: false },
    });
  });

  test('have other keys, but not by a new name of a column', () => {
    const wide = column('k', INT, { nullable: false });
    const [ours, theirs] = [table([ID, wide]), table([ID, wide], 't', ['id', 'k'])];
    expect(between([ours], [theirs])).toEqual([
      { kind: 'key', table: ours.id, from: ['id'], to: ['id', 'k'], primary: false },
    ]);
    const renamed = table([column('no', INT, { nullable: false }), wide], 't', ['no']);
    expect(between([ours], [renamed])).toMatchObject([{ kind: 'rename', certain: true }]);
  });
});
