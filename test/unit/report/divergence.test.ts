import { describe, expect, test } from 'vitest';
import { buildDivergence } from '../../../src/report/divergence.ts';
import { percentText } from '../../../src/report/words.ts';
import { sampleDivergence } from '../../support/report-samples.ts';

describe('divergence', () => {
  test('groups rows that differ in the same columns, whatever their order, most rows first', () => {
    const { groups } = sampleDivergence(false);
    expect(groups.map((group) => [group.table, group.kind, group.columns, group.count])).toEqual([
      ['public.orders', 'update', ['total_cents'], 3],
      ['public.order_items', 'delete', [], 1],
      ['public.orders', 'insert', [], 1],
      ['public.orders', 'update', ['note', 'status'], 1],
    ]);
    expect(groups[0]?.examples).toEqual([{ id: '1041' }, { id: '1044' }, { id: '1050' }]);
  });

  test('counts by the overlay’s counts, not by the rows that were listed', () => {
    const divergence = buildDivergence({
      showValues: false,
      tables: [
        {
          table: 'a.t',
          inserted: 900,
          updated: 0,
          deleted: 100,
          blocked: 0,
          pairs: 0,
          paired: 0,
          equal: 1,
          rows: 900,
        },
      ],
      rows: [],
    });
    expect(divergence).toMatchObject({ rows: 1_000, complete: false });
    expect(divergence.tables[0]?.ratio).toBe(1);
  });

  test('leaves out tables nobody wrote', () => {
    const none = {
      inserted: 0,
      updated: 0,
      deleted: 0,
      blocked: 0,
      pairs: 0,
      paired: 0,
      equal: 0,
      rows: 5,
    };
    const divergence = buildDivergence({
      showValues: false,
      tables: [{ table: 'a.t', ...none }],
      rows: [],
    });
    expect(divergence).toEqual({ rows: 0, tables: [], groups: [], findings: [], complete: true });
  });
});

test('a share is never rounded to none or all', () => {
  expect([0, 1e-9, 0.0312, 0.5, 0.999999, 1].map(percentText)).toEqual([
    ...['0%', '<0.01%', '3.12%', '50.0%', '>99.99%', '100%'],
  ]);
});
