import type { ClientBase } from 'pg';
import type { SchemaChange } from '../../../schema/schema-change.ts';
import { relation } from '../session/names.ts';

/** Views, qualified, that read what a change alters or drops, and so are in its way. */
export async function dependentViews(
  client: ClientBase,
  change: SchemaChange,
): Promise<readonly string[]> {
  const { rows } = await client.query<{ view: string }>(
    `SELECT DISTINCT n.nspname || '.' || c.relname AS view
      FROM pg_catalog.pg_depend d
      JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid
      JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
      WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.refobjid = pg_catalog.to_regclass($1) AND c.oid <> d.refobjid
        AND ($2::text IS NULL OR a.attname = $2) ORDER BY 1`,
    [relation(change.table), columnOf(change)],
  );
  return rows.map(({ view }) => view);
}

function columnOf(change: SchemaChange): string | null {
  switch (change.kind) {
    case 'widen':
    case 'retype':
    case 'enumValue':
      return change.to.name;
    case 'drop':
      return change.column.name;
    case 'rename':
      return change.from.name;
    case 'add':
    case 'key':
    case 'newTable':
    case 'droppedTable':
    case 'renameTable':
      return null;
  }
}
