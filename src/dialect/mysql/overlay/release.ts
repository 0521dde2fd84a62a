/**
 * Entries of which nothing is left, looked for and given up, and what was kept out let in: when somebody asks,
 * and from time to time.
 */
import type { Outcome } from '../../../overlay/outcome.ts';
import type { ReleasedRows, RowSelection, Swept } from '../../overlay.ts';
import { isApart, selectTables } from '../../sql/overlay-rows.ts';
import { parsePlace, placeText } from '../../sql/sweep-place.ts';
import { ensureStage, type ApplySession } from '../apply/apply.ts';
import { applyFailure } from '../apply/apply-error.ts';
import type { OverlaidTable } from '../apply/overlaid-table.ts';
import { besideEntry, giveUpEmpty, isEmpty, lockEntries, lockRows } from '../apply/staged-rows.ts';
import { exactText } from '../compare/exact-text.ts';
import { areOrdered, boundSql } from '../compare/table-reader.ts';
import { NOW_US } from '../session/clock.ts';
import type { Client } from '../session/client.ts';
import { companionName, JOURNAL, quote } from '../session/names.ts';
import { forgetPassed } from '../shadow/passed.ts';
import { hasEntries } from './journal.ts';
import { letIn } from './put-back.ts';
import { selectionCondition } from './read.ts';
import { writeAllWaiting, writeWaiting } from './write-waiting.ts';

/** Entries that one part of a sweep looks at. */
const ENTRIES = 2_000;
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
  for (const table of selectTables([...session.captured.values()], only, isApart)) {
    const condition = selectionCondition(table, only);
    if (condition === null) continue;
    await writeAllWaiting(session, table);
    await letIn(session, table);
    released += await releaseTable(session, table, { condition, outcome: 'released' });
    const { entries } = await session.client.row<{ entries: string }>(
      `SELECT COUNT(*) AS entries FROM ${table.journal} j
        WHERE ${condition} AND j.${JOURNAL.blocked} IS NULL`,
    );
    kept += Number(entries);
  }
  return { released, kept };
}

/**
 * The next part of a sweep: some entries of one table, by its key; all of a table whose keys have another
 * order than their literals. With the last part of a table's comes what was kept out of it. As `releaseOverlay`; see ShadowDatabase.
 */
export async function sweepOverlay(session: ApplySession, place: string | null): Promise<Swept> {
  const tables = [...session.captured.values()];
  if (place === null) await writeWaiting(session);
  const from = parsePlace(place);
  const at = from === null ? 0 : tables.findIndex(({ label }) => label === from.table);
  // A table that is there no more: what is left of the sweep is left to the next one.
  if (at < 0) return { released: 0, next: null };
  for (const [i, table] of tables.slice(at).entries()) {
    if (!(await hasEntries(session.client, table))) continue;
    const after = i === 0 ? (from?.after ?? []) : [];
    const { condition, end } = await nextPart(session.client, table, after);
    if (end === null) await letIn(session, table);
    const released = await releaseTable(session, table, { condition, outcome: 'converged' });
    const then = tables[at + i + 1];
    if (end !== null) return { released, next: placeText({ table: table.label, after: end }) };
    return {
      released,
      next: then === undefined ? null : placeText({ table: then.label, after: [] }),
    };
  }
  return { released: 0, next: null };
}

/** After a key, from the beginning where there is none. `end` is the last that belongs to it; null: all do. */
async function nextPart(
  client: Client,
  { journal, schema, key }: OverlaidTable,
  after: readonly string[],
): Promise<{ readonly condition: string; readonly end: readonly string[] | null }> {
  const keys = key.map((column) => column.schema);
  const rest = after.length === 0 ? 'TRUE' : boundSql(keys, after, '>', '>', 'j');
  if (!areOrdered(keys)) return { condition: rest, end: null };
  const texts = key.map((one, i) => `${exactText(`j.${one.name}`, one.schema)} AS k${String(i)}`);
  const order = schema.key.map((name) => `j.${quote(name)}`).join(', ');
  const [row] = await client.rows<Record<string, string | number>>(
    `SELECT ${texts.join(', ')} FROM ${journal} j WHERE ${rest} ORDER BY ${order}
      LIMIT 1 OFFSET ${String(ENTRIES - 1)}`,
  );
  if (row === undefined) return { condition: rest, end: null };
  const end = key.map((_, i) => String(row[`k${String(i)}`]));
  return { condition: `${rest} AND ${boundSql(keys, end, '<', '<=', 'j')}`, end };
}

async function releaseTable(
  session: ApplySession,
  table: OverlaidTable,
  what: { readonly condition: string; readonly outcome: Outcome },
): Promise<number> {
  const { client } = session;
  const { stage, journal, key } = table;
  await ensureStage(session, table);
  try {
    await client.run(`DELETE FROM ${stage}`);
    // Most find nothing, and then no row is locked.
    const { rows } = await client.run(
      `INSERT INTO ${stage} (${key.map(({ staged }) => staged).join(', ')}, seq, op, mask)
        SELECT ${key.map(({ name }) => `j.${name}`).join(', ')}, ROW_NUMBER() OVER (), 'd', 0
        FROM ${journal} j ${besideEntry(table)} WHERE ${what.condition} AND ${isEmpty(table)}`,
    );
    if (rows === 0) return 0;
    await lockRows(client, table, 'SKIP LOCKED');
    await lockEntries(client, table, 'SKIP LOCKED');
    return await giveUpEmpty(client, table, { outcome: what.outcome, source: null });
  } catch (error) {
    throw applyFailure(error, table.label);
  }
}

/** Forgets what was decided longer ago, a part of it if it is much. Returns how many lines. */
export async function forgetOutcomes(
  client: Client,
  database: string,
  olderThanMs: number,
): Promise<number> {
  const { rows } = await client.run(
    `DELETE FROM ${quote(companionName(database), 'outcome')}
      WHERE decided_at_us < ${NOW_US} - ? * 1000 ORDER BY decided_at_us LIMIT ${String(FORGOTTEN)}`,
    [olderThanMs],
  );
  await forgetPassed(client, database, olderThanMs);
  return rows;
}
