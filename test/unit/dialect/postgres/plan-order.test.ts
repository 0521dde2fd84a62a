import { expect, test } from 'vitest';
import {
  type CatalogueObject,
  EXCLUDED,
  RANK,
} from '../../../../src/dialect/postgres/schema/introspect-object.ts';
import { orderPlan } from '../../../../src/dialect/postgres/schema/plan-order.ts';

function object(key: string, rank: number, more: Partial<CatalogueObject> = {}): CatalogueObject {
  return { key, what: key, rank, sql: [`CREATE ${key}`], optional: false, ...more };
}

function order(
  objects: readonly CatalogueObject[],
  needs: Record<string, readonly string[]> = {},
): { readonly carried: readonly string[]; readonly report: readonly string[] } {
  const dependencies = new Map(Object.entries(needs).map(([key, list]) => [key, new Set(list)]));
  const plan = orderPlan(objects, dependencies);
  return {
    carried: plan.objects.map((one) => one.key),
    report: plan.remarks.map(({ what, why }) => `${what}: ${why}`),
  };
}

test('rank decides, then the name, unless something is needed first', () => {
  const objects = [
    object('view', RANK.view),
    object('b', RANK.table),
    object('a', RANK.table),
    object('f', RANK.routine),
    object('g', RANK.routine),
  ];
  expect(order(objects).carried).toEqual(['f', 'g', 'a', 'b', 'view']);
  const needs = { f: ['view'], view: ['b'] };
  expect(order(objects, needs).carried).toEqual(['b', 'view', 'f', 'g', 'a']);
});

test('the order does not depend on the order things were found in', () => {
  const objects = ['t1', 't2', 't3', 't4'].map((key) => object(key, RANK.table));
  const needs = { t1: ['t3'], t3: ['t4'] };
  expect(order(objects.toReversed(), needs)).toEqual(order(objects, needs));
});

test('what needs something left out is left out and says so; parts go without a word', () => {
  const objects = [
    object('excluded', RANK.table, { reason: EXCLUDED, sql: [] }),
    object('its key', RANK.key, { partOf: 'excluded' }),
    object('its comment', RANK.comment, { partOf: 'its key' }),
    object('base type', RANK.type, { reason: 'needs code', sql: [] }),
    object('user', RANK.table),
    object('reference', RANK.foreignKey, { partOf: 'user' }),
    object('lone comment', RANK.comment, { partOf: 'nobody knows' }),
    object('column of it', RANK.table),
  ];
  const { carried, report } = order(objects, {
    'its key': ['excluded'],
    'its comment': ['its key'],
    reference: ['excluded', 'its key', 'user'],
    'column of it': ['base type'],
  });
  expect(carried).toEqual(['user']);
  expect(report.toSorted()).toEqual([
    'base type: needs code',
    'column of it: it needs base type, which is not carried over',
    'reference: it needs excluded, which is not carried over',
  ]);
});

test('a circle is made nonetheless', () => {
  const objects = [object('a', RANK.routine), object('b', RANK.view)];
  expect(order(objects, { a: ['b'], b: ['a'] }).carried).toEqual(['b', 'a']);
});
