import { expect, test } from 'vitest';
import { columnNames } from '../../../src/decode/names.ts';

const COLUMNS = ['id', 'col with space', 'cöl', '9lead', 'a-b', 'a_b', '😀x'];

test('replaced names are those of the columns, and never of two', () => {
  const nameOf = columnNames(COLUMNS, 'avro');
  expect(['id', 'col_with_space', 'c_l', '_9lead', '__x', 'new'].map(nameOf)).toEqual([
    ...['id', 'col with space', 'cöl', '9lead', '😀x'],
    'new',
  ]);
  expect(() => nameOf('a_b')).toThrow(expect.objectContaining({ code: 'COLUMN_UNKNOWN' }) as Error);
});

test('escaped names say what they were', () => {
  const sent = ['id', 'col_u0020with_u0020space', 'c_u00f6l', '_u0039lead', 'a_u002db', 'a_u005fb'];
  const nameOf = columnNames(COLUMNS, 'avro_unicode');
  expect([...sent, '_ud83d_ude00x'].map(nameOf)).toEqual(COLUMNS);
});

test('without adjustment a name is itself', () => {
  expect(columnNames(COLUMNS, 'none')('a_u005fb')).toBe('a_u005fb');
});
