/** Deciding conflicts: for the candidate, for production, or column by column. */
import type { Side } from '../../../overlay/conflict.ts';
import { unreachable } from '../../../util/assert.ts';
import type { ResolvedRows, RowSelection } from '../../overlay.ts';
import { selectTables } from '../../sql/overlay-rows.ts';
import { checkDeferred, type ApplySession } from '../apply/apply.ts';
import { keyOf, keysEqual, type ApplyColumn, type ApplyTable } from '../apply/apply-table.ts';
import { JOURNAL } from '../session/names.ts';
import { queryAll } from '../session/query-all.ts';
import { ALL_PARTS, admitBlocked } from './admit.ts';
import { baseImage, baseText } from './conflict-sql.ts';
import { mayMerge } from './policy-sql.ts';
import { holdsBlocked, isBlocked, lookedUp, settleAll } from './blocked-sql.ts';
import { touchCaptured } from './journal.ts';
import { entryFacts, insertOutcomes } from './outcomes.ts';
import { readPairs } from './pairs.ts';
import { selectionCondition } from './read.ts';
import { capturedTables, decided, resetTable } from './reset.ts';
import { resolveOrphans } from './resolve-orphans.ts';
import { imageEqual } from './views.ts';
import { writeAllWaiting } from './write-waiting.ts';

/** Entries, as `j`, by a condition with parameters. */
interface Selected {
  readonly sql: string;
  readonly values: readonly string[];
}

const FORGET = [JOURNAL.conflict, JOURNAL.conflictAt, JOURNAL.conflictSource]
  .map((column) => `${column} = NULL`)
  .join(', ');

/** From here on production's image of now is what both began with; of what is kept out the stale row stays so. */
function begunAnew(table: ApplyTable): string {
  return `${FORGET}, ${JOURNAL.conflictBase} = CASE
    WHEN j.${JOURNAL.blocked} IS NOT NULL OR NOT j.${JOURNAL.present} THEN j.${JOURNAL.conflictBase}
    ELSE ${baseImage(table, 'j')} END`;
}

/**
 * Decides the selected conflicts, see OverlayActs. In the caller's READ COMMITTED transaction on an applier's
 * session. Errors: USAGE, TABLE_UNKNOWN, APPLY_BLOCKED.
 */
export async function resolveOverlay(
  session: ApplySession,
  only: RowSelection,
  side: Side,
): Promise<ResolvedRows> {
  let [resolved, kept] = [0, 0];
  const all = capturedTables(session);
  const tables = selectTables(all, only);
  const pairs = await readPairs(session.client, all, session.pairsOn);
  for (const table of tables) {
    await writeAllWaiting(session, table.schema.id);
    await session.client.query(settleAll(table));
    const { sql, values } = selectionCondition(table, 'j', only);
    // Production's row of a pair is kept out as it should be, unless it is named.
    const apart = only.key === undefined ? pairs.isNoTwin(table, 'j', isBlocked(table)) : 'true';
    // Elsewhere such joins are off, for what is staged has no statistics; here they are owned × table.
    if (pairs.has(table)) await session.client.query('SET LOCAL enable_hashjoin = on');
    const selected = { sql: `j.${JOURNAL.conflict} IS NOT NULL AND ${sql} AND ${apart}`, values };
    const before = await noteSelected(session, table, selected);
    if (before === 0) continue;
    await decided(table, async () => {
      await resolveTable(session, table, selected, side);
      await checkDeferred(session);
    });
    const left = await countNoted(session, table);
    resolved += before - left;
    kept += left;
  }
  const orphans = await resolveOrphans(session, all, only, side);
  await checkDeferred(session);
  await touchCaptured(session.client, side === 'theirs' ? all : tables);
  return { resolved: resolved + orphans.resolved, kept: kept + orphans.kept };
}

/**
 * Keys of the conflicts at hand, and of what is put back for them. One table at a time: dropped again within the
 * transaction.
 */
const CONFLICTS = 'pg_temp.understudy_conflicts';
const ASKED = 'understudy_asked';

/** Returns how many there are. */
async function noteSelected(
  { client }: ApplySession,
  table: ApplyTable,
  { sql, values }: Selected,
): Promise<number> {
  const key = keyOf(table, 'j');
  await client.query(`DROP TABLE IF EXISTS ${CONFLICTS};
    CREATE TEMPORARY TABLE understudy_conflicts ON COMMIT DROP AS
      SELECT ${key}, true AS ${ASKED} FROM ${table.journal ?? ''} j WITH NO DATA`);
  const noted = await client.query(
    `INSERT INTO ${CONFLICTS} SELECT ${key}, true FROM ${table.journal ?? ''} j WHERE ${sql}`,
    [...values],
  );
  return noted.rowCount ?? 0;
}

/** How many of them are conflicts still. */
async function countNoted({ client }: ApplySession, table: ApplyTable): Promise<number> {
  const { rows } = await client.query<{ entries: number }>(
    `SELECT pg_catalog.count(*)::int4 AS entries FROM ${table.journal ?? ''} j
      JOIN ${CONFLICTS} n ON ${keysEqual(table, ['j', 'name'], ['n', 'name'])}
      WHERE n.${ASKED} AND j.${JOURNAL.conflict} IS NOT NULL`,
  );
  return rows[0]?.entries ?? 0;
}

