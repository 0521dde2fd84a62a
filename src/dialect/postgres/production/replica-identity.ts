import type { ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';

interface Row {
  readonly table: TableId;
  /** The table itself, or the one of which it is a partition. */
  readonly root: TableId;
}

/** With a primary key, and old rows by an index of other columns. */
const ELSEWHERE = `
SELECT jsonb_build_object('schema', n.nspname, 'name', c.relname) AS table,
  jsonb_build_object('schema', rn.nspname, 'name', r.relname) AS root
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class r ON r.oid = coalesce(pg_catalog.pg_partition_root(c.oid), c.oid)
JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
JOIN pg_catalog.pg_index k ON k.indrelid = c.oid AND k.indisprimary
JOIN pg_catalog.pg_index i ON i.indrelid = c.oid AND i.indisreplident
WHERE c.relreplident = 'i' AND NOT i.indisprimary AND i.indkey::text <> k.indkey::text
ORDER BY n.nspname, c.relname`;

/**
 * TABLE_IDENTITY where old rows are logged by another index than the primary key's: the connector
 * sends their keys as zeros (events-observed 0.8), and nothing in a record tells.
 */
export async function assertKeysAreLogged(
  client: ClientBase,
  include: (table: TableId) => boolean,
): Promise<void> {
  const { rows } = await client.query<Row>(ELSEWHERE);
  const found = rows.filter(({ root }) => include(root)).map(({ table }) => tableName(table));
  const [first] = found;
  if (first === undefined) return;
  throw new UnderstudyError(
    'TABLE_IDENTITY',
    'deletes and key changes of the table name wrong rows',
    {
      table: first,
      detail: `REPLICA IDENTITY USING INDEX, not the primary key: ${found.join(', ')}`,
    },
  );
}
