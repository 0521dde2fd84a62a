/** Reads what a shadow does not know of production: unknown values and parked keys. */
import type { ClientBase } from 'pg';
import type { GapCount, TableGaps } from '../../dialect.ts';
import { tableGaps, type GapRow } from '../../sql/table-gaps.ts';
import { PARKED } from '../apply/parked-sql.ts';
import { UNKNOWN_VALUE } from '../apply/unknown-sql.ts';
import { deadLetterTables } from './dead-letters.ts';

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
  return tableGaps(rows, await deadLetterTables(client).keys(null));
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
