import type { ClientBase } from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { RowSelection } from '../../dialect.ts';
import { checkDeferred, type ApplySession } from '../apply/apply.ts';
import { applyFailure, uniqueViolation } from '../apply/apply-error.ts';
import { describeTable, type ApplyTable } from '../apply/apply-table.ts';
import { touchCaptured } from './journal.ts';
import { JOURNAL } from '../session/names.ts';
import { selectTables } from '../../sql/overlay-rows.ts';
import { entryFacts, insertOutcomes } from './outcomes.ts';
import { selectionCondition } from './read.ts';
import { differenceKind, journalWithRows } from './views.ts';

/** Keys an act works on, locked. One table at a time: dropped again within the transaction. */
const KEYS = 'pg_temp.understudy_keys';

/** The captured tables of a session, in the order of their names. */
export function capturedTables(session: ApplySession): readonly ApplyTable[] {
  return [...(session.captured ?? [])].flatMap(([label, journal]) => {
    const schema = session.catalogue.get(label);
    if (schema === undefined) return [];
    const isolated = session.isolates(schema.id);
    return [describeTable(schema, session.comparisons, journal, isolated)];
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
  const tables = selectTables(capturedTables(session), only);
  let owned = 0;
  for (const table of tables) {
    owned += await acting(table, async () => {
      const reset = await resetTable(session.client, table, only);
      await checkDeferred(session);
      return reset;
    });
  }
  await touchCaptured(session.client, tables);
  return owned;
}

async function acting<T>(table: ApplyTable, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const clash = uniqueViolation(error);
    if (clash === null) throw applyFailure(error, table.label);
    throw new UnderstudyError(
      'APPLY_BLOCKED',
      'a row of the candidate that is not reset holds a unique value of one that is',
      { table: table.label, detail: `constraint ${clash.constraint}` },
    );
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
      SELECT ${list(table.key, 'j')} FROM ${journal} j WITH NO DATA;
    ALTER TABLE ${KEYS} ADD PRIMARY KEY (${table.key.map((c) => c.name).join(', ')})`);
  const locked = await client.query(
    `INSERT INTO ${KEYS} SELECT ${list(table.key, 'j')} FROM ${journal} j
     WHERE ${condition.sql} ORDER BY ${list(table.key, 'j')} FOR UPDATE OF j`,
    [...condition.values],
  );
  return locked.rowCount ?? 0;
}

async function resetTable(
  client: ClientBase,
  table: ApplyTable,
  only: RowSelection,
): Promise<number> {
  const journal = table.journal ?? '';
  const selected = selectionCondition(table, 'j', only);
  if (table.keyDeferrable || table.unchecked.length > 0) {
    // Deferrable constraints are not checked in this session: see apply-rows.ts.
    await client.query(`LOCK TABLE ${table.rows} IN SHARE ROW EXCLUSIVE MODE`);
  }
  await client.query(
    `SELECT pg_catalog.count(*) FROM (SELECT FROM ${table.rows} t
       WHERE EXISTS (SELECT FROM ${journal} j WHERE ${sameKey(table, 'j', 't')} AND ${selected.sql})
       ORDER BY ${list(table.key, 't')} FOR UPDATE OF t) locked`,
    [...selected.values],
  );
  const owned = await lockEntries(client, table, selected);
  if (owned === 0) return 0;
  const undone = `(SELECT ${entryFacts(table)} FROM ${journalWithRows(table)}
    JOIN ${KEYS} k ON ${sameKey(table, 'k', 'j')}
    WHERE j.${JOURNAL.moved} OR ${differenceKind(table)} <> 'equal')`;
  await client.query(insertOutcomes(table, { outcome: 'reset', source: null }, undone));
  // All out before any comes in: the rows may have swapped unique values among each other.
  const columns = table.columns.map((column) => column.name).join(', ');
  const set = table.columns
    .filter((column) => column.schema.identity !== 'always')
    .map((column) => `${column.name} = excluded.${column.name}`);
  const key = table.key.map((column) => column.name).join(', ');
  // A row that came in between is one that the candidate inserted again: it is reset as well.
  const conflict = table.keyDeferrable
    ? ''
    : `ON CONFLICT (${key}) ${set.length === 0 ? 'DO NOTHING' : `DO UPDATE SET ${set.join(', ')}`}`;
  await client.query(`DELETE FROM ${table.rows} t USING ${KEYS} k WHERE ${sameKey(table, 'k', 't')};
    INSERT INTO ${table.relation} (${columns}) OVERRIDING SYSTEM VALUE
      SELECT ${list(table.columns, 'j')} FROM ${journal} j JOIN ${KEYS} k
        ON ${sameKey(table, 'k', 'j')} WHERE j.${JOURNAL.present}
      ORDER BY ${list(table.key, 'j')} ${conflict};
    DELETE FROM ${journal} j USING ${KEYS} k WHERE ${sameKey(table, 'k', 'j')}`);
  return owned;
}
