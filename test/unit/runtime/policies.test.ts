/** What rules of the configuration say of rows that both sides wrote. */
import { expect, it } from 'vitest';
import { pairedTables } from '../../../src/runtime/policies.ts';

const of = (name: string) => ({ schema: 'public', name });

it('pairs rows by the columns of the last rule that matches and names some', () => {
  const rules = [
    { match: 'public.*', pairOn: ['code'] },
    { match: 'public.orders', pairOn: ['shop', 'no'] },
    { match: 'public.orders', policy: 'merge' as const },
  ];
  const pairs = pairedTables({ tables: { include: [], exclude: [], rules } });
  expect(pairs?.(of('orders'))).toEqual({ columns: ['shop', 'no'], isExact: true });
  expect(pairs?.(of('items'))).toEqual({ columns: ['code'], isExact: false });
  expect(pairs?.({ schema: 'private', name: 'items' })).toBeNull();
});

it('pairs nothing where no rule says so', () => {
  expect(pairedTables({ tables: { include: [], exclude: [], rules: [] } })).toBeNull();
});
