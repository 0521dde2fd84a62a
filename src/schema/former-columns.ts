/**
 * Columns that a table had in production, and that changes took away which were carried into the
 * shadow: records of before, when they come again, have them still.
 */
import { tableName, type TableId } from '../change/table-id.ts';
import type { SchemaChange } from './schema-change.ts';
import type { TableRename } from './table-renames.ts';
import type { SchemaCatalogue, TableSchema } from './table-schema.ts';

export interface FormerColumn {
  readonly table: TableId;
  /** Empty: the table itself was dropped. */
  readonly name: string;
  /** Its name since; null if it was dropped. */
  readonly now: string | null;
}

/** The tables with what they had; a partition has had what its root has. */
export function withFormerColumns(
  catalogue: SchemaCatalogue,
  former: readonly FormerColumn[],
): SchemaCatalogue {
  if (former.length === 0) return catalogue;
  const byTable = Map.groupBy(former, ({ table }) => tableName(table));
  return new Map(
    [...catalogue].map(([label, table]) => {
      const root = table.partitionOf === undefined ? label : tableName(table.partitionOf);
      const columns = byTable.get(root);
      if (columns === undefined) return [label, table];
      return [label, { ...table, former: new Map(columns.map(({ name, now }) => [name, now])) }];
    }),
  );
}

/**
 * The column that a field of this name is of: one that the table has, else the one that it became. Null
 * if it became none; the name itself where nothing is known of it.
 */
export function columnNow({ columns, former }: TableSchema, name: string): string | null {
  if (former === undefined) return name;
  const has = (one: string): boolean => columns.some((column) => column.name === one);
  const seen = new Set<string>();
  let now: string | null = name;
  while (now !== null && !has(now) && !seen.has(now)) {
    seen.add(now);
    const next: string | null | undefined = former.get(now);
    if (next === undefined) break;
    now = next;
  }
  return now;
}

/** What is to be known of a table's columns once a change was carried out. */
export function formerBy(change: SchemaChange): FormerColumn | null {
  const { table } = change;
  switch (change.kind) {
    case 'drop':
      return { table, name: change.column.name, now: null };
    case 'rename':
      return { table, name: change.from.name, now: change.to.name };
    case 'droppedTable':
      return { table, name: '', now: null };
    case 'add':
    case 'widen':
    case 'retype':
    case 'enumValue':
    case 'key':
    case 'newTable':
    case 'renameTable':
      return null;
  }
}

/** What a change brings in, or brings back, by the name in FormerColumn: it is none of before. */
export function broughtBy(change: SchemaChange): string | null {
  if (change.kind === 'newTable') return '';
  if (change.kind === 'add') return change.column.name;
  return change.kind === 'rename' ? change.to.name : null;
}

/** Names, by `tableName()`, of tables that a carried change dropped or gave another name. */
export function formerTables(
  former: readonly FormerColumn[],
  renames: readonly TableRename[],
): ReadonlySet<string> {
  const dropped = former.filter(({ name }) => name === '').map(({ table }) => table);
  return new Set([...dropped, ...renames.map(({ from }) => from)].map(tableName));
}
