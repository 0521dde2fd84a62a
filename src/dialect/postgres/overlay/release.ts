/** Entries of which nothing is left, looked for and given up: when somebody asks, and from time to time. */
import type { Outcome } from '../../../overlay/outcome.ts';
import type { ReleasedRows, RowSelection, Swept } from '../../overlay.ts';
import { isApart, selectTables } from '../../sql/overlay-rows.ts';
import { parsePlace, placeText, type SweepPlace } from '../../sql/sweep-place.ts';
import type { ApplySession } from '../apply/apply.ts';
import { applyFailure } from '../apply/apply-error.ts';
import type { ApplyTable } from '../apply/apply-table.ts';
import { ensureStages } from '../apply/stage.ts';
import { CAPTURED_TABLE, OUTCOME_TABLE, OWN_SCHEMA } from '../session/names.ts';
import { forgetPassed } from '../shadow/passed.ts';
import { queryAll } from '../session/query-all.ts';
import { admitBlocked, ALL_PARTS } from './admit.ts';
import { settleStaged } from './blocked-sql.ts';
import { touchCaptured } from './journal.ts';
import { selectionCondition } from './read.ts';
import { deleteEqualEntries, lockEqualEntries, lockEqualRows, stageEqual } from './release-sql.ts';
import { capturedTables } from './reset.ts';
import { writeAllWaiting } from './write-waiting.ts';

/** Pages of a journal that one part of a sweep looks at: some thousand entries. */
const PAGES = 32;
/** Parts of a table's rows that were kept out, of a sweep. */
const SWEPT_PARTS = 2;
/** Lines that are forgotten at once. */
const FORGOTTEN = 10_000;

/**
 * Gives up those of the selected rows that are production's again, so that they follow it. Waits for nobody:
 * what the candidate is at stays its own. In the caller's READ COMMITTED transaction on an applier's session.
 * Errors: USAGE, TABLE_UNKNOWN.
 */
export async function releaseOverlay(
  session: ApplySession,
  only: RowSelection,
): Promise<ReleasedRows> {
  let [released, kept] = [0, 0];
  for (const table of selectTables(capturedTables(session), only, isApart)) {
    const { sql, values } = selectionCondition(table, 'j', only);
    await writeAllWaiting(session, table.schema.id);
    await admitBlocked(session, table, { schema: true, parts: ALL_PARTS });
    released += await releaseTable(session, table, { sql, values, outcome: 'released' });
    const left = await session.client.query<{ entries: number }>(
      `SELECT pg_catalog.count(*)::int4 AS entries FROM ${table.journal} j WHERE ${sql}`,
      [...values],
    );
    kept += left.rows[0]?.entries ?? 0;
  }
  return { released, kept };
}

/** The next part of a sweep: some pages of one journal. As `releaseOverlay`; see ShadowDatabase. */
export async function sweepOverlay(session: ApplySession, place: string | null): Promise<Swept> {
  const tables = new Map(capturedTables(session).map((table) => [table.label, table]));
  const { rows } = await session.client.query<{ label: string; pages: string }>(
    `SELECT c.schema || '.' || c.name AS label, pg_catalog.pg_relation_size(
        pg_catalog.format('${OWN_SCHEMA}.%I', c.journal)::pg_catalog.regclass)
        / pg_catalog.current_setting('block_size')::int8 AS pages
      FROM ${CAPTURED_TABLE} c ORDER BY c.schema, c.name`,
  );
  const from = parsePlace(place);
  const at = rows.findIndex(({ label }) => label === from?.table);
  // A table that is there no more: what is left of the sweep is left to the next one.
  if (from !== null && at < 0) return { released: 0, next: null };
  for (const { label, pages } of rows.slice(Math.max(at, 0))) {
    const table = tables.get(label);
    const first = label === from?.table ? Number(from.after[0] ?? 0) : 0;
    if (table === undefined || first >= Number(pages)) continue;
    const next = String(first + PAGES);
    const sql = `j.ctid >= '(${String(first)},0)'::pg_catalog.tid AND j.ctid < '(${next},0)'::pg_catalog.tid`;
    // Before its first part: what nothing keeps out any more.
    if (first === 0) await admitBlocked(session, table, { schema: false, parts: SWEPT_PARTS });
    const released = await releaseTable(session, table, { sql, values: [], outcome: 'converged' });
    return { released, next: placeText({ table: label, after: [next] } satisfies SweepPlace) };
  }
  return { released: 0, next: null };
}

async function releaseTable(
  session: ApplySession,
  table: ApplyTable,
  what: { readonly sql: string; readonly values: readonly string[]; readonly outcome: Outcome },
): Promise<number> {
  const { client } = session;
  try {
    await ensureStages(client, [table], {
      ...{ known: session.staged, used: new Set(), made: new Set() },
    });
    // Most find nothing, and then no row is locked.
    const staged = await client.query(stageEqual(table, what.sql), [...what.values]);
    if ((staged.rowCount ?? 0) === 0) return 0;
    await queryAll(client, [
      settleStaged(table),
      lockEqualRows(table, 'pass over'),
      lockEqualEntries(table, 'pass over'),
    ]);
    const { rows } = await client.query<{ released: number }>(
      deleteEqualEntries(table, { outcome: what.outcome, source: null }),
    );
    const released = rows[0]?.released ?? 0;
    if (released > 0) await touchCaptured(client, [table]);
    return released;
  } catch (error) {
    throw applyFailure(error, table.label);
  }
}

/** Forgets what was decided longer ago, a part of it if it is much. Returns how many lines. */
export async function forgetOutcomes(
  client: ApplySession['client'],
  olderThanMs: number,
): Promise<number> {
  const { rowCount } = await client.query(
    `DELETE FROM ${OUTCOME_TABLE} WHERE id IN (SELECT o.id FROM ${OUTCOME_TABLE} o
      WHERE o.decided_at < pg_catalog.clock_timestamp()
        - pg_catalog.make_interval(secs => $1::float8 / 1000)
      ORDER BY o.decided_at LIMIT ${String(FORGOTTEN)})`,
    [olderThanMs],
  );
  await forgetPassed(client, olderThanMs);
  return rowCount ?? 0;
}
