import { type CatalogueObject, EXCLUDED, type Remark } from './introspect-object.ts';

export interface OrderedPlan {
  readonly objects: readonly CatalogueObject[];
  /** Left out, or left out because of what they need; excluded tables are not mentioned. */
  readonly remarks: readonly Remark[];
}

/**
 * Puts objects in an order in which each one finds what it needs: by rank and name, but a
 * dependency always first. The same for equal catalogues, whatever their OIDs. What needs an
 * object that is not carried over is not carried over either, and says why. In a circle the
 * object met last goes first; if that fails, the server's message tells. Pure.
 */
export function orderPlan(
  objects: readonly CatalogueObject[],
  dependencies: ReadonlyMap<string, ReadonlySet<string>>,
): OrderedPlan {
  const byKey = new Map(objects.map((object) => [object.key, object]));
  const preferred = [...objects].sort(byRankAndName);
  const position = new Map(preferred.map((object, i) => [object.key, i]));
  const state = new Map<string, 'entered' | 'carried' | 'left-out'>();
  const carried: CatalogueObject[] = [];
  const remarks: Remark[] = [];

  const decide = (object: CatalogueObject, needs: readonly CatalogueObject[]): boolean => {
    if (object.reason !== undefined || object.sql.length === 0) {
      if (object.reason !== EXCLUDED) {
        remarks.push({ what: object.what, why: object.reason ?? 'it has no definition' });
      }
      return false;
    }
    if (object.partOf !== undefined) {
      const whole = byKey.get(object.partOf);
      if (whole === undefined || state.get(whole.key) === 'left-out') return false;
    }
    const missing = needs.filter((need) => state.get(need.key) === 'left-out');
    if (missing.length === 0) return true;
    // Parts of something that is missing need no mention of their own.
    const keys = new Set(missing.map((need) => need.key));
    const whole = missing.filter((need) => need.partOf === undefined || !keys.has(need.partOf));
    const list = whole.map((need) => need.what).join(', ');
    remarks.push({ what: object.what, why: `it needs ${list}, which is not carried over` });
    return false;
  };

  const visit = (object: CatalogueObject): void => {
    if (state.has(object.key)) return;
    state.set(object.key, 'entered');
    const needs = [...(dependencies.get(object.key) ?? [])]
      .map((key) => byKey.get(key))
      .filter((need) => need !== undefined)
      .sort((a, b) => (position.get(a.key) ?? 0) - (position.get(b.key) ?? 0));
    for (const need of needs) visit(need);
    const ok = decide(object, needs);
    state.set(object.key, ok ? 'carried' : 'left-out');
    if (ok) carried.push(object);
  };
  for (const object of preferred) visit(object);
  return { objects: carried, remarks };
}

function byRankAndName(a: CatalogueObject, b: CatalogueObject): number {
  if (a.rank !== b.rank) return a.rank - b.rank;
  if (a.what !== b.what) return a.what < b.what ? -1 : 1;
  return a.key < b.key ? -1 : 1;
}
