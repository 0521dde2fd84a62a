import { expect, test } from 'vitest';
import { columnNow, withFormerColumns } from '../../../src/schema/former-columns.ts';
import type { TableSchema } from '../../../src/schema/table-schema.ts';

const table = (name: string, columns: readonly string[], root?: string): TableSchema => ({
  id: { schema: 's', name },
  columns: columns.map((column) => ({
    ...{ name: column, type: { sql: 'int', kind: 'int32' as const }, nullable: true },
    ...{ generated: 'no' as const, identity: 'no' as const, toastable: false },
  })),
  ...{ key: [], uniques: [], foreignKeys: [], partitioned: false },
  ...(root !== undefined && { partitionOf: { schema: 's', name: root } }),
});

test('a name of before leads to the column that it became, or to none', () => {
  const catalogue = withFormerColumns(new Map([['s.t', table('t', ['c', 'x'])]]), [
    { table: { schema: 's', name: 't' }, name: 'a', now: 'b' },
    { table: { schema: 's', name: 't' }, name: 'b', now: 'c' },
    { table: { schema: 's', name: 't' }, name: 'gone', now: null },
    { table: { schema: 's', name: 't' }, name: 'x', now: null },
    { table: { schema: 's', name: 't' }, name: 'p', now: 'q' },
    { table: { schema: 's', name: 't' }, name: 'q', now: 'p' },
  ]);
  const now = (name: string): string | null => {
    const found = catalogue.get('s.t');
    return found === undefined ? '' : columnNow(found, name);
  };
  expect(['a', 'b', 'c', 'gone', 'x', 'new'].map(now)).toEqual(['c', 'c', 'c', null, 'x', 'new']);
  // A circle ends somewhere.
  expect(now('p')).toBe('p');
});

test('partitions have had what their root has', () => {
  const former = [{ table: { schema: 's', name: 't' }, name: 'a', now: null }];
  const tables = new Map([
    ['s.t', table('t', [])],
    ['s.p', table('p', [], 't')],
    ['s.u', table('u', [])],
  ]);
  const found = [...withFormerColumns(tables, former).values()].map((one) => one.former?.has('a'));
  expect(found).toEqual([true, true, undefined]);
});
