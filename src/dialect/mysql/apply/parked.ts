/**
 * Parked keys: their events were discarded, so that nothing is known of production's row until a whole
 * event brings it, or it goes. They are told by their text: only keys of which that tells are parked.
 */
import { tableName } from '../../../change/table-id.ts';
import type { NetChange } from '../../../order/change-batch.ts';
import { keyId } from '../../../order/key-text.ts';
import type { Client } from '../session/client.ts';
import { companionName, literal, quote } from '../session/names.ts';
import type { ApplyTable } from './apply-table.ts';

/** Keys of one statement. */
const KEYS_AT_ONCE = 1_000;

/** Tables (by `tableName()`) that have parked keys. */
export async function readParkedTables(client: Client, database: string): Promise<Set<string>> {
  const rows = await client.rows<{ readonly schema: string; readonly name: string }>(
    `SELECT DISTINCT table_schema AS \`schema\`, table_name AS name
      FROM ${quote(companionName(database), 'parked')}`,
  );
  return new Set(rows.map((row) => tableName(row)));
}

/** Forgets the keys whose rows these changes wrote whole, or deleted; all with null. */
export async function releaseParked(
  client: Client,
  table: Pick<ApplyTable, 'schema'>,
  parts: { readonly database: string; readonly changes: readonly NetChange[] | null },
): Promise<void> {
  const { schema, name } = table.schema.id;
  const parked = quote(companionName(parts.database), 'parked');
  const ofTable = `table_schema = ${literal(schema)} AND table_name = ${literal(name)}`;
  if (parts.changes === null) {
    await client.run(`DELETE FROM ${parked} WHERE ${ofTable}`);
    return;
  }
  const ids = parts.changes
    .filter((change) => change.kind === 'delete' || change.complete)
    .map(({ key }) => literal(keyId(key)));
  for (let from = 0; from < ids.length; from += KEYS_AT_ONCE) {
    const some = ids.slice(from, from + KEYS_AT_ONCE).join(', ');
    await client.run(`DELETE FROM ${parked} WHERE ${ofTable} AND id IN (${some})`);
  }
}
