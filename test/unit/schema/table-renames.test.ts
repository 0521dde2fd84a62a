import { describe, expect, test } from 'vitest';
import type { SourcePosition } from '../../../src/change/position.ts';
import type { SchemaChangeRecord } from '../../../src/change/table-change.ts';
import { tableName, type TableId } from '../../../src/change/table-id.ts';
import { connectorNamed } from '../../../src/decode/connectors/connectors.ts';
import { TableNames } from '../../../src/decode/table-names.ts';
import {
  placeFrom,
  placeText,
  withFormerNames,
  type TableRename,
} from '../../../src/schema/table-renames.ts';
import type { TableSchema } from '../../../src/schema/table-schema.ts';
import { toldRenames } from '../../../src/schema/told-renames.ts';

const id = (name: string): TableId => ({ schema: 'shop', name });

const at = (pos: number | null): SourcePosition => ({
  ...{ connector: 'mysql', file: 'binlog.000001', row: 0, gtid: null },
  pos: pos === null ? null : BigInt(pos),
});

const table = (name: string): readonly [string, TableSchema] => [
  `shop.${name}`,
  {
    ...{ id: id(name), columns: [], key: [], uniques: [], foreignKeys: [] },
    partitioned: false,
  },
];

const rename = (from: string, to: string, pos: number): TableRename => ({
  ...{ from: id(from), to: id(to), until: at(pos), turn: BigInt(pos) },
});

/** The name now of what was sent as `name` at this place; a dash for what is no more. */
function now(
  tables: readonly string[],
  renames: readonly TableRename[],
  name: string,
  pos: number | null,
  isOld = false,
): string {
  const catalogue = withFormerNames(new Map(tables.map(table)), renames);
  const found = new TableNames(catalogue, connectorNamed('mysql')).of(
    id(name),
    at(pos),
    () => isOld,
  );
  return found?.name ?? '-';
}

describe('the table that a name means', () => {
  test('is told by its place in production’s log', () => {
    const renames = [rename('a', 'b', 10), rename('b', 'c', 20)];
    for (const [name, pos, expected] of [
      ...([
        ['a', 9, 'c'],
        ['b', 15, 'c'],
        ['c', 25, 'c'],
      ] as const),
      // Others of these names by now.
      ...([
        ['a', 10, 'a'],
        ['b', 20, 'b'],
      ] as const),
    ]) {
      expect(now(['a', 'b', 'c'], renames, name, pos)).toBe(expected);
    }
  });

  test('is itself again where two tables took each other’s names', () => {
    const swap = [rename('a', 'tmp', 10), rename('b', 'a', 10), rename('tmp', 'b', 10)];
    expect(now(['a', 'b'], swap, 'a', 5)).toBe('b');
    expect(now(['a', 'b'], swap, 'b', 5)).toBe('a');
    expect(now(['a', 'b'], swap, 'a', 11)).toBe('a');
    expect(now(['a'], [rename('a', 'b', 10), rename('b', 'a', 20)], 'a', 5)).toBe('a');
    expect(now(['a'], [rename('a', 'b', 10), rename('b', 'a', 20)], 'b', 15)).toBe('a');
  });

  test('is none of those that had the name before and after', () => {
    const renames = [rename('a', 'b', 10), rename('a', 'c', 20)];
    expect(now(['b', 'c'], renames, 'a', 5)).toBe('b');
    expect(now(['b', 'c'], renames, 'a', 15)).toBe('c');
    // Of `b`, which was dropped, nothing goes into what has or had the name since.
    expect(now(['c', 'a'], renames, 'a', 5)).toBe('-');
    expect(now(['c', 'a'], renames, 'a', 25)).toBe('a');
  });

  test('is asked for where the place tells nothing', () => {
    const renames = [rename('a', 'b', 10)];
    expect(now(['b'], renames, 'a', null, true)).toBe('b');
    expect(now(['b'], renames, 'a', null, false)).toBe('a');
  });
});

test('a place is kept as it is', () => {
  const gtid: SourcePosition = { ...at(5), connector: 'mariadb', gtid: '0-1-2' } as SourcePosition;
  const lsn: SourcePosition = {
    ...{ connector: 'postgresql', lsn: 1n << 60n, lastCommitLsn: null, txId: null },
  };
  for (const place of [at(1), gtid, lsn]) expect(placeFrom(placeText(place))).toEqual(place);
});

describe('a statement tells of renames', () => {
  const pairs = (ddl: string, ...altered: readonly string[]): readonly string[] => {
    const record: SchemaChangeRecord = {
      ...{ kind: 'schema-change', at: { topic: 'p', partition: 0, offset: 0n }, ddl },
      ...{ source: at(1), eventTimeMs: null, database: 'shop', snapshot: false },
      tables: altered.map((name) => {
        const [first = '', second] = name.split('/');
        const of = second === undefined ? id(first) : { schema: first, name: second };
        return { table: of, kind: 'altered', columns: [], key: [] };
      }),
    };
    return toldRenames(record).map(({ from, to }) => `${tableName(from)} ${tableName(to)}`);
  };

  test.each([
    ['RENAME TABLE a TO b', ['b'], ['shop.a shop.b']],
    ['rename table `a``x` to `b c`;', ['b c'], ['shop.a`x shop.b c']],
    ['RENAME TABLES shop.a TO other.b', ['other/b'], ['shop.a other.b']],
    ['RENAME TABLE IF EXISTS a WAIT 5 TO b', ['b'], ['shop.a shop.b']],
    ['/* x */ RENAME TABLE a TO c, b TO a', ['c', 'a'], ['shop.a shop.c', 'shop.b shop.a']],
    ['RENAME TABLE `a` TO `c,d`, b TO `a`', ['a'], ['shop.b shop.a']],
    ['RENAME TABLE a TO tmp', [], ['shop.a shop.tmp']],
    ['a TO b', ['b'], ['shop.a shop.b']],
    ['ALTER TABLE a RENAME TO b', ['b'], ['shop.a shop.b']],
    ['ALTER TABLE shop.a RENAME b', ['b'], ['shop.a shop.b']],
    ['ALTER TABLE a RENAME = b', ['b'], ['shop.a shop.b']],
    ['ALTER TABLE a RENAME AS `b`, ADD x INT', ['b'], ['shop.a shop.b']],
    ['ALTER TABLE a ADD COLUMN x INT DEFAULT 1, RENAME TO b', ['b'], ['shop.a shop.b']],
    ['ALTER ONLINE TABLE IF EXISTS a NOWAIT RENAME TO b', ['b'], ['shop.a shop.b']],
    ['ALTER TABLE a RENAME COLUMN x TO y', ['a'], []],
    ['ALTER TABLE a RENAME INDEX x TO y, RENAME KEY u TO v', ['a'], []],
    [`ALTER TABLE a COMMENT ', RENAME TO b'`, ['a'], []],
    ['ALTER TABLE a ADD COLUMN x INT', ['a'], []],
  ] as const)('%s', (ddl, altered, expected) => {
    expect(pairs(ddl, ...altered)).toEqual(expected);
  });
});