async function resolveTable(
  session: ApplySession,
  table: ApplyTable,
  selected: Selected,
  side: Side,
): Promise<void> {
  switch (side) {
    case 'ours':
      return takeOurs(session, table, selected);
    case 'theirs':
      return takeTheirs(session, table, selected);
    case 'merge':
      return merge(session, table, selected);
    default:
      return unreachable(side);
  }
}

/** The entries stay: the rows still differ. */
async function takeOurs(
  { client }: ApplySession,
  table: ApplyTable,
  { sql, values }: Selected,
): Promise<void> {
  await client.query(
    `WITH decided AS (UPDATE ${table.journal ?? ''} j SET ${begunAnew(table)} WHERE ${sql}
        RETURNING ${entryFacts(table)})
      ${insertOutcomes(table, { outcome: 'ours', source: null }, 'decided')}`,
    [...values],
  );
}

async function takeTheirs(
  session: ApplySession,
  table: ApplyTable,
  { sql, values }: Selected,
): Promise<void> {
  await resetTable(session, table, { sql, values, outcome: 'theirs' });
  const uniques = lookedUp(table, session.comparisons);
  if (uniques.length === 0) return;
  const isTaken = `EXISTS (SELECT FROM ${CONFLICTS} n
    WHERE ${keysEqual(table, ['j', 'name'], ['n', 'name'])})`;
  const blocking = holdsBlocked(table, uniques, isTaken);
  // One that is put back may be kept out by another one in turn.
  for (let put = 1; put > 0;) {
    await session.client.query(
      `INSERT INTO ${CONFLICTS} SELECT ${keyOf(table, 'j')}, false FROM ${table.journal ?? ''} j
        WHERE j.${JOURNAL.blocked} IS NULL AND ${blocking} AND NOT ${isTaken}`,
    );
    put = await resetTable(session, table, { sql: blocking, values: [], outcome: 'theirs' });
  }
  await admitBlocked(session, table, { schema: false, parts: ALL_PARTS });
}

/**
 * Row and entry are locked before anything is decided. A column that may not be set, as an identity, cannot
 * be merged where both differ in it.
 */
async function merge(
  { client }: ApplySession,
  table: ApplyTable,
  { sql, values }: Selected,
): Promise<void> {
  const journal = table.journal ?? '';
  const same = keysEqual(table, ['t', 'name'], ['j', 'name']);
  const which = `${sql} AND j.${JOURNAL.conflict} = 'update_differs' AND j.${JOURNAL.present}`;
  await client.query(
    `SELECT pg_catalog.count(*) FROM (SELECT FROM ${table.rows} t
      WHERE EXISTS (SELECT FROM ${journal} j WHERE ${same} AND ${which})
      ORDER BY ${keyOf(table, 't')} FOR NO KEY UPDATE OF t) locked`,
    [...values],
  );
  await client.query(
    `SELECT pg_catalog.count(*) FROM (SELECT FROM ${journal} j WHERE ${which}
      ORDER BY ${keyOf(table, 'j')} FOR UPDATE OF j) locked`,
    [...values],
  );
  const base = (column: ApplyColumn): string => baseText(column, 'j');
  const ours = (column: ApplyColumn): string =>
    `t.${column.name}::text IS DISTINCT FROM ${base(column)}`;
  const theirs = (column: ApplyColumn): string =>
    `j.${column.name}::text IS DISTINCT FROM ${base(column)}`;
  const apart = (column: ApplyColumn): string => `NOT ${imageEqual([column.schema], 'j', 't')}`;
  const isFixed = (column: ApplyColumn): boolean => !mayMerge(table, column);
  const overlaps = table.rest.map((column) =>
    isFixed(column)
      ? apart(column)
      : `(${ours(column)} AND ${theirs(column)} AND ${apart(column)})`,
  );
  const settable = table.rest.filter((column) => !isFixed(column));
  const set = settable.map(
    (column) =>
      `${column.name} = CASE WHEN ${ours(column)} THEN t.${column.name} ELSE j.${column.name} END`,
  );
  if (set.length === 0) return;
  const mergeable = `${which} AND j.${JOURNAL.conflictBase} IS NOT NULL
    AND EXISTS (SELECT FROM ${table.rows} t WHERE ${same} AND NOT (${overlaps.join(' OR ')}))`;
  await client.query(
    `WITH decided AS (UPDATE ${journal} j SET ${JOURNAL.conflict} = 'merging' WHERE ${mergeable}
        RETURNING ${entryFacts(table)})
      ${insertOutcomes(table, { outcome: 'merged', source: null }, 'decided')}`,
    [...values],
  );
  await queryAll(client, [
    `UPDATE ${table.rows} t SET ${set.join(', ')} FROM ${journal} j
      WHERE ${same} AND j.${JOURNAL.conflict} = 'merging'`,
    `DELETE FROM ${journal} j WHERE j.${JOURNAL.conflict} = 'merging' AND EXISTS (SELECT
      FROM ${table.rows} t WHERE ${same} AND ${imageEqual(
        table.columns.map(({ schema }) => schema),
        'j',
        't',
      )})`,
    `UPDATE ${journal} j SET ${begunAnew(table)} WHERE j.${JOURNAL.conflict} = 'merging'`,
  ]);
}
