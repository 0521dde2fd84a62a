/** Rows that both sides changed, and production's rows that are kept out: as a list, and settled. */
import type { ConflictKind, Side } from '../../../overlay/conflict.ts';
import { mergedColumns, type ColumnTexts } from '../../../overlay/merge.ts';
import type { Outcome } from '../../../overlay/outcome.ts';
import { unreachable } from '../../../util/assert.ts';
import type { OverlayConflict, ResolvedRows, RowSelection } from '../../overlay.ts';
import { selectTables, toOverlayConflict } from '../../sql/overlay-rows.ts';
import { ensureStage, type ApplySession } from '../apply/apply.ts';
import { lockParents } from '../apply/apply-captured.ts';
import type { OverlaidTable } from '../apply/overlaid-table.ts';
import { applyFailure, isRefusal } from '../apply/apply-error.ts';
import {
  besideEntry,
  isEmpty,
  joined,
  lockEntries,
  lockRows,
  OWN,
  setOf,
} from '../apply/staged-rows.ts';
import { findingKeys } from '../apply/write-unowned.ts';
import type { Client } from '../session/client.ts';
import { momentUs } from '../session/clock.ts';
import { JOURNAL, literal } from '../session/names.ts';
import { passedBy } from '../shadow/passed.ts';
import { imageText } from './conflict-sql.ts';
import type { CapturedTable } from './journal.ts';
import { readOrphans } from './orphans.ts';
import { insertOutcomes } from './outcomes.ts';
import { putBack, type EntryCondition } from './put-back.ts';
import { pairsOf, type MySqlPairs, type PairedTables } from './pairs.ts';
import { differenceColumns, selectionCondition, toDifference, type Listing } from './read.ts';
import { resolveOrphans } from './resolve-orphans.ts';
import { unionOfEntries } from './waiting.ts';
import { settleKinds } from './settled.ts';
import { writeAllWaiting } from './write-waiting.ts';

/** Those that can be put together. */
const MERGEABLE: readonly ConflictKind[] = ['insert_exists', 'update_differs'];

type Found = Readonly<Record<string, string | number | null>>;

/** What the rows' entries tell, and rows that refer to none. */
export async function readAllConflicts(
  client: Client,
  database: string,
  paired: PairedTables,
  listing: Listing,
): Promise<readonly OverlayConflict[]> {
  return [
    ...(await readConflicts(client, paired, listing)),
    ...(await readOrphans(client, database, paired, listing)),
  ];
}

/** At most `limit` per table, the oldest first. Errors: USAGE, TABLE_UNKNOWN. */
async function readConflicts(
  client: Client,
  { tables, pairs }: PairedTables,
  { limit, only = {} }: Listing,
): Promise<readonly OverlayConflict[]> {
  const conflicts: OverlayConflict[] = [];
  for (const table of selectTables(tables, only)) {
    const which = listedIn(table, only, pairs);
    if (which === null) continue;
    const found = await client.rows<Found>(
      `SELECT * FROM (${unionOfEntries(table, (image) => ({
        list: `j.${JOURNAL.conflict} AS kind, ${differenceColumns(table, undefined, image)}, j.${JOURNAL.detail} AS detail,
          UNIX_TIMESTAMP(j.${JOURNAL.conflictAt}) * 1000 AS conflictAt,
          ${passedBy(table.companion, momentUs(`j.${JOURNAL.at}`))} AS firstSource,
          j.${JOURNAL.conflictSource} AS source, j.${JOURNAL.conflictBase} AS base`,
        where: which('j'),
      }))}) d
        ORDER BY d.conflictAt, ${table.key.map((_, i) => `d.k${String(i)}`).join(', ')}
        LIMIT ${String(limit)}`,
    );
    for (const row of found) {
      const { at: firstAt, ...difference } = toDifference(table, row);
      conflicts.push(
        toOverlayConflict(table, {
          ...{ ...difference, firstAt, at: Number(row['conflictAt']), base: baseOf(row) },
          kind: row['kind'] as ConflictKind,
          ...{ detail: textOf(row, 'detail'), source: textOf(row, 'source') },
          firstSource: textOf(row, 'firstSource'),
        }),
      );
    }
  }
  return conflicts;
}

/** The entries that are listed, of a selection; null if no row can have the key. USAGE. */
function listedIn(
  table: CapturedTable,
  only: RowSelection,
  pairs: MySqlPairs,
): EntryCondition | null {
  if (selectionCondition(table, only) === null) return null;
  // Production's row of a pair is kept out as it should be, unless it is named.
  const isNone = (alias: string): string =>
    only.key === undefined
      ? pairs.isNoTwin(table, alias, `${alias}.${JOURNAL.blocked} IS NOT NULL`)
      : 'TRUE';
  return (alias) =>
    `(${alias}.${JOURNAL.conflict} IS NOT NULL AND ${selectionCondition(table, only, alias) ?? 'FALSE'}
      AND ${isNone(alias)})`;
}

