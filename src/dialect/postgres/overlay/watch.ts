/**
 * Looks whether the triggers that capture are there, and in force: an owner of a table, or a superuser, may
 * take them away, and DETACH PARTITION and tools that swap tables do.
 */
import { escapeIdentifier, type ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import { describeTable } from '../apply/apply-table.ts';
import { readSparedAccount, type SparedAccount } from '../apply/applier-rights.ts';
import { readCatalogue } from '../catalogue/catalogue.ts';
import { readComparisons } from '../catalogue/key-facts.ts';
import { CAPTURED_TABLE, OWN_SCHEMA, relation } from '../session/names.ts';
import { captureStatements, TRIGGERS } from './capture-sql.ts';
import { partitionsOf } from './changed-tables.ts';
import { readCaptured } from './journal.ts';
import { REFUSE } from './read-only.ts';
import { countAnew } from './raised.ts';
import { readReshapes } from './reshapes.ts';
import { noteChanged } from './self-migrating.ts';
import { hasSqlState } from '../session/errors.ts';
import { viewStatements } from './views.ts';

/** Of a captured table: for its rows, keys, inserts, TRUNCATE and traces. */
const OF_TABLE = 5;
/** Of a partition: clones of the first three, and one for TRUNCATE of its own. */
const OF_PARTITION = 4;

const OURS = `p.pronamespace = pg_catalog.to_regnamespace('${OWN_SCHEMA}')
  AND p.proname <> '${REFUSE}'`;

const CAPTURED = `${CAPTURED_TABLE} r
  JOIN pg_catalog.pg_namespace n ON n.nspname = r.schema
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = r.name`;

/**
 * Captured tables of which one is missing, or does not fire; or that have a partition which was away for a while:
 * what it gets from its table is made when it is attached, and what it has of its own after that, so that the one is
 * older than the other.
 */
const LOST = `SELECT DISTINCT r.schema, r.name FROM ${CAPTURED}
  CROSS JOIN LATERAL (
    SELECT c.oid, ${String(OF_TABLE)} AS due
    UNION ALL SELECT i.relid::oid, ${String(OF_PARTITION)} FROM pg_catalog.pg_partition_tree(c.oid) i
      JOIN pg_catalog.pg_class l ON l.oid = i.relid WHERE i.level > 0
  ) part
  CROSS JOIN LATERAL (
    SELECT pg_catalog.count(*) AS triggers,
      pg_catalog.min(t.oid::int8) FILTER (WHERE t.tgname = '${TRIGGERS.truncate}') AS own,
      pg_catalog.max(t.oid::int8) FILTER (WHERE t.tgname IN ('${TRIGGERS.row}', '${TRIGGERS.insert}')) AS cloned
    FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = part.oid AND t.tgenabled = 'O' AND ${OURS}
  ) there
  WHERE there.triggers < part.due OR (part.oid <> c.oid AND there.cloned > there.own)
  ORDER BY 1, 2`;

/** Tables that are none of these, and have triggers of theirs: partitions that were detached, tables that were swapped. */
const STRAY = `SELECT r.schema, r.name, s.schema AS "straySchema", s.name AS "strayName"
  FROM (SELECT l.nspname AS schema, o.relname AS name, p.prosrc
    FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    JOIN pg_catalog.pg_class o ON o.oid = t.tgrelid
    JOIN pg_catalog.pg_namespace l ON l.oid = o.relnamespace
    WHERE NOT t.tgisinternal AND ${OURS}
      AND o.oid NOT IN (SELECT c.oid FROM ${CAPTURED})
      AND COALESCE(pg_catalog.pg_partition_root(o.oid), o.oid) NOT IN (SELECT c.oid FROM ${CAPTURED})
  ) s JOIN ${CAPTURED_TABLE} r ON pg_catalog.strpos(s.prosrc,
    pg_catalog.format('"${OWN_SCHEMA}"."%s"', pg_catalog.replace(r.journal, '"', '""'))) > 0
  ORDER BY 1, 2`;

const SAVEPOINT = 'understudy_recapture';
/** A table does not have what its journal or its views have. (PostgreSQL's manual, appendix A) */
const UNLIKE = ['42703', '42804', '42883', '42P16'] as const;

const GAPS = `${OWN_SCHEMA}.capture_gap`;

/** What was lost of captured tables, and tables that have what is theirs and are none of them. */
interface LostCapture {
  readonly tables: readonly TableId[];
  /** Those of them of which it was not known. */
  readonly fresh: readonly TableId[];
  readonly strays: readonly TableId[];
}

/** See OverlayActs; `act` does something in a fenced transaction. */
export async function watchCapture(
  database: string,
  act: <T>(fn: (client: ClientBase) => Promise<T>) => Promise<T>,
): Promise<readonly TableId[]> {
  const lost = await act(async (client) => {
    await countAnew(client);
    await noteChanged(client, database);
    return noteLostCapture(client);
  });
  if (lost === null) return [];
  // Apart: what was not seen stays so, though somebody is at the tables.
  return act(async (client) => captureLost(client, lost, await readSparedAccount(client)));
}

/** Notes the tables, in the caller's fenced transaction: waits for nobody. Null if all is there. */
async function noteLostCapture(client: ClientBase): Promise<LostCapture | null> {
  if ((await readCaptured(client)) === null) return null;
  const { rows: lost } = await client.query<TableId>(LOST);
  const { rows: stray } = await client.query<
    TableId & { readonly straySchema: string; readonly strayName: string }
  >(STRAY);
  const tables = new Map(
    [...lost, ...stray].map(({ schema, name }) => [tableName({ schema, name }), { schema, name }]),
  );
  if (tables.size === 0) return null;
  const fresh: TableId[] = [];
  for (const id of tables.values()) {
    const { rowCount } = await client.query(
      `INSERT INTO ${GAPS} (schema, name) VALUES ($1, $2) ON CONFLICT (schema, name) DO NOTHING`,
      [id.schema, id.name],
    );
    if (rowCount === 1) fresh.push(id);
  }
  const strays = stray.map((one) => ({ schema: one.straySchema, name: one.strayName }));
  return {
    ...{ tables: [...tables.values()], fresh },
    strays: [...new Map(strays.map((id) => [tableName(id), id])).values()],
  };
}

/**
 * Makes it again, in the caller's fenced transaction. Waits for who is at the tables. What came in a table's place may
 * have no key, or other columns: then it cannot be made. Returns those that are to be told of: that are not known yet,
 * or of which it was made.
 */
async function captureLost(
  client: ClientBase,
  { tables, fresh, strays }: LostCapture,
  spared: SparedAccount,
): Promise<readonly TableId[]> {
  const captured = (await readCaptured(client)) ?? new Map<string, TableId>();
  const catalogue = await readCatalogue(client);
  const comparisons = await readComparisons(client);
  const reshapes = await readReshapes(client);
  const reshaped = new Set(
    [...reshapes.tables.values()].map(({ visible }) =>
      visible === null ? '' : tableName(visible),
    ),
  );
  for (const id of strays) await dropOurs(client, id);
  const told = new Set(fresh.map(tableName));
  for (const id of tables) {
    const label = tableName(id);
    const [schema, journal] = [catalogue.get(label), captured.get(label)];
    if (schema === undefined || journal === undefined || schema.key.length === 0) continue;
    const partitions = partitionsOf(catalogue.values(), label);
    const table = describeTable(schema, comparisons, journal);
    await client.query(`SAVEPOINT ${SAVEPOINT}`);
    try {
      for (const one of [schema, ...partitions]) await dropOurs(client, one.id);
      // Views are of the table that had the name when they were made. Production's of a reshaped one is of none.
      const views = viewStatements(table, 'OR REPLACE').slice(reshaped.has(label) ? 1 : 0);
      await client.query([...captureStatements(table, partitions, spared), ...views].join(';\n'));
      told.add(label);
    } catch (error) {
      if (!hasSqlState(error, ...UNLIKE)) throw error;
      await client.query(`ROLLBACK TO SAVEPOINT ${SAVEPOINT}`);
    }
  }
  return tables.filter((id) => told.has(tableName(id)));
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
