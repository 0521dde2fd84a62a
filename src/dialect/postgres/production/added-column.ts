import { escapeIdentifier, escapeLiteral, type ClientBase } from 'pg';
import type { TableId } from '../../../change/table-id.ts';

/** Whether a column can be made where rows are already. */
export type ColumnFinding =
  /** With production's value in the rows that are there: null, or its text. */
  | { readonly kind: 'addable'; readonly old: string | null }
  /** What it holds in rows that no event tells of cannot be known. */
  | { readonly kind: 'untold'; readonly why: string };

/** A column of production's catalogue, as far as it matters to rows that have no value of it. */
export interface AddedColumn {
  /** With schema, unless the type is built in. */
  readonly type: string;
  /** Quoted and qualified; null where it is the type's own. */
  readonly collation: string | null;
  readonly notNull: boolean;
  readonly isIdentity: boolean;
  readonly isGenerated: boolean;
  /** The default of new rows as an expression, or null. */
  readonly newRows: string | null;
  /** A default of its type (a domain). */
  readonly typeHasDefault: boolean;
  /** Rows older than the column have this one value, which the server keeps for them. */
  readonly oldRows: readonly (string | null)[] | null;
}

/**
 * Only by ordinary tables does the server keep a value for older rows, and throws it away when it
 * writes the table anew (VACUUM FULL, a volatile default): then each row has its own.
 */
const COLUMN = `SELECT pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
    CASE WHEN a.attcollation <> t.typcollation
      THEN pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(co.collname)
      END AS collation,
    a.attnotnull AS "notNull", a.attidentity <> '' AS "isIdentity",
    a.attgenerated <> '' AS "isGenerated",
    CASE WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END AS "newRows",
    t.typdefault IS NOT NULL AS "typeHasDefault",
    CASE WHEN a.atthasmissing THEN a.attmissingval::text::text[] END AS "oldRows"
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
  LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace
  WHERE n.nspname = $1 AND c.relname = $2 AND a.attname = $3
    AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND NOT c.relispartition`;

/** Null if it is not there. The session's settings must spell as SPELLING does. */
export async function readAddedColumn(
  client: ClientBase,
  table: TableId,
  column: string,
): Promise<AddedColumn | null> {
  const { rows } = await client.query<AddedColumn>(COLUMN, [table.schema, table.name, column]);
  return rows[0] ?? null;
}

/**
 * `addable` only where the value of older rows is known: NULL for a column without any default, the
 * one that the server keeps for them. The column is NOT NULL only where that value is; one that
 * production filled by updates gets their values from events that still come.
 */
export function addedColumn(found: AddedColumn): ColumnFinding {
  if (found.isGenerated) return untold('it is generated');
  if (found.isIdentity) return untold('production numbered the rows that were there');
  const [old = null, ...more] = found.oldRows ?? [];
  if (more.length > 0) return untold('the server’s value for older rows cannot be read');
  if (old === null && (found.newRows !== null || found.typeHasDefault)) {
    return untold('rows that were there may have its default, or a value of their own');
  }
  // They have a value each, whatever default gave it to them.
  if (old === null && found.notNull) return untold('no row that was there has NULL in it');
  return { kind: 'addable', old };
}

/** The statements that make an addable column with `old` in the rows that are there. */
export function addColumn(
  relation: string,
  column: string,
  { found, old }: { readonly found: AddedColumn; readonly old: string | null },
): readonly string[] {
  const name = escapeIdentifier(column);
  const add = `ALTER TABLE ${relation} ADD COLUMN ${name} ${spelledType(found)}`;
  if (old === null) return [add];
  const next = found.newRows === null ? 'DROP DEFAULT' : `SET DEFAULT ${found.newRows}`;
  return [
    `${add}${found.notNull ? ' NOT NULL' : ''} DEFAULT ${escapeLiteral(old)}`,
    `ALTER TABLE ${relation} ALTER COLUMN ${name} ${next}`,
  ];
}

/** The type with a collation that is not its own. */
export function spelledType({ type, collation }: AddedColumn): string {
  return collation === null ? type : `${type} COLLATE ${collation}`;
}

function untold(why: string): ColumnFinding {
  return { kind: 'untold', why };
}
