import { describe, expect, test } from 'vitest';
import { columnType, type TypeRow } from '../../../../src/dialect/postgres/catalogue/type-kind.ts';

describe('types of extensions', () => {
  test.each([
    ['public.geometry(Point,4326)', 'geometry', 'geometry'],
    ['gis.geography', 'geography', 'geometry'],
    ['public.vector(3)', 'vector', 'vector'],
    ['public.halfvec(3)', 'halfvec', 'vector'],
    ['public.sparsevec(5)', 'sparsevec', 'vector'],
    ['public.ltree', 'ltree', 'other'],
  ])('%s', (sql, name, kind) => {
    const row: TypeRow = {
      ...{ oid: 1, schema: 'public', name, class: 'b' },
      ...{ base: 0, baseModifier: -1, element: 0 },
    };
    const array: TypeRow = { ...row, oid: 2, name: `_${name}`, element: 1 };
    const types = new Map([row, array].map((each) => [each.oid, each]));
    const scalar = columnType({ types, oid: 1, modifier: 3, sql, domainOf: null });
    const list = columnType({ types, oid: 2, modifier: 3, sql: `${sql}[]`, domainOf: null });
    expect(scalar).toEqual({ sql, kind });
    expect(list).toEqual({ sql: `${sql}[]`, kind: 'array', element: scalar });
  });
});
