import { tableName, type TableId } from '../change/table-id.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';

/**
 * `left`, and of `all` those tables that a foreign key ties to them whose acts are not in production's
 * log: they have to be copied from one snapshot. Between two, a parent's change would be carried out on
 * rows that are of after it, or not on rows that are of before it.
 */
export function withFamilies(
  left: readonly TableId[],
  all: readonly TableId[],
  catalogue: SchemaCatalogue,
): readonly TableId[] {
  const tied = new Map<string, Set<string>>();
  const tie = (a: string, b: string): void => {
    tied.set(a, (tied.get(a) ?? new Set()).add(b));
  };
  for (const { id, foreignKeys } of catalogue.values()) {
    for (const { references, unlogged } of foreignKeys) {
      if (unlogged === undefined) continue;
      tie(tableName(id), tableName(references));
      tie(tableName(references), tableName(id));
    }
  }
  const wanted = new Set(left.map(tableName));
  // A set that grows while it is walked is walked to its end.
  for (const table of wanted) for (const other of tied.get(table) ?? []) wanted.add(other);
  return all.filter((table) => wanted.has(tableName(table)));
}
