/**
 * Where production's images of keys wait that the candidate is at (dialect/waiting.ts): for each captured table a
 * table of the same columns, and one list of the tables of which there may be any. A table is on the list before
 * a key of it waits, in the transaction that makes it wait; only who writes what waits takes it off.
 */
import type { ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import type { WaitingCount } from '../../waiting.ts';
import type { ApplyTable } from '../apply/apply-table.ts';
import { relation, WAITING, WAITING_TABLE, waitingId } from '../session/names.ts';
import { readGenerated } from './generated.ts';
import { copyStatements, type GeneratedColumn } from './journal.ts';
import { viewStatements } from './views.ts';

/** What a session knows of it. */
export interface WaitingTables {
  /** Tables, by `tableName()`, of which keys may wait; only ever too many. */
  readonly tables: Set<string>;
  /** Keys that are locked wait from now on; else they refuse the batch. */
  parks: boolean;
}

/** The statements that make it, anew: nothing must wait there. */
export function waitingStatements(
  table: ApplyTable,
  generated: readonly GeneratedColumn[],
): readonly string[] {
  const name = relation(waitingId(table.schema.id));
  return [
    `DROP TABLE IF EXISTS ${name}`,
    ...copyStatements(table, generated, {
      name,
      columns: [
        `${WAITING.present} boolean NOT NULL`,
        `${WAITING.at} timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()`,
      ],
      isRow: WAITING.present,
    }),
  ];
}

/** Takes it away, with what is on the list; after the views. */
export async function dropWaiting(client: ClientBase, table: TableId): Promise<void> {
  await client.query(`DROP TABLE IF EXISTS ${relation(waitingId(table))}`);
  await client.query(`DELETE FROM ${WAITING_TABLE} WHERE table_schema = $1 AND table_name = $2`, [
    table.schema,
    table.name,
  ]);
}

/**
 * Before a key waits: puts the table on the list, and makes what a rollout of an older version lacks. `apart`:
 * its production view is another's (reshapes.ts).
 */
export async function beginWaiting(
  client: ClientBase,
  table: ApplyTable,
  apart: boolean,
): Promise<void> {
  const { id } = table.schema;
  const { rows } = await client.query<{ there: boolean }>(
    'SELECT pg_catalog.to_regclass($1) IS NOT NULL AS there',
    [relation(waitingId(id))],
  );
  if (rows[0]?.there !== true) {
    const generated = (await readGenerated(client)).get(table.label) ?? [];
    const views = viewStatements(table, 'OR REPLACE').slice(apart ? 1 : 0);
    await client.query([...waitingStatements(table, generated), ...views].join(';\n'));
  }
  // That it is locked keeps who takes it off from doing so before this transaction ends.
  await client.query(
    `INSERT INTO ${WAITING_TABLE} (table_schema, table_name) VALUES ($1, $2)
      ON CONFLICT (table_schema, table_name) DO UPDATE SET table_name = excluded.table_name`,
    [id.schema, id.name],
  );
}

/** The tables on the list. */
export async function readWaitingTables(client: ClientBase): Promise<readonly TableId[]> {
  const { rows } = await client.query<TableId>(
    `SELECT table_schema AS schema, table_name AS name FROM ${WAITING_TABLE} ORDER BY 1, 2`,
  );
  return rows;
}

export async function readWaitingLabels(client: ClientBase): Promise<Set<string>> {
  return new Set((await readWaitingTables(client)).map(tableName));
}

export async function countWaiting(client: ClientBase): Promise<readonly WaitingCount[]> {
  const counts: WaitingCount[] = [];
  for (const table of await readWaitingTables(client)) {
    const { rows } = await client.query<{ keys: number; oldestMs: number | null }>(
      `SELECT pg_catalog.count(*)::int4 AS keys,
          (EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - pg_catalog.min(w.${WAITING.at}))
            * 1000)::float8 AS "oldestMs"
        FROM ${relation(waitingId(table))} w`,
    );
    const { keys = 0, oldestMs } = rows[0] ?? {};
    if (keys > 0) counts.push({ table, keys, oldestMs: Math.max(0, oldestMs ?? 0) });
  }
  return counts;
}
