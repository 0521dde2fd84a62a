/**
 * Looks whether the triggers that capture are there, and in force: an owner of a table, or a superuser, may
 * take them away, and DETACH PARTITION does.
 */
import { escapeIdentifier, type ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import { describeTable } from '../apply/apply-table.ts';
import type { SparedAccount } from '../apply/applier-rights.ts';
import { readCatalogue } from '../catalogue/catalogue.ts';
import { readComparisons } from '../catalogue/key-facts.ts';
import { CAPTURED_TABLE, OWN_SCHEMA, relation } from '../session/names.ts';
import { captureStatements } from './capture-sql.ts';
import { readCaptured } from './journal.ts';
import { REFUSE } from './read-only.ts';

/** Of a captured table: for its rows, keys, inserts, TRUNCATE and traces. */
const OF_TABLE = 5;
/** Of a partition: clones of the first three, and one for TRUNCATE of its own. */
const OF_PARTITION = 4;

const OURS = `p.pronamespace = pg_catalog.to_regnamespace('${OWN_SCHEMA}')
  AND p.proname <> '${REFUSE}'`;

/** Captured tables of which one is missing, or does not fire. */
const LOST = `SELECT DISTINCT r.schema, r.name FROM ${CAPTURED_TABLE} r
  JOIN pg_catalog.pg_namespace n ON n.nspname = r.schema
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = r.name
  CROSS JOIN LATERAL (
    SELECT c.oid, ${String(OF_TABLE)} AS due
    UNION ALL SELECT i.relid::oid, ${String(OF_PARTITION)} FROM pg_catalog.pg_partition_tree(c.oid) i
      JOIN pg_catalog.pg_class l ON l.oid = i.relid WHERE i.level > 0
  ) part
  WHERE (SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger t
    JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = part.oid AND t.tgenabled = 'O' AND ${OURS}) < part.due
  ORDER BY 1, 2`;

const GAPS = `${OWN_SCHEMA}.capture_gap`;

/** Makes them again, and notes the tables. In the caller's fenced transaction. Returns the tables. */
export async function watchCapture(
  client: ClientBase,
  spared: SparedAccount,
): Promise<readonly TableId[]> {
  const captured = await readCaptured(client);
  if (captured === null) return [];
  const { rows: lost } = await client.query<{ schema: string; name: string }>(LOST);
  if (lost.length === 0) return [];
  const catalogue = await readCatalogue(client);
  const comparisons = await readComparisons(client);
  for (const id of lost) {
    const label = tableName(id);
    const [schema, journal] = [catalogue.get(label), captured.get(label)];
    if (schema === undefined || journal === undefined) continue;
    const partitions = [...catalogue.values()].filter(
      ({ partitionOf }) => partitionOf !== undefined && tableName(partitionOf) === label,
    );
    for (const table of [schema, ...partitions]) await dropOurs(client, table.id);
    const table = describeTable(schema, comparisons, journal);
    await client.query(captureStatements(table, partitions, spared).join(';\n'));
    await client.query(
      `INSERT INTO ${GAPS} (schema, name) VALUES ($1, $2) ON CONFLICT (schema, name) DO NOTHING`,
      [id.schema, id.name],
    );
  }
  return lost;
}

async function dropOurs(client: ClientBase, table: TableId): Promise<void> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT t.tgname AS name FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
      WHERE t.tgrelid = $1::pg_catalog.regclass AND t.tgparentid = 0 AND ${OURS}`,
    [relation(table)],
  );
  for (const { name } of rows) {
    await client.query(`DROP TRIGGER ${escapeIdentifier(name)} ON ${relation(table)}`);
  }
}

/** Tables that the candidate may have written to unseen. */
export async function readCaptureGaps(client: ClientBase): Promise<readonly TableId[]> {
  const { rows } = await client.query<{ schema: string; name: string }>(
    `SELECT schema, name FROM ${GAPS}`,
  );
  return rows;
}
