import { expect, test } from 'vitest';
import { withFamilies } from '../../../src/bootstrap/families.ts';
import type { TableSchema } from '../../../src/schema/table-schema.ts';
import { textTable } from '../../support/change-events.ts';

function table(
  name: string,
  to: string | null,
  unlogged: TableSchema['foreignKeys'][number]['unlogged'],
): TableSchema {
  const references = { schema: 'public', name: to ?? '' };
  const key = { name: `${name}_fk`, columns: ['of'], references, referencedColumns: ['id'] };
  return {
    ...textTable(name, ['id', 'of']),
    foreignKeys: to === null ? [] : [{ ...key, ...(unlogged !== undefined && { unlogged }) }],
  };
}

const ACTS = { onDelete: true, onUpdate: false };
const TABLES = [
  table('folder', null, undefined),
  table('file', 'folder', ACTS),
  table('line', 'file', ACTS),
  table('note', 'file', undefined),
  table('alone', null, undefined),
];
const CATALOGUE = new Map(TABLES.map((one) => [`public.${one.id.name}`, one]));
const ALL = TABLES.map(({ id }) => id);

test('a table is copied again with all that foreign keys tie to it unseen', () => {
  const names = (...left: readonly string[]): readonly string[] =>
    withFamilies(
      ALL.filter(({ name }) => left.includes(name)),
      ALL,
      CATALOGUE,
    ).map(({ name }) => name);
  expect(names('line')).toEqual(['folder', 'file', 'line']);
  expect(names('folder')).toEqual(['folder', 'file', 'line']);
  expect(names('note')).toEqual(['note']);
  expect(names('alone', 'note')).toEqual(['note', 'alone']);
});
