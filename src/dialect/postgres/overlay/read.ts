import { escapeLiteral, type ClientBase } from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { OverlayCount, OverlayRow, RowSelection } from '../../dialect.ts';
import type { OutcomeCounts, OverlayConflict, RowPair, RowReading } from '../../overlay.ts';
import type { PairsOn } from '../../../overlay/pairing.ts';
import type { SameIn } from '../../sql/pairs.ts';
import type { ApplyTable } from '../apply/apply-table.ts';
import { IS_BLOCKED } from './blocked-sql.ts';
import { settledKind } from './conflict-sql.ts';
import { readCapturedTables } from './capture.ts';
import { JOURNAL, OUTCOME_TABLE, TRACE_CHARACTERS } from '../session/names.ts';
import {
  selectTables,
  toOutcomeCounts,
  toOverlayConflict,
  toOverlayRow,
  type ConflictRow,
  type DifferenceRow,
} from '../../sql/overlay-rows.ts';
import { passedBy } from '../shadow/passed.ts';
import { readPairs, type PgPairs } from './pairs.ts';
import { differenceKind, imageEqual, journalWithRows } from './views.ts';

/** Above this many rows the planner's estimate is near enough for a ratio. */
const EXACT_COUNT = 1_000_000;

/**
 * Counts, per captured table, what the candidate changed. `rows` is exact up to a million rows and
 * the planner's estimate above. Call it in one REPEATABLE READ transaction to have one moment.
 */
export async function readOverlayCounts(
  client: ClientBase,
  pairsOn: PairsOn | null = null,
): Promise<readonly OverlayCount[]> {
  const counts: OverlayCount[] = [];
  const tables = await readCapturedTables(client);
  const pairs = await readPairs(client, tables, pairsOn);
  for (const table of tables) {
    const kinds = `SELECT ${kindOf(table, pairs)} AS kind FROM ${journalWithRows(table)}`;
    const apart = pairs.has(table)
      ? `UNION ALL ${pairs.sides(
          table,
          `CASE WHEN ${differing(table, pairs, 'v').join(' OR ')} THEN 'pair' ELSE 'paired' END`,
        )}`
      : '';
    const result = await client.query<Omit<OverlayCount, 'table'>>(
      `${pairs.with(table)}SELECT pg_catalog.count(*) FILTER (WHERE kind = 'insert')::int4 AS inserted,
         pg_catalog.count(*) FILTER (WHERE kind = 'update')::int4 AS updated,
         pg_catalog.count(*) FILTER (WHERE kind = 'delete')::int4 AS deleted,
         pg_catalog.count(*) FILTER (WHERE kind = 'blocked')::int4 AS blocked,
         pg_catalog.count(*) FILTER (WHERE kind = 'equal')::int4 AS equal,
         pg_catalog.count(*) FILTER (WHERE kind = 'pair')::int4 AS pairs,
         pg_catalog.count(*) FILTER (WHERE kind = 'paired')::int4 AS paired
       FROM (${kinds} ${apart}) d`,
    );
    const row = result.rows[0];
    if (row === undefined) continue;
    counts.push({ table: table.schema.id, ...row, rows: await countRows(client, table) });
  }
  return counts;
}

async function countRows(client: ClientBase, table: ApplyTable): Promise<number> {
  const estimate = await client.query<{ rows: number }>(
    `SELECT reltuples::float8 AS rows FROM pg_catalog.pg_class
     WHERE oid = ${escapeLiteral(table.relation)}::pg_catalog.regclass`,
  );
  const estimated = estimate.rows[0]?.rows ?? 0;
  if (estimated > EXACT_COUNT) return Math.round(estimated);
  const exact = await client.query<{ rows: number }>(
    `SELECT pg_catalog.count(*)::float8 AS rows FROM ${table.rows} t`,
  );
  return exact.rows[0]?.rows ?? 0;
}

/**
 * The rows the candidate changed, at most `limit` per table, oldest first. Values are in the
 * session's text form. Errors: USAGE if a key is asked for without its table or with another
 * number of columns; TABLE_UNKNOWN if the table is not captured.
 */
