import type { ClientBase } from 'pg';
import type { TableId } from '../../../change/table-id.ts';
import type { TableIdentities } from '../../evolving.ts';

/**
 * Which tables these are: by what the server calls them for itself, which a rename does not change, and by
 * the server and the database, for another one's tables have such numbers too.
 */
export async function readIdentities(client: ClientBase): Promise<TableIdentities> {
  for (let tables = await readTables(client), tries = 1; ; tries += 1) {
    // Between two equal looks: what had a name before them is before it, and what gets one is not.
    const { lsn, origin } = await readPlace(client);
    const again = await readTables(client);
    const isQuiet = JSON.stringify(tables) === JSON.stringify(again);
    tables = again;
    if (!isQuiet && tries < TRIES) continue;
    return {
      origin,
      tables: tables.map(({ schema, name, oid, columns }) => ({
        ...{ table: { schema, name }, id: `${origin}${oid}`, columns: columnsFrom(columns) },
      })),
      at: { connector: 'postgresql', lsn, lastCommitLsn: null, txId: null },
    };
  }
}

/** A migration may be going on. */
const TRIES = 20;

async function readPlace(
  client: ClientBase,
): Promise<{ readonly lsn: bigint; readonly origin: string }> {
  const { rows } = await client.query<{ readonly lsn: string; readonly origin: string }>(
    `SELECT (CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
        ELSE pg_catalog.pg_current_wal_insert_lsn() END - '0/0')::text AS lsn,
      pg_catalog.concat_ws('/', (SELECT s.system_identifier FROM pg_catalog.pg_control_system() s),
        (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()),
        '') AS origin`,
  );
  const { lsn, origin } = rows[0] ?? { lsn: '0', origin: '' };
  return { lsn: BigInt(lsn), origin };
}

type TableRow = TableId & { readonly oid: string; readonly columns: string };

async function readTables(client: ClientBase): Promise<readonly TableRow[]> {
  const { rows } = await client.query<TableRow>(
    `SELECT n.nspname AS schema, c.relname AS name, c.oid::text AS oid,
      coalesce((SELECT pg_catalog.jsonb_object_agg(a.attname, a.attnum) FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '{}')::text AS columns
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
        AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      ORDER BY c.oid`,
  );
  return rows;
}

/** From the text of a JSON object, by name: sessions read JSON in different ways. */
export function columnsFrom(text: string): ReadonlyMap<string, number> {
  return new Map(Object.entries(JSON.parse(text) as Readonly<Record<string, number>>));
}
