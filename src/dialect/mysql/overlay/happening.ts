/** What a foreign key does to rows that refer, from one table to the next. */
import { ACTS, type KeyReference } from '../catalogue/catalogue.ts';

/** What happens to rows of a table: they go, or these columns get other values (SQL). */
export type Happening =
  | { readonly kind: 'deleted' }
  | { readonly kind: 'updated'; readonly values: ReadonlyMap<string, string> };

/** What it does to the rows that refer; null for nothing. */
export function carried(
  { columns, referencedColumns, onDelete, onUpdate }: KeyReference,
  happening: Happening,
): Happening | null {
  const rule = happening.kind === 'deleted' ? onDelete : onUpdate;
  if (!ACTS.has(rule)) return null;
  if (happening.kind === 'deleted') {
    if (rule === 'CASCADE') return happening;
    return { kind: 'updated', values: new Map(columns.map((column) => [column, 'NULL'])) };
  }
  if (!referencedColumns.some((column) => happening.values.has(column))) return null;
  const values = columns.flatMap((column, i): readonly (readonly [string, string])[] => {
    if (rule !== 'CASCADE') return [[column, 'NULL']];
    const value = happening.values.get(referencedColumns[i] ?? '');
    return value === undefined ? [] : [[column, value]];
  });
  return { kind: 'updated', values: new Map(values) };
}
