/** Tables that are not, or may not be, what production has under their names: see NotedTable. */
import type { ClientBase } from 'pg';
import type { TableId } from '../../../change/table-id.ts';
import type { SchemaChange } from '../../../schema/schema-change.ts';
import type { NotedTable } from '../../evolving.ts';

export async function readNotedTables(client: ClientBase): Promise<readonly NotedTable[]> {
  const { rows } = await client.query<TableId & Omit<NotedTable, 'table'>>(
    `SELECT table_schema AS schema, table_name AS name, state,
        EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - at)::float8 * 1000 AS "ageMs"
      FROM understudy.noted_table ORDER BY 1, 2`,
  );
  return rows.map(({ schema, name, ...noted }) => ({ table: { schema, name }, ...noted }));
}

/** Since when it is noted so stays. */
export async function noteTable(
  client: ClientBase,
  { schema, name }: TableId,
  state: NotedTable['state'] | null,
): Promise<void> {
  await client.query(
    `DELETE FROM understudy.noted_table
      WHERE table_schema = $1 AND table_name = $2 AND state IS DISTINCT FROM $3`,
    [schema, name, state],
  );
  if (state === null) return;
  await client.query(
    `INSERT INTO understudy.noted_table (table_schema, table_name, state) VALUES ($1, $2, $3)
      ON CONFLICT (table_schema, table_name) DO NOTHING`,
    [schema, name, state],
  );
}

/** In the transaction that carries the change out: of the one that is gone nothing is known any more. */
export async function forgetNoted(client: ClientBase, change: SchemaChange): Promise<void> {
  if (change.kind !== 'newTable' && change.kind !== 'droppedTable') return;
  await noteTable(client, change.table, null);
  await client.query(
    `DELETE FROM understudy.table_identity WHERE table_schema = $1 AND table_name = $2`,
    [change.table.schema, change.table.name],
  );
}
