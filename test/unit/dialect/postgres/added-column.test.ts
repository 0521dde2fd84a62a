import { describe, expect, test } from 'vitest';
import {
  addColumn,
  addedColumn,
  type AddedColumn,
} from '../../../../src/dialect/postgres/production/added-column.ts';

const PLAIN: AddedColumn = {
  type: 'integer',
  collation: null,
  notNull: false,
  isIdentity: false,
  isGenerated: false,
  newRows: null,
  typeHasDefault: false,
  oldRows: null,
};

const statements = (changed: Partial<AddedColumn>): readonly string[] => {
  const found = { ...PLAIN, ...changed };
  const finding = addedColumn(found);
  if (finding.kind === 'untold') return [finding.kind];
  return addColumn('"public"."milk"', 'fat', { found, old: finding.old });
};

describe('a column that production added', () => {
  test('without a default is NULL in older rows', () => {
    expect(statements({})).toEqual(['ALTER TABLE "public"."milk" ADD COLUMN "fat" integer']);
  });

  test('has in older rows the value that the server keeps, and in new ones its default of now', () => {
    const text = { type: 'text', collation: '"pg_catalog"."C"', notNull: true };
    expect(statements({ ...text, oldRows: [`it's`], newRows: `'new'::text` })).toEqual([
      `ALTER TABLE "public"."milk" ADD COLUMN "fat" text COLLATE "pg_catalog"."C" NOT NULL DEFAULT 'it''s'`,
      `ALTER TABLE "public"."milk" ALTER COLUMN "fat" SET DEFAULT 'new'::text`,
    ]);
    expect(statements({ oldRows: ['5'] }).at(-1)).toBe(
      'ALTER TABLE "public"."milk" ALTER COLUMN "fat" DROP DEFAULT',
    );
  });

  test.each<[string, Partial<AddedColumn>]>([
    ['a default without the value of older rows', { newRows: 'random()' }],
    ['a default of its type', { typeHasDefault: true }],
    ['numbers given by the server', { isIdentity: true }],
    ['an expression', { isGenerated: true, newRows: null }],
    // Updates filled it, which are still to come; or a default did, which is gone.
    ['no NULL, and no value that the server keeps', { notNull: true }],
    ['a value that cannot be told from several', { oldRows: ['(1,1)', '(0,0)'] }],
  ])('is not guessed where it has %s', (_, found) => {
    expect(statements(found)).toEqual(['untold']);
  });
});
