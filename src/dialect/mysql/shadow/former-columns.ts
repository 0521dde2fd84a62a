/** Columns that the shadow's tables had, and have no more: see schema/former-columns.ts. */
import { broughtBy, formerBy, type FormerColumn } from '../../../schema/former-columns.ts';
import type { SchemaChange } from '../../../schema/schema-change.ts';
import type { Client } from '../session/client.ts';
import { companionName, quote } from '../session/names.ts';

export async function readFormerColumns(
  client: Client,
  database: string,
): Promise<readonly FormerColumn[]> {
  const rows = await client.rows<{
    readonly schema: string;
    readonly table: string;
    readonly name: string;
    readonly now: string | null;
  }>(
    `SELECT table_schema AS \`schema\`, table_name AS \`table\`, name, \`now\` FROM ${tableOf(database)}`,
  );
  return rows.map(({ schema, table, name, now }) => ({
    table: { schema, name: table },
    name,
    now,
  }));
}

/** Before the change is carried out: a column that is there still is no former one. */
export async function rememberColumns(
  client: Client,
  database: string,
  change: SchemaChange,
): Promise<void> {
  const { schema, name } = change.table;
  const former = formerBy(change);
  if (former !== null) await saveFormerColumn(client, database, former);
  const brought = broughtBy(change);
  if (brought === null) return;
  await client.run(
    `DELETE FROM ${tableOf(database)} WHERE table_schema = ? AND table_name = ? AND name = ?`,
    [schema, name, brought],
  );
}

export async function saveFormerColumn(
  client: Client,
  database: string,
  { table, name, now }: FormerColumn,
): Promise<void> {
  await client.run(
    `REPLACE INTO ${tableOf(database)} (table_schema, table_name, name, \`now\`) VALUES (?, ?, ?, ?)`,
    [table.schema, table.name, name, now],
  );
}

function tableOf(database: string): string {
  return quote(companionName(database), 'former_column');
}
