import { describe, expect, it } from 'vitest';
import {
  applierTriggers,
  followedTables,
  isolatedTables,
  readonlyTables,
  tableFilter,
} from '../../../src/config/table-filter.ts';

function decisions(
  patterns: { readonly include?: readonly string[]; readonly exclude?: readonly string[] },
  tables: readonly (readonly [string, string])[],
): readonly boolean[] {
  const filter = tableFilter({ include: ['*.*'], exclude: [], ...patterns });
  return tables.map(([schema, name]) => filter({ schema, name }));
}

it.each([
  ['everything by default', {}, ['public', 'orders'], true],
  ['a name', { include: ['public.orders'] }, ['public', 'orders'], true],
  ['no longer name', { include: ['public.orders'] }, ['public', 'orders2'], false],
  ['no other schema', { include: ['public.*'] }, ['audit', 'orders'], false],
  ['a part', { include: ['public.order*'] }, ['public', 'order_items'], true],
  ['several stars', { include: ['*.*_log_*'] }, ['a', 'the_log_book'], true],
  ['no exclusion', { exclude: ['*.audit*'] }, ['public', 'audit_2026'], false],
  ['exclusion before inclusion', { include: ['a.b'], exclude: ['a.*'] }, ['a', 'b'], false],
  ['a dot as a dot', { include: ['public.a.b'] }, ['public', 'axb'], false],
  ['characters of expressions as they are', { include: ['p(.a+b'] }, ['p(', 'a+b'], true],
  ['characters of expressions as nothing else', { include: ['p.a+'] }, ['p', 'aa'], false],
  ['no other case', { include: ['public.Orders'] }, ['public', 'orders'], false],
  ['line breaks in names', { include: ['public.*'] }, ['public', 'a\nb'], true],
] as const)('matches %s', (_, patterns, table, expected) => {
  expect(decisions(patterns, [[table[0], table[1]]])).toEqual([expected]);
});

it('does not mix up tables whose names join to the same text', () => {
  const filter = tableFilter({ include: ['a.b*'], exclude: [] });
  expect(filter({ schema: 'a', name: 'b.c' })).toBe(true);
  // Asked again, from memory.
  expect(filter({ schema: 'a', name: 'b.c' })).toBe(true);
  expect(filter({ schema: 'x', name: 'b.c' })).toBe(false);
});

it('leaves out the table of the connector’s signals', () => {
  const tables = { include: ['*.*'], exclude: ['public.b'] };
  const followed = followedTables({ tables, source: { signalTable: 'public.signal' } });
  const of = (name: string): boolean => followed({ schema: 'public', name });
  expect(['a', 'b', 'signal'].map(of)).toEqual([true, false, false]);
  const all = followedTables({ tables, source: {} });
  expect(all({ schema: 'public', name: 'signal' })).toBe(true);
});

describe('a rule’s mode', () => {
  const rules = [
    { match: 'public.*', mode: 'readonly' },
    { match: 'public.orders', mode: 'follow' },
    { match: 'public.rates', mode: 'freeze' },
    { match: 'public.mail', mode: 'isolate' },
    { match: 'public.blobs', mode: 'exclude' },
    { match: 'public.mail', policy: 'merge' },
  ] as const;
  const tables = { include: ['*.*'], exclude: [], rules };
  const overlay = { isolate: ['*.orders', '*.jobs'] };
  const names = (is: (table: { schema: string; name: string }) => boolean): readonly string[] =>
    ['orders', 'rates', 'mail', 'blobs', 'others'].filter((name) => is({ schema: 'public', name }));

  it('is that of the last rule that matches and has one', () => {
    expect(names(followedTables({ tables, source: {} }))).toEqual([
      ...['orders', 'rates', 'mail', 'others'],
    ]);
    expect(names(readonlyTables({ tables }) ?? (() => false))).toEqual(['others']);
  });

  it('goes before overlay.isolate', () => {
    const isolated = isolatedTables({ overlay, tables });
    expect(names(isolated)).toEqual(['rates', 'mail']);
    expect(isolated({ schema: 'private', name: 'jobs' })).toBe(true);
  });

  it('guards no table where none is to be read only', () => {
    expect(readonlyTables({ tables: { rules: [{ match: '*.*', mode: 'isolate' }] } })).toBeNull();
  });
});

describe('triggers that act on what is applied', () => {
  it('are those that a pattern names, and none without one', () => {
    expect(applierTriggers({ overlay: { applierTriggers: [] } })).toBeNull();
    const acts = applierTriggers({
      overlay: { applierTriggers: ['public.orders.tell_*', '*.*.search'] },
    });
    const orders = { schema: 'public', name: 'orders' };
    expect(
      ['tell_caches', 'tell', 'search', 'audit'].filter((name) => acts?.(orders, name)),
    ).toEqual(['tell_caches', 'search']);
    expect(acts?.({ schema: 'public', name: 'orders_old' }, 'tell_caches')).toBe(false);
  });
});
