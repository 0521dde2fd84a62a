import type { ClientBase } from 'pg';
import { tableName } from '../../../change/table-id.ts';
import type { GeneratedColumn } from './journal.ts';

/**
 * Generated columns of user tables, as definitions of journal columns: computed from the base
 * image as in the table, but not where production has no row, since an expression need not bear
 * nulls.
 */
export async function readGenerated(
  client: ClientBase,
): Promise<ReadonlyMap<string, readonly GeneratedColumn[]>> {
  const result = await client.query<{
    schema: string;
    name: string;
    column: string;
    expression: string;
    stored: boolean;
  }>(
    `SELECT n.nspname AS schema, c.relname AS name, a.attname AS column,
       pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS expression, a.attgenerated = 's' AS stored
     FROM pg_catalog.pg_attribute a
     JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attgenerated <> '' AND NOT a.attisdropped AND c.relkind IN ('r', 'p')
     ORDER BY 1, 2, a.attnum`,
  );
  const tables = new Map<string, GeneratedColumn[]>();
  for (const row of result.rows) {
    const label = tableName(row);
    const columns = tables.get(label) ?? [];
    columns.push({
      name: row.column,
      expression: row.expression,
      stored: row.stored,
    });
    tables.set(label, columns);
  }
  return tables;
}