export async function readOverlayRows(
  client: ClientBase,
  limit: number,
  { pairsOn = null, ...only }: RowReading & { readonly pairsOn?: PairsOn | null } = {},
): Promise<readonly OverlayRow[]> {
  const rows: OverlayRow[] = [];
  const tables = await readCapturedTables(client);
  const pairs = await readPairs(client, tables, pairsOn);
  for (const table of selectTables(tables, only)) {
    const condition = selectionCondition(table, 'j', only);
    const what = (production: 'j' | 'v'): string => `${columnLists(table, pairs, production)},
      pg_catalog.date_part('epoch', j.${JOURNAL.at}) OPERATOR(pg_catalog.*) 1000 AS at,
      j.${JOURNAL.trace} AS trace`;
    const texts = table.key.map(({ name }) => `v.${name}::text`);
    const apart = pairs.has(table)
      ? `UNION ALL ${pairs.sides(
          table,
          `'pair' AS kind, ARRAY[${texts.join(', ')}]::text[] AS "productionKey", ${what('v')}`,
          `${condition.sql} AND (${differing(table, pairs, 'v').join(' OR ')})`,
        )}`
      : '';
    const found = await client.query<DifferenceRow>(
      `${pairs.with(table)}SELECT * FROM (
         SELECT ${kindOf(table, pairs)} AS kind, NULL::text[] AS "productionKey", ${what('j')}
         FROM ${journalWithRows(table)} WHERE ${condition.sql} ${apart}) d
       WHERE d.kind NOT IN ('equal', 'paired', 'twin')
       ORDER BY d.at, d.key LIMIT $${condition.values.length + 1}`,
      [...condition.values, limit],
    );
    rows.push(...found.rows.map((row) => toOverlayRow(table, row, only)));
  }
  return rows;
}

/** See OverlayActs. */
export async function readOverlayPairs(
  client: ClientBase,
  limit: number,
  pairsOn: PairsOn | null,
): Promise<readonly RowPair[]> {
  const tables = await readCapturedTables(client);
  const pairs = await readPairs(client, tables, pairsOn);
  const found: RowPair[] = [];
  for (const table of tables.filter((one) => pairs.has(one))) {
    const key = (side: 'c' | 'p'): string =>
      `ARRAY[${table.key.map((_, i) => `q.${side}${String(i + 1)}::text`).join(', ')}]::text[]`;
    const { rows } = await client.query<Omit<RowPair, 'table'>>(
      `${pairs.with(table)}SELECT ${key('c')} AS candidate, ${key('p')} AS production
        FROM ${pairs.name(table)} q LIMIT ${String(limit)}`,
    );
    found.push(...rows.map((row) => ({ table: table.schema.id, ...row })));
  }
  return found;
}

/** The conflicts, at most `limit` per table, oldest first. Errors as `readOverlayRows`. */
export async function readOverlayConflicts(
  client: ClientBase,
  limit: number,
  { pairsOn = null, ...only }: RowSelection & { readonly pairsOn?: PairsOn | null } = {},
): Promise<readonly OverlayConflict[]> {
  const conflicts: OverlayConflict[] = [];
  const tables = await readCapturedTables(client);
  const pairs = await readPairs(client, tables, pairsOn);
  for (const table of selectTables(tables, only)) {
    const condition = selectionCondition(table, 'j', only);
    // Production's row of a pair is kept out as it should be.
    const isTwin = pairs.isOf('production', table, 'j');
    const isNone = only.key === undefined ? `(${IS_BLOCKED} AND ${isTwin})` : 'false';
    const ms = (column: string): string =>
      `pg_catalog.date_part('epoch', j.${column}) OPERATOR(pg_catalog.*) 1000`;
    const found = await client.query<ConflictRow>(
      `${pairs.with(table)}SELECT ${conflictNow(table)} AS kind, ${columnLists(table, pairs)}, j.${JOURNAL.detail} AS detail,
         ${ms(JOURNAL.at)} AS "firstAt", ${ms(JOURNAL.conflictAt)} AS at, j.${JOURNAL.trace} AS trace,
         ${passedBy(`j.${JOURNAL.at}`)}::text AS "firstSource", j.${JOURNAL.conflictSource}::text AS source, j.${JOURNAL.conflictBase} AS base
       FROM ${journalWithRows(table)}
       WHERE j.${JOURNAL.conflict} IS NOT NULL AND ${conflictNow(table)} IS NOT NULL AND ${condition.sql} AND NOT ${isNone}
       ORDER BY j.${JOURNAL.conflictAt}, key LIMIT $${condition.values.length + 1}`,
      [...condition.values, limit],
    );
    conflicts.push(...found.rows.map((row) => toOverlayConflict(table, row)));
  }
  return conflicts;
}

