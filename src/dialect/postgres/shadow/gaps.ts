/** Reads what a shadow does not know of production: unknown values and parked keys. */
import type { ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import type { GapCount, TableGaps } from '../../dialect.ts';
import { PARKED } from '../apply/parked-sql.ts';
import { UNKNOWN_VALUE } from '../apply/unknown-sql.ts';
import { readDeadKeys } from './dead-letters.ts';

interface GapRow {
  readonly schema: string;
  readonly name: string;
  readonly key: readonly string[];
  /** Null for a parked key. */
  readonly columns: readonly string[] | null;
}

/** The oldest `limit` rows with gaps, all with null; and all dead keys. */
export async function readGaps(
  client: ClientBase,
  limit: number | null,
): Promise<readonly TableGaps[]> {
  const { rows } = await client.query<GapRow>(
    `SELECT * FROM (
       SELECT table_schema AS schema, table_name AS name, key, NULL::text[] AS columns, at
         FROM ${PARKED}
       UNION ALL
       SELECT table_schema, table_name, key,
           pg_catalog.array_agg(column_name ORDER BY column_name), pg_catalog.min(at)
         FROM ${UNKNOWN_VALUE} GROUP BY table_schema, table_name, key
     ) g ORDER BY g.at, g.schema, g.name, g.key LIMIT $1`,
    [limit],
  );
  const tables = new Map<string, { table: TableId; rows: GapRow[] }>();
  for (const row of rows) {
    const table = { schema: row.schema, name: row.name };
    const found = tables.get(tableName(table)) ?? { table, rows: [] };
    found.rows.push(row);
    tables.set(tableName(table), found);
  }
  const dead = await readDeadKeys(client);
  for (const [name, { table }] of dead) {
    if (!tables.has(name)) tables.set(name, { table, rows: [] });
  }
  return Array.from(tables, ([name, found]) => ({
    table: found.table,
    unknown: found.rows.flatMap(({ key, columns }) => (columns === null ? [] : [{ key, columns }])),
    parked: found.rows.filter((row) => row.columns === null).map((row) => row.key),
    dead: dead.get(name)?.keys ?? [],
  }));
}

export async function countGaps(client: ClientBase): Promise<readonly GapCount[]> {
  const { rows } = await client.query<{
    schema: string;
    name: string;
    column: string | null;
    entries: number;
    oldestMs: number;
  }>(
    `SELECT g.schema, g.name, g.column, pg_catalog.count(*)::int4 AS entries,
         EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - pg_catalog.min(g.at))::float8 * 1000
           AS "oldestMs"
       FROM (SELECT table_schema AS schema, table_name AS name, NULL::text AS column, at
               FROM ${PARKED}
             UNION ALL SELECT table_schema, table_name, column_name, at FROM ${UNKNOWN_VALUE}) g
       GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 NULLS FIRST`,
  );
  return rows.map(({ schema, name, ...counted }) => ({ table: { schema, name }, ...counted }));
}
