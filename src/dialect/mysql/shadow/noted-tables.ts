/** Tables that are not, or may not be, what production has under their names: see NotedTable. */
import type { TableId } from '../../../change/table-id.ts';
import type { NotedTable } from '../../evolving.ts';
import type { Client } from '../session/client.ts';
import { NOW_US } from '../session/clock.ts';
import { companionName, quote } from '../session/names.ts';

export async function readNotedTables(
  client: Client,
  database: string,
): Promise<readonly NotedTable[]> {
  const rows = await client.rows<
    TableId & { readonly state: NotedTable['state']; readonly ageUs: string }
  >(
    `SELECT table_schema AS \`schema\`, table_name AS name, state, ${NOW_US} - at_us AS ageUs
      FROM ${tableOf(database)} ORDER BY 1, 2`,
  );
  return rows.map(({ schema, name, state, ageUs }) => ({
    ...{ table: { schema, name }, state },
    ageMs: Math.max(0, Number(ageUs) / 1000),
  }));
}

/** Since when it is noted so stays. */
export async function noteTable(
  client: Client,
  database: string,
  { schema, name }: TableId,
  state: NotedTable['state'] | null,
): Promise<void> {
  await client.run(
    `DELETE FROM ${tableOf(database)}
      WHERE table_schema = ? AND table_name = ? AND NOT state <=> ?`,
    [schema, name, state],
  );
  if (state === null) return;
  await client.run(
    `INSERT INTO ${tableOf(database)} (table_schema, table_name, state, at_us)
      VALUES (?, ?, ?, ${NOW_US}) ON DUPLICATE KEY UPDATE state = VALUES(state)`,
    [schema, name, state],
  );
}

function tableOf(database: string): string {
  return quote(companionName(database), 'noted_table');
}