/** As `differenceKind`, or what pairs make of it. */
function kindOf(table: ApplyTable, pairs: PgPairs): string {
  return pairs.kindOf(table, differenceKind(table), compared(table));
}

/** By column, that it differs. */
function differing(table: ApplyTable, pairs: PgPairs, production: 'j' | 'v'): readonly string[] {
  return pairs.differing(table, compared(table), production);
}

function compared(table: ApplyTable): {
  readonly columns: readonly string[];
  readonly same: SameIn;
} {
  const columns = new Map(table.columns.map(({ schema }) => [schema.name, schema]));
  return {
    columns: [...columns.keys()],
    same: (name, production) => {
      const column = columns.get(name);
      return column === undefined ? 'true' : imageEqual([column], production, 't');
    },
  };
}

/** Over `j` and `t`: one that kept a row out that the candidate came to since is what it is by now. */
function conflictNow(table: ApplyTable): string {
  return `CASE WHEN j.${JOURNAL.refused} IS NULL OR ${IS_BLOCKED} THEN j.${JOURNAL.conflict}
    ELSE ${settledKind(table)} END`;
}

function columnLists(table: ApplyTable, pairs: PgPairs, production: 'j' | 'v' = 'j'): string {
  const list = (values: readonly string[], type: string): string =>
    `ARRAY[${values.join(', ')}]::${type}[]`;
  const names = table.columns.map((column) => column.name);
  const text = (alias: string): string =>
    list(
      names.map((name) => `${alias}.${name}::text`),
      'text',
    );
  const key = table.key.map((column) => `j.${column.name}::text`);
  const changed = differing(table, pairs, production);
  return `${list(key, 'text')} AS key, ${list(changed, 'boolean')} AS changed,
    ${text(production)} AS production, ${text('t')} AS candidate`;
}

/** Which rows of a table a selection means, as a condition with parameters $1, … USAGE. */
export function selectionCondition(
  table: ApplyTable,
  alias: string,
  only: RowSelection,
): { readonly sql: string; readonly values: readonly string[] } {
  const { trace } = only;
  const traced = (n: number): readonly string[] =>
    trace === undefined
      ? []
      : [`${alias}.${JOURNAL.trace} = pg_catalog.left($${n}::text, ${TRACE_CHARACTERS})`];
  const values = trace === undefined ? [] : [trace];
  if (only.key === undefined) return { sql: traced(1)[0] ?? 'true', values };
  if (only.key.length !== table.key.length) {
    const names = table.key.map((column) => column.schema.name).join(', ');
    throw new UnderstudyError('USAGE', `the key has the columns ${names}`, { table: table.label });
  }
  const parts = table.key.map((column, i) => {
    const type = column.schema.type.domainOf ?? column.schema.type.sql;
    return `${alias}.${column.name} ${column.equals} $${i + 1}::${type}`;
  });
  const all = [...parts, ...traced(only.key.length + 1)];
  return { sql: all.join(' AND '), values: [...only.key, ...values] };
}

export async function countOutcomes(client: ClientBase): Promise<OutcomeCounts> {
  const { rows } = await client.query<{ outcome: string; entries: number }>(
    `SELECT outcome, pg_catalog.count(*)::float8 AS entries FROM ${OUTCOME_TABLE} GROUP BY outcome`,
  );
  return toOutcomeCounts(rows);
}
