/** What a policy may be named for. */
import { expect, it } from 'vitest';
import { assertMergeable, OVERLAY_WINS, type ColumnPolicy } from '../../../src/overlay/policy.ts';

const COLUMNS = [
  { name: 'id', type: { kind: 'int64' }, isKey: true },
  { name: 'stock', type: { kind: 'int32' }, isKey: false },
  { name: 'label', type: { kind: 'text' }, isKey: false },
];

const check = (column: string, policy: ColumnPolicy, isExact = true): (() => void) => {
  const columns = new Map([[column, policy]]);
  return () => assertMergeable('shop.item', COLUMNS, { ...OVERLAY_WINS, columns, isExact });
};

it.each([
  ['label', 'delta'],
  ['id', 'merge'],
  ['stok', 'delta'],
] as const)('not for %s: %s', (column, policy) => {
  expect(check(column, policy)).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', context: { table: 'shop.item', column } }),
  );
});

it('but for a column that some tables of a pattern lack', () => {
  expect(check('stok', 'delta', false)).not.toThrow();
  expect(check('stock', 'delta')).not.toThrow();
});
