/**
 * Tables that got another name in production while they were followed. A record tells the name that its
 * table had when the row was changed: which table that is now, its place in production's log decides, so
 * that records may come again, and another table may have the name by now.
 */
import type { SourcePosition } from '../change/position.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import type { FormerName, SchemaCatalogue } from './table-schema.ts';

export interface TableRename {
  readonly from: TableId;
  readonly to: TableId;
  /** Where it stands in production's log: what is before has the old name. */
  readonly until: SourcePosition;
  /** Grows in production's order, where places are equal too. */
  readonly turn: bigint;
}

/** The tables with the names that they had. `renames`: in production's order. */
export function withFormerNames(
  catalogue: SchemaCatalogue,
  renames: readonly TableRename[],
): SchemaCatalogue {
  if (renames.length === 0) return catalogue;
  const names = new Map<string, FormerName[]>();
  const ended = new Map<string, SourcePosition>();
  renames.forEach(({ from, until }, i) => {
    const label = tableName(from);
    const now = tableName(nameBehind(renames, i));
    const own = names.get(now) ?? [];
    names.set(now, own);
    own.push({ table: from, after: ended.get(label) ?? null, until });
    ended.set(label, until);
  });
  return new Map(
    [...catalogue].map(([label, table]) => {
      const own = names.get(label);
      const since = ended.get(label);
      if (own === undefined && since === undefined) return [label, table];
      return [label, { ...table, ...(own && { names: own }), ...(since && { since }) }];
    }),
  );
}

/** The name that the table of this rename has after all of them. */
export function nameBehind(renames: readonly TableRename[], index: number): TableId {
  let now = renames[index]?.to ?? { schema: '', name: '' };
  for (const { from, to } of renames.slice(index + 1)) {
    if (tableName(from) === tableName(now)) now = to;
  }
  return now;
}

export function isSameRename(a: TableRename, b: TableRename): boolean {
  return (
    tableName(a.from) === tableName(b.from) &&
    tableName(a.to) === tableName(b.to) &&
    placeText(a.until) === placeText(b.until)
  );
}

/** As it is kept in a shadow. */
export function placeText(source: SourcePosition): string {
  return JSON.stringify(source, (_, value: unknown) =>
    typeof value === 'bigint' ? { big: value.toString() } : value,
  );
}

export function placeFrom(text: string): SourcePosition {
  return JSON.parse(text, (_, value: unknown) => {
    const isBig = typeof value === 'object' && value !== null && 'big' in value;
    return isBig ? BigInt(value.big as string) : value;
  }) as SourcePosition;
}