function baseOf(row: Found): ColumnTexts | null {
  const { base } = row;
  return typeof base === 'string' ? (JSON.parse(base) as ColumnTexts) : null;
}

function textOf(row: Found, name: string): string | null {
  const value = row[name] ?? null;
  return value === null ? null : String(value);
}

/**
 * Settles the conflicts of the selected rows in favour of one side, or of both. In the caller's READ COMMITTED
 * transaction on an applier's session. Waits for who is at the rows. Errors: USAGE, TABLE_UNKNOWN,
 * APPLY_BLOCKED.
 */
export async function resolveOverlay(
  session: ApplySession,
  only: RowSelection,
  side: Side,
): Promise<ResolvedRows> {
  const { client } = session;
  let [resolved, kept] = [0, 0];
  const all = [...session.captured.values()];
  const pairs = pairsOf(all, { tables: session.reshaped }, { pairsOn: session.pairsOn });
  for (const table of selectTables(all, only)) {
    const which = listedIn(table, only, pairs);
    if (which === null) continue;
    await writeAllWaiting(session, table);
    await settled(session, table, which);
    const count = async (): Promise<number> => {
      const { entries } = await client.row<{ entries: string }>(
        `SELECT COUNT(*) AS entries FROM ${table.journal} j WHERE ${which('j')}`,
      );
      return Number(entries);
    };
    const before = await count();
    if (before === 0) continue;
    await settle(session, table, which, side);
    const after = await count();
    resolved += before - after;
    kept += after;
  }
  const orphans = await resolveOrphans(session, pairs, only, side);
  return { resolved: resolved + orphans.resolved, kept: kept + orphans.kept };
}

async function settled(
  session: ApplySession,
  table: OverlaidTable,
  which: EntryCondition,
): Promise<void> {
  try {
    await settleKinds(session, table, { which, others: '' });
  } catch (error) {
    throw applyFailure(error, table.label);
  }
}

async function settle(
  session: ApplySession,
  table: OverlaidTable,
  which: EntryCondition,
  side: Side,
): Promise<void> {
  try {
    switch (side) {
      case 'ours':
        await lockListed(session, table, which('j'));
        await keepOurs(session.client, table);
        break;
      case 'theirs':
        await takeTheirs(session, table, which);
        break;
      case 'merge': {
        const kinds = MERGEABLE.map(literal).join(', ');
        await lockListed(session, table, `${which('j')} AND j.${JOURNAL.conflict} IN (${kinds})`);
        await merge(session.client, table);
        break;
      }
      default:
        unreachable(side);
    }
  } catch (error) {
    throw applyFailure(error, table.label);
  }
}

/** Of rows that are in each other's way; and of look-ups in one condition, which holds the one before for each key. */
const LONGEST_CHAIN = 6;
const MOST_LOOKUPS = 100;

/**
 * With what the candidate has in the way of those that are kept out, and what it has in the way of that. A row of
 * a longer chain stays a conflict.
 */
async function takeTheirs(
  session: ApplySession,
  table: OverlaidTable,
  which: EntryCondition,
): Promise<void> {
  let taken = which;
  const keys = findingKeys(table).length;
  const longest = Math.max(1, Math.floor(Math.log(MOST_LOOKUPS) / Math.log(1 + keys)));
  for (
    let hops = 0, left = Infinity;
    hops < Math.min(LONGEST_CHAIN, longest) && left > 0;
    hops += 1
  ) {
    taken = orInTheWay(table, taken, hops === 0);
    await putBack(session, table, taken, 'theirs');
    const { rows } = await session.client.row<{ rows: string }>(
      `SELECT COUNT(*) AS \`rows\` FROM ${table.journal} j
        WHERE j.${JOURNAL.blocked} = 'multiple_unique' AND ${which('j')}`,
    );
    left = Number(rows);
  }
}

/** These, and the candidate's rows that have a unique value of theirs: of those that are kept out, or of any. */
function orInTheWay(
  table: OverlaidTable,
  which: EntryCondition,
  ofKeptOut: boolean,
): EntryCondition {
  const { key, journal, relation, hint } = table;
  const keys = (alias: string): string => key.map(({ name }) => `${alias}.${name}`).join(', ');
  const isOut = ofKeptOut ? `b.${JOURNAL.blocked} = 'multiple_unique'` : `b.${JOURNAL.present} = 1`;
  const holders = findingKeys(table).map(({ name, columns }) => {
    const is = columns.map((column) => `x.${column.name} = b.${column.name}`).join(' AND ');
    return `SELECT ${keys('x')} FROM ${journal} b STRAIGHT_JOIN ${relation} x ${hint(name)} ON ${is}
      WHERE ${isOut} AND ${which('b')}`;
  });
  return (alias) =>
    `(${[which(alias), ...holders.map((one) => `(${keys(alias)}) IN (${one})`)].join(' OR ')})`;
}

