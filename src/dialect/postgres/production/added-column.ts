import { escapeIdentifier, escapeLiteral, type ClientBase } from 'pg';
import type { TableId } from '../../../change/table-id.ts';
import type { ColumnFinding } from '../../evolving.ts';
import { relation } from '../session/names.ts';

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

/** Words that every server reads alike, and names that no search path shortens. */
const SPELLING = `SET search_path = ''; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = postgres;
  SET TimeZone = 'UTC'; SET extra_float_digits = 1; SET bytea_output = hex; SET lc_monetary = 'C'`;

/** How production's column can be made in a shadow. Changes settings of the session. */
export async function readAddedColumn(
  client: ClientBase,
  table: TableId,
  column: string,
): Promise<ColumnFinding> {
  await client.query(SPELLING);
  const { rows } = await client.query<AddedColumn>(COLUMN, [table.schema, table.name, column]);
  const [found] = rows;
  return found === undefined ? { kind: 'absent' } : addedColumn(table, column, found);
}

/**
 * `addable` only where the value of older rows is known: NULL for a column without any default, the
 * one that the server keeps for them. The column is NOT NULL only where that value is; one that
 * production filled by updates gets their values from events that still come.
 */
export function addedColumn(table: TableId, column: string, found: AddedColumn): ColumnFinding {
  if (found.isGenerated) return untold('it is generated');
  if (found.isIdentity) return untold('production numbered the rows that were there');
  const [old = null, ...more] = found.oldRows ?? [];
  if (more.length > 0) return untold('the server’s value for older rows cannot be read');
  if (old === null && (found.newRows !== null || found.typeHasDefault)) {
    return untold('rows that were there may have its default, or a value of their own');
  }
  const target = `ALTER TABLE ${relation(table)}`;
  const name = escapeIdentifier(column);
  const type = found.collation === null ? found.type : `${found.type} COLLATE ${found.collation}`;
  if (old === null)
    return { kind: 'addable', statements: [`${target} ADD COLUMN ${name} ${type}`] };
  const notNull = found.notNull ? ' NOT NULL' : '';
  const kept = `DEFAULT ${escapeLiteral(old)}`;
  const next = found.newRows === null ? 'DROP DEFAULT' : `SET DEFAULT ${found.newRows}`;
  return {
    kind: 'addable',
    statements: [
      `${target} ADD COLUMN ${name} ${type}${notNull} ${kept}`,
      `${target} ALTER COLUMN ${name} ${next}`,
    ],
  };
}

function untold(why: string): ColumnFinding {
  return { kind: 'untold', why };
}
