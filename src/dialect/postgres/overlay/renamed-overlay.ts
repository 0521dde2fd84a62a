/** What is beside a captured table goes by its name: it gets the new one when the table did. */
import { escapeIdentifier, type ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import type { SchemaChange } from '../../../schema/schema-change.ts';
import { CAPTURED_TABLE, functionId, journalId, OWN_SCHEMA, relation } from '../session/names.ts';
import { CAPTURE_PURPOSES } from './capture-sql.ts';
import type { CapturedTables } from './journal.ts';

/**
 * Journals, their registry, and the capture's functions, which the triggers know by what they are; the
 * functions' bodies are the caller's to make anew. After the tables were renamed, in one transaction.
 */
export async function renameOverlay(
  client: ClientBase,
  changes: readonly SchemaChange[],
  captured: CapturedTables,
): Promise<void> {
  for (const change of changes) {
    if (change.kind !== 'renameTable') continue;
    const { from, table: to } = change;
    await renameFunctions(client, from, to);
    const journal = captured.get(tableName(from));
    if (journal === undefined) continue;
    const now = journalId(to);
    await client.query(`ALTER TABLE ${relation(journal)} RENAME TO ${escapeIdentifier(now.name)}`);
    await client.query(
      `UPDATE ${CAPTURED_TABLE} SET schema = $3, name = $4, journal = $5
        WHERE schema = $1 AND name = $2`,
      [from.schema, from.name, to.schema, to.name, now.name],
    );
  }
}

/** A partition has but one of its own. */
async function renameFunctions(client: ClientBase, from: TableId, to: TableId): Promise<void> {
  for (const purpose of CAPTURE_PURPOSES) {
    const [old, now] = [functionId(from, purpose), functionId(to, purpose)];
    const { rows } = await client.query<{ there: boolean }>(
      `SELECT EXISTS (SELECT FROM pg_catalog.pg_proc
        WHERE pronamespace = pg_catalog.to_regnamespace('${OWN_SCHEMA}') AND proname = $1) AS there`,
      [old.name],
    );
    if (rows[0]?.there !== true) continue;
    await client.query(`ALTER FUNCTION ${relation(old)}() RENAME TO ${escapeIdentifier(now.name)}`);
  }
}
