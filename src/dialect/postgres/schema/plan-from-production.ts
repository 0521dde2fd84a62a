import type { ClientBase } from 'pg';
import type { TableId } from '../../../change/table-id.ts';
import type { PlanStatement, ShadowPlan } from '../../../schema/shadow-plan.ts';
import { introspect } from './introspect.ts';
import type { CatalogueObject } from './introspect-object.ts';
import { orderPlan } from './plan-order.ts';

/** The plan's statements run in one transaction; this is how its session must be set. */
const PREPARE: readonly PlanStatement[] = [
  // Bodies may name what is made later.
  { sql: 'SET LOCAL check_function_bodies = off', what: 'settings', optional: false },
  { sql: `SET LOCAL search_path = ''`, what: 'settings', optional: false },
];

/**
 * How to make production's schema on an empty database of the shadow server. Reads in a
 * read-only transaction of its own; `include` says which tables take part (a partition goes the
 * way of its root). Foreign keys to a table that is left out, and whatever else needs it, are
 * reported in `notCarried`.
 */
export async function planFromProduction(
  client: ClientBase,
  include: (table: TableId) => boolean = () => true,
): Promise<ShadowPlan> {
  const { objects, dependencies, remarks } = await introspect(client, include);
  const ordered = orderPlan(objects, dependencies);
  const names = new Map(ordered.objects.map((object) => [object.key, object.what]));
  const statements = ordered.objects.flatMap((object) => {
    const needs = [...(dependencies.get(object.key) ?? [])]
      .map((key) => names.get(key))
      .filter((name) => name !== undefined)
      .sort();
    return toStatements(object, needs);
  });
  const notCarried = [...remarks, ...ordered.remarks];
  return {
    statements: [...PREPARE, ...statements],
    notCarried: notCarried.sort((a, b) => (a.what < b.what ? -1 : a.what > b.what ? 1 : 0)),
    tables: ordered.objects.map((object) => object.table).filter((table) => table !== undefined),
  };
}

function toStatements(object: CatalogueObject, needs: readonly string[]): readonly PlanStatement[] {
  return object.sql.map((sql) => ({ sql, what: object.what, optional: object.optional, needs }));
}