/** Stages production's images of these, and locks rows, then entries. */
async function lockListed(
  session: ApplySession,
  table: OverlaidTable,
  condition: string,
): Promise<void> {
  const { client } = session;
  const { columns, stage, journal } = table;
  await ensureStage(session, table);
  await client.run(`DELETE FROM ${stage}`);
  await client.run(
    `INSERT INTO ${stage} (${columns.map(({ staged }) => staged).join(', ')}, seq, op, mask)
      SELECT ${columns.map(({ name }) => `j.${name}`).join(', ')}, ROW_NUMBER() OVER (),
        IF(j.${JOURNAL.present} = 1, 'f', 'd'), 0 FROM ${journal} j WHERE ${condition}`,
  );
  await lockParents(client, table);
  await lockRows(client, table);
  await lockEntries(client, table);
}

/** From here on production's image of now is what both began with, but of what is kept out, or is not there. */
function unlisted(table: CapturedTable): string {
  const is = [JOURNAL.conflict, JOURNAL.conflictAt, JOURNAL.conflictSource];
  const isKnown = `j.${JOURNAL.blocked} IS NULL AND j.${JOURNAL.present} = 1`;
  return [
    `j.${JOURNAL.conflictBase} = IF(${isKnown}, ${imageText(table, 'j')}, j.${JOURNAL.conflictBase})`,
    ...is.map((column) => `j.${column} = NULL`),
  ].join(', ');
}

async function keepOurs(client: Client, table: OverlaidTable): Promise<void> {
  const listed = `${joined(table, 'j', 'staged')} WHERE j.${JOURNAL.conflict} IS NOT NULL`;
  await tell(client, table, 'ours', listed);
  await client.run(
    `UPDATE ${joined(table, 'j', 'staged')} SET ${unlisted(table)}
      WHERE j.${JOURNAL.conflict} IS NOT NULL`,
  );
}

function tell(
  client: Client,
  table: OverlaidTable,
  outcome: Outcome,
  from: string,
): Promise<unknown> {
  return client.run(insertOutcomes(table, { outcome, source: null }, from));
}

/** Row by row: those of which both sides changed a column, and those that are refused, stay as they are. */
async function merge(client: Client, table: OverlaidTable): Promise<void> {
  const found = await client.rows<Found>(
    `SELECT s.seq, ${differenceColumns(table)}, j.${JOURNAL.conflictBase} AS base
      FROM ${joined(table, 'j', 'staged')} ${besideEntry(table)}
      WHERE s.have = 1 AND s.own = ${String(OWN.candidates)} AND s.op = 'f'
        AND j.${JOURNAL.conflict} IS NOT NULL ORDER BY s.seq`,
  );
  const merged: string[] = [];
  for (const row of found) {
    const { production, candidate } = toDifference(table, row);
    const named = (values: readonly (string | null)[]): ColumnTexts =>
      Object.fromEntries(table.columns.map(({ schema }, i) => [schema.name, values[i] ?? null]));
    const taken = mergedColumns(baseOf(row), named(production), named(candidate));
    if (taken === null) continue;
    // Beside a trigger these servers write an empty value for a NULL that a column does not take.
    const lacks = table.columns.some(
      ({ schema }, i) =>
        !schema.nullable && taken.includes(schema.name) && (production[i] ?? null) === null,
    );
    if (lacks) continue;
    const seq = String(row['seq']);
    if (await takeColumns(client, table, seq, new Set(taken))) merged.push(seq);
  }
  if (merged.length === 0) return;
  await lockParents(client, table);
  await client.run(`UPDATE ${table.stage} SET freed = 1 WHERE seq IN (${merged.join(', ')})`);
  const entries = joined(table, 'j', 'staged');
  await tell(client, table, 'merged', `${entries} WHERE s.freed = 1`);
  await client.run(`UPDATE ${entries} SET ${unlisted(table)} WHERE s.freed = 1`);
  await client.run(
    `DELETE j FROM ${entries} ${besideEntry(table)} WHERE s.freed = 1 AND ${isEmpty(table)}`,
  );
}

/** False if that is refused. */
async function takeColumns(
  client: Client,
  table: OverlaidTable,
  seq: string,
  taken: ReadonlySet<string>,
): Promise<boolean> {
  if (taken.size === 0) return true;
  const values = table.columns.flatMap(({ schema, staged }) =>
    taken.has(schema.name) ? [[schema.name, `s.${staged}`] as const] : [],
  );
  try {
    await client.run(
      `UPDATE ${joined(table, 't', 'staged')} SET ${setOf(table, new Map(values))}
        WHERE s.seq = ${seq}`,
    );
    return true;
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return false;
  }
}
