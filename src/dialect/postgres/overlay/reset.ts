import type { ClientBase } from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { Outcome } from '../../../overlay/outcome.ts';
import type { RowSelection } from '../../dialect.ts';
import { checkDeferred, type ApplySession } from '../apply/apply.ts';
import { applyFailure, uniqueViolation } from '../apply/apply-error.ts';
import { writeStaged } from '../apply/apply-rows.ts';
import { clearStage } from '../apply/apply-sql.ts';
import { describeTable, keyOf, type ApplyTable } from '../apply/apply-table.ts';
import { ensureStages, stageRelation } from '../apply/stage.ts';
import { queryAll } from '../session/query-all.ts';
import { ALL_PARTS, admitBlocked, takeUp, withoutLedgers } from './admit.ts';
import { lookedUp, settleAll, stageBlocked } from './blocked-sql.ts';
import { touchCaptured } from './journal.ts';
import { JOURNAL } from '../session/names.ts';
import { forgottenBy } from '../../sql/orphan-decisions.ts';
import { isApart, selectTables } from '../../sql/overlay-rows.ts';
import { originOf } from '../../sql/reshaped.ts';
import { forgetAccepted } from './orphans.ts';
import { entryFacts, insertOutcomes } from './outcomes.ts';
import { selectionCondition } from './read.ts';
import { differenceKind, journalWithRows } from './views.ts';
import { writeAllWaiting } from './write-waiting.ts';

/** Keys an act works on, locked. One table at a time: dropped again within the transaction. */
const KEYS = 'pg_temp.understudy_keys';

/** The captured tables of a session, in the order of their names. */
export function capturedTables(session: ApplySession): readonly ApplyTable[] {
  return [...(session.captured ?? [])].flatMap(([label, journal]) => {
    const schema = session.catalogue.get(label);
    if (schema === undefined) return [];
    const ruled = { isolated: session.isolates(originOf(schema, session.reshaped).id) };
    return [describeTable(schema, session.comparisons, journal, ruled)];
  });
}

/**
 * Puts the selected rows back to production's and gives them up. Runs in the caller's READ
 * COMMITTED transaction on an applier's session. Returns how many were owned.
 *
 * Rows are locked before entries, as the capture does; and only entries locked here are touched:
 * a row that the candidate takes meanwhile stays its own.
 * Foreign keys are not checked: a part of the tables may leave rows that refer to nothing.
 * Errors: USAGE, TABLE_UNKNOWN, APPLY_BLOCKED (also if a row that is not selected holds a unique
 * value of one that is).
 */
export async function resetOverlay(session: ApplySession, only: RowSelection): Promise<number> {
  const all = capturedTables(session);
  const tables = selectTables(all, only, isApart);
  let owned = 0;
  for (const table of tables) {
    owned += await acting(table, async () => {
      await writeAllWaiting(session, table.schema.id);
      const reset = await resetTable(session, table, {
        ...selectionCondition(table, 'j', only),
        outcome: 'reset',
      });
      await checkDeferred(session);
      return reset;
    });
  }
  await forgetAccepted(session.client, forgottenBy(all, tables, only));
  await touchCaptured(session.client, tables);
  return owned;
}

/** For a row that cannot be put back alone. */
function inTheWay(table: ApplyTable, constraint: string): UnderstudyError {
  return new UnderstudyError(
    'APPLY_BLOCKED',
    'a row of the candidate that is not reset holds a unique value of one that is, or its schema refuses it',
    { table: table.label, detail: `constraint ${constraint}` },
  );
}

/** Where rows of the candidate's hold what comes back, that is what is told. */
export async function decided<T>(table: ApplyTable, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const clash = uniqueViolation(error);
    throw clash === null ? applyFailure(error, table.label) : inTheWay(table, clash.constraint);
  }
}

async function acting<T>(table: ApplyTable, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw applyFailure(error, table.label);
  }
}

function sameKey(table: ApplyTable, left: string, right: string): string {
  return table.key.map((c) => `${left}.${c.name} ${c.equals} ${right}.${c.name}`).join(' AND ');
}

function list(columns: readonly { readonly name: string }[], alias: string): string {
  return columns.map((column) => `${alias}.${column.name}`).join(', ');
}

