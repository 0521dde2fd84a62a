/** Which tables can be repaired, and over which columns. */
import { tableName, type TableId } from '../change/table-id.ts';
import type { ComparedTable, TableReader } from '../dialect/dialect.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { ColumnType, SchemaCatalogue, TableSchema } from '../schema/table-schema.ts';
import { columnNames } from './reference.ts';

/** The shadow's table that `id` names, if its rows can be repaired. */
export function repairable(catalogue: SchemaCatalogue, id: TableId): TableSchema {
  const table = tableName(id);
  const schema = catalogue.get(table);
  if (schema === undefined) {
    throw new UnderstudyError('TABLE_NOT_FOLLOWED', 'the shadow has no such table', { table });
  }
  if (
    schema.partitionOf !== undefined &&
    (catalogue.get(tableName(schema.partitionOf))?.key.length ?? 0) > 0
  ) {
    throw new UnderstudyError('TABLE_NOT_FOLLOWED', 'the table is a partition', {
      table,
      detail: `repair ${tableName(schema.partitionOf)}, of which it is one`,
    });
  }
  if (schema.key.length === 0) {
    throw new UnderstudyError('TABLE_KEYLESS', 'rows of a table without key cannot be told apart', {
      table,
    });
  }
  return schema;
}

/**
 * All columns of production but `leftOut`, in the shadow's order; those that only the shadow has
 * are its own. SCHEMA_DIFFERS if production's rows cannot be had here as they are.
 */
export function comparedTable(
  schema: TableSchema,
  theirs: TableSchema | undefined,
  leftOut: ReadonlySet<string>,
): ComparedTable {
  if (theirs === undefined) {
    throw differs(schema.id, 'production has no such table, or shows it to no one');
  }
  if (JSON.stringify(theirs.key) !== JSON.stringify(schema.key)) {
    const keys = `(${theirs.key.join(', ')}) and (${schema.key.join(', ')})`;
    throw differs(schema.id, 'production and the shadow have other keys', keys);
  }
  const wanted = new Set(
    columnNames(theirs).filter((name) => !leftOut.has(name) || schema.key.includes(name)),
  );
  const ours = columnNames(schema);
  const missing = [...wanted].filter((column) => !ours.includes(column));
  if (missing.length > 0) throw differs(schema.id, 'the shadow lacks columns', missing.join(', '));
  const columns = ours.filter((column) => wanted.has(column));
  const typeIn = (table: TableSchema, name: string): ColumnType | undefined =>
    table.columns.find((column) => column.name === name)?.type;
  const narrow = columns.filter((name) => isNarrower(typeIn(schema, name), typeIn(theirs, name)));
  if (narrow.length > 0) {
    throw differs(schema.id, 'columns of the shadow are too narrow', narrow.join(', '));
  }
  return { table: schema.id, key: schema.key, columns };
}

/** SCHEMA_DIFFERS where a column, or a key, is of another type on the other side. */
export async function assertSameForms(
  production: TableReader,
  base: TableReader,
  { table, columns, key }: ComparedTable,
): Promise<void> {
  const compared = { table, columns, key };
  const [theirs, ours] = [await production.forms(compared), await base.forms(compared)];
  const differing = [...columns, ...key].filter((_, i) => theirs[i] !== ours[i]);
  if (differing.length === 0) return;
  throw differs(
    table,
    'columns have other types in production',
    [...new Set(differing)].join(', '),
  );
}

/** Would round values, or cut blanks off, without a word. */
function isNarrower(ours: ColumnType | undefined, theirs: ColumnType | undefined): boolean {
  if (ours === undefined || theirs === undefined) return false;
  const digits = (type: ColumnType): number | undefined =>
    type.kind !== 'numeric' || type.precision === undefined ? type.precision : (type.scale ?? 0);
  const isLess = (a: number | undefined, b: number | undefined): boolean =>
    a !== undefined && (b === undefined || a < b);
  return (
    isLess(ours.length, theirs.length) ||
    isLess(digits(ours), digits(theirs)) ||
    isNarrower(ours.element, theirs.element)
  );
}

function differs(table: TableId, message: string, detail?: string): UnderstudyError {
  return new UnderstudyError('SCHEMA_DIFFERS', message, {
    table: tableName(table),
    ...(detail !== undefined && { detail }),
  });
}
