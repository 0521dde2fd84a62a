/** Columns that the shadow's tables had, and have no more: see schema/former-columns.ts. */
import type { ClientBase } from 'pg';
import { broughtBy, formerBy, type FormerColumn } from '../../../schema/former-columns.ts';
import type { SchemaChange } from '../../../schema/schema-change.ts';

export async function readFormerColumns(client: ClientBase): Promise<readonly FormerColumn[]> {
  const { rows } = await client.query<{
    readonly schema: string;
    readonly table: string;
    readonly name: string;
    readonly now: string | null;
  }>(`SELECT table_schema AS schema, table_name AS table, name, now FROM understudy.former_column`);
  return rows.map(({ schema, table, name, now }) => ({
    table: { schema, name: table },
    name,
    now,
  }));
}

/** In the transaction that carries the change out. */
export async function rememberColumns(client: ClientBase, change: SchemaChange): Promise<void> {
  const { schema, name } = change.table;
  const former = formerBy(change);
  if (former !== null) await saveFormerColumn(client, former);
  const brought = broughtBy(change);
  if (brought === null) return;
  await client.query(
    `DELETE FROM understudy.former_column
      WHERE table_schema = $1 AND table_name = $2 AND name = $3`,
    [schema, name, brought],
  );
}

export async function saveFormerColumn(
  client: ClientBase,
  { table, name, now }: FormerColumn,
): Promise<void> {
  await client.query(
    `INSERT INTO understudy.former_column VALUES ($1, $2, $3, $4)
      ON CONFLICT (table_schema, table_name, name) DO UPDATE SET now = excluded.now`,
    [table.schema, table.name, name, now],
  );
}