/** Locks the entries that `condition` (over j) selects, in key order, and lists their keys. */
async function lockEntries(
  client: ClientBase,
  table: ApplyTable,
  condition: { readonly sql: string; readonly values: readonly string[] },
): Promise<number> {
  const journal = table.journal ?? '';
  await client.query(`DROP TABLE IF EXISTS ${KEYS};
    CREATE TEMPORARY TABLE understudy_keys ON COMMIT DROP AS
      SELECT ${keyOf(table, 'j')} FROM ${journal} j WITH NO DATA;
    ALTER TABLE ${KEYS} ADD PRIMARY KEY (${table.key.map((c) => c.name).join(', ')})`);
  const locked = await client.query(
    `INSERT INTO ${KEYS} SELECT ${keyOf(table, 'j')} FROM ${journal} j
     WHERE ${condition.sql} ORDER BY ${keyOf(table, 'j')} FOR UPDATE OF j`,
    [...condition.values],
  );
  return locked.rowCount ?? 0;
}

/**
 * Of one table, the entries, as `j`, that a condition holds for, but for rows that are kept out. Errors:
 * APPLY_BLOCKED.
 */
export async function resetTable(
  session: ApplySession,
  table: ApplyTable,
  selected: {
    readonly sql: string;
    readonly values: readonly string[];
    readonly outcome: Outcome;
  },
): Promise<number> {
  const { client } = session;
  const journal = table.journal ?? '';
  const stage = stageRelation(table);
  if (table.keyDeferrable || table.unchecked.length > 0) {
    // Deferrable constraints are not checked in this session: see apply-rows.ts.
    await client.query(`LOCK TABLE ${table.rows} IN SHARE ROW EXCLUSIVE MODE`);
  }
  await client.query(
    `SELECT pg_catalog.count(*) FROM (SELECT FROM ${table.rows} t
       WHERE EXISTS (SELECT FROM ${journal} j WHERE ${sameKey(table, 'j', 't')} AND ${selected.sql})
       ORDER BY ${keyOf(table, 't')} FOR UPDATE OF t) locked`,
    [...selected.values],
  );
  await client.query(settleAll(table));
  const owned = await lockEntries(client, table, {
    ...selected,
    sql: `${selected.sql} AND j.${JOURNAL.blocked} IS NULL`,
  });
  if (owned === 0) return 0;
  await ensureStages(client, [table], {
    ...{ known: session.staged, used: new Set(), made: new Set() },
  });
  const undone = `(SELECT ${entryFacts(table)} FROM ${journalWithRows(table)}
    JOIN ${KEYS} k ON ${sameKey(table, 'k', 'j')}
    WHERE j.${JOURNAL.moved} OR ${differenceKind(table)} <> 'equal')`;
  await queryAll(client, [
    insertOutcomes(table, { outcome: selected.outcome, source: null }, undone),
    clearStage(table),
    // All out before any comes in: the rows may have swapped unique values among each other. A row that
    // comes in between is one that the candidate inserted again: it is reset as well.
    `DELETE FROM ${table.rows} t USING ${KEYS} k WHERE ${sameKey(table, 'k', 't')}`,
    `INSERT INTO ${stage} (${table.columns.map(({ staged }) => staged).join(', ')}, seq, op, own)
      SELECT ${list(table.columns, 'j')}, (pg_catalog.row_number() OVER ())::int4,
        CASE WHEN j.${JOURNAL.present} THEN 'f'::"char" ELSE 'd'::"char" END, false
      FROM ${journal} j JOIN ${KEYS} k ON ${sameKey(table, 'k', 'j')}`,
    `DELETE FROM ${journal} j USING ${KEYS} k WHERE ${sameKey(table, 'k', 'j')}`,
    // They may have swapped values with rows that were kept out, too.
    stageBlocked(table, lookedUp(table, session.comparisons), {
      ...{ schema: false, limit: 100_000, others: 100_000 },
    }),
  ]);
  await takeUp(session, table);
  await writeStaged(withoutLedgers(session), { ...table, isolated: false });
  const kept = await client.query<{ constraint: string | null }>(
    `SELECT j.${JOURNAL.detail} AS constraint FROM ${journal} j
      JOIN ${KEYS} k ON ${sameKey(table, 'k', 'j')} WHERE j.${JOURNAL.blocked} IS NOT NULL LIMIT 1`,
  );
  if (kept.rows.length > 0 && selected.outcome !== 'theirs') {
    throw inTheWay(table, kept.rows[0]?.constraint ?? '');
  }
  await admitBlocked(session, table, { schema: false, parts: ALL_PARTS });
  return owned;
}
