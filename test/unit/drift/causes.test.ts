import { expect, test } from 'vitest';
import type { TableGaps } from '../../../src/dialect/dialect.ts';
import { TableCauses } from '../../../src/drift/causes.ts';
import { severity } from '../../../src/drift/verdict.ts';
import type { RowDifference } from '../../../src/report/drift-report.ts';

function causes(gaps: Partial<TableGaps>): TableCauses {
  const table = { schema: 'public', name: 't' };
  const own = { ...{ table, parked: [], unknown: [], dead: [] }, ...gaps };
  return new TableCauses({ name: 'public.t', key: ['a', 'b'] }, [own], []);
}

const differs = (a: string, kind: RowDifference['kind'] = 'changed'): RowDifference => ({
  ...{ table: 'public.t', key: { a, b: 'x' }, kind, columns: [] },
});

test('a difference of a key that is set aside has that as its cause, whatever its kind', () => {
  const found = causes({ dead: [['1', 'x']], parked: [['1', 'x']] });
  for (const kind of ['changed', 'missing', 'extra'] as const) {
    expect(found.name(differs('1', kind)).cause).toBe('dead-letter');
    expect(found.name(differs('2', kind)).cause).toBeUndefined();
  }
  expect(causes({ dead: [null] }).name(differs('2')).cause).toBe('dead-letter');
});

test.for([
  ['a key', [['1', 'x']]],
  ['all rows', [null]],
] as const)('a table of which %s is set aside is not equal, though no row differs', ([, dead]) => {
  const doubt = causes({ dead }).doubt();
  expect(doubt).toMatchObject({ code: 'rows-dead', table: 'public.t' });
  expect(severity(doubt?.code ?? 'rows-differ')).toBe('inconclusive');
});

test('without gaps nothing is in doubt', () => {
  expect(causes({}).doubt()).toBeNull();
});
