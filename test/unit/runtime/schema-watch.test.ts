import { describe, expect, test } from 'vitest';
import type { ChangeEvent, DecodedRecord } from '../../../src/change/record.ts';
import { RowShape } from '../../../src/change/value.ts';
import { KeyDiffers, shapeWatch, TableDropped } from '../../../src/runtime/schema-watch.ts';
import type { ColumnSchema, SchemaCatalogue } from '../../../src/schema/table-schema.ts';

const T = { schema: 's', name: 't' };
const AT = { topic: 'p.s.t', partition: 0, offset: 7n };

const column = (name: string): ColumnSchema => ({
  ...{ name, type: { sql: 'int', kind: 'int32' }, nullable: true, generated: 'no' },
  ...{ identity: 'no', toastable: false },
});

const CATALOGUE: SchemaCatalogue = new Map([
  [
    's.t',
    {
      ...{ id: T, columns: [column('id'), column('a')], key: ['id'], uniques: [] },
      ...{ foreignKeys: [], partitioned: false, former: new Map([['old', 'id']]) },
    },
  ],
]);

const NEVER = {
  mayLack: () => false,
  mayHave: () => false,
  mayDiffer: () => false,
  isGone: () => false,
  knowsDropped: () => false,
  waits: () => false,
  isKept: () => false,
  isOfBefore: () => true,
  knowsStatement: () => true,
  knowsRenames: () => false,
  saw: () => undefined,
};

const SOURCE = { connector: 'mysql', file: null, pos: null, row: 0, gtid: null } as const;

function row(shape: RowShape): ChangeEvent {
  return {
    ...{ kind: 'change', op: 'create', table: T, at: AT, key: null, before: null },
    after: { shape, values: shape.columns.map(() => '1') },
    ...{
      oldKey: null,
      newKey: null,
      snapshot: 'no',
      eventTimeMs: null,
      transaction: null,
      bytes: 0,
    },
    source: SOURCE,
  };
}

const WHOLE = new RowShape(['id', 'a']);
const see =
  (decoded: DecodedRecord, key: readonly string[] | null, watch = {}) =>
  (): void => {
    shapeWatch(CATALOGUE, { ...NEVER, ...watch })(decoded, () => key);
  };

describe('a record', () => {
  test('keyed by other columns than its table is told, unless it may be', () => {
    expect(see(row(WHOLE), ['id'])).not.toThrow();
    expect(see(row(WHOLE), ['id', 'a'])).toThrow(KeyDiffers);
    expect(see(row(WHOLE), ['a'])).toThrow(/keyed by other columns/);
    expect(see(row(WHOLE), ['a'], { mayDiffer: () => true })).not.toThrow();
    expect(see(row(WHOLE), null)).not.toThrow();
  });

  test('keyed by a former name, or by what a transform added besides, is of its table', () => {
    expect(see(row(WHOLE), ['old', '__dbz__physicalTableIdentifier'])).not.toThrow();
  });

  test('with a name of no column any more is told wherever production may have it again', () => {
    const former = row(new RowShape(['id', 'a'], ['gone']));
    expect(see(former, ['id'])).toThrow(expect.objectContaining({ code: 'COLUMN_UNKNOWN' }));
    const watch = shapeWatch(CATALOGUE, { ...NEVER, mayHave: (_, __, { offset }) => offset < 8n });
    watch(former, () => ['id']);
    const later = { ...former, at: { ...AT, offset: 8n } };
    expect(() => {
      watch(later, () => ['id']);
    }).toThrow(expect.objectContaining({ code: 'COLUMN_UNKNOWN' }));
  });

  test('of a table that waits waits, whatever it has', () => {
    expect(see(row(WHOLE), ['id'], { waits: () => true })).toThrow(
      /production has another table of this name/,
    );
  });

  test('of a table that is kept is told behind where rows of before can be', () => {
    const watch = shapeWatch(CATALOGUE, { ...NEVER, isOfBefore: (_, { offset }) => offset < 7n });
    watch({ ...row(WHOLE), at: { ...AT, offset: 6n } }, () => ['id']);
    expect(() => {
      watch(row(WHOLE), () => ['id']);
    }).toThrow(TableDropped);
  });
});

test('a table that the connector tells of as dropped is told once, and none that a snapshot makes', () => {
  const dropped = (snapshot: boolean): DecodedRecord => ({
    ...{ kind: 'schema-change', at: AT, eventTimeMs: null, ddl: 'DROP TABLE t', snapshot },
    ...{ source: SOURCE, database: 's' },
    tables: [{ table: T, kind: 'dropped', columns: [], key: [] }],
  });
  expect(see(dropped(false), null)).toThrow(TableDropped);
  expect(see(dropped(true), null)).not.toThrow();
  expect(see(dropped(false), null, { knowsDropped: () => true })).not.toThrow();
});

test('a table that is made again while the dropped one is kept is told, until its records wait', () => {
  const made: DecodedRecord = {
    ...{
      kind: 'schema-change',
      at: AT,
      eventTimeMs: null,
      ddl: 'CREATE TABLE t …',
      snapshot: false,
    },
    ...{ source: SOURCE, database: 's' },
    tables: [{ table: T, kind: 'created', columns: [], key: [] }],
  };
  const kept = { knowsDropped: () => true, isKept: () => true };
  expect(see(made, null, kept)).toThrow(TableDropped);
  expect(see(made, null, { ...kept, waits: () => true })).not.toThrow();
  expect(see(made, null)).not.toThrow();
});
