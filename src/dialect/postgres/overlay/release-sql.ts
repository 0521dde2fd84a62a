/**
 * Giving up entries of which nothing is left: production's row and what the candidate sees are the same
 * to the byte, or there is neither. Pure statements over a staging table, of the rows that it says are owned.
 *
 * The order is what survives a candidate that writes meanwhile, and each statement is one of its own, with a
 * snapshot of its own:
 * 1. The rows that are the same are locked. Who writes one from now on waits before its trigger fires.
 * 2. The entries are locked: of these rows, and of those that are on neither side. Who makes such a row has
 *    locked the entry, or waits for it and then makes a new one.
 * 3. The entries go for which it holds still, and only where the row itself was locked if there is one: one
 *    that the candidate deletes and inserts again is in nobody's sight meanwhile.
 * So a write of the candidate is before 2, and then they differ; or after the commit, and then it is captured
 * anew, with what it finds as production's image.
 */
import { IS_STALE, isBlocked, KEPT, isBlockedAbsent } from './blocked-sql.ts';
import { keyOf, keysEqual, type ApplyTable } from '../apply/apply-table.ts';
import { stageRelation } from '../apply/stage.ts';
import { JOURNAL } from '../session/names.ts';
import { entryFacts, insertOutcomes, type Ending } from './outcomes.ts';
import { imageEqual } from './views.ts';

const STAGED = ['s', 'staged'] as const;
const JOURNALED = ['j', 'name'] as const;
const TABLE = ['t', 'name'] as const;

/** What is given up: entries of which nothing is left; or also those of rows that are kept out, see blocked-sql.ts. */
export type Given = 'equal' | 'equal or kept out';

/** Whether it waits for locks of the candidate, or leaves alone what it is at. */
export type Patience = 'wait' | 'pass over';

const LOCKED: Readonly<Record<Patience, string>> = { wait: '', 'pass over': 'SKIP LOCKED' };

/** 1. */
export function lockEqualRows(
  table: ApplyTable,
  patience: Patience,
  given: Given = 'equal',
): string {
  return `UPDATE ${stageRelation(table)} s SET seen = true FROM (SELECT s.ctid AS at
      FROM ${stageRelation(table)} s JOIN ${table.journal ?? ''} j ON ${keysEqual(table, JOURNALED, STAGED)}
      JOIN ${table.rows} t ON ${keysEqual(table, TABLE, JOURNALED)}
      WHERE s.own AND (${areEqual(table)}${given === 'equal' ? '' : ` OR ${IS_STALE}`})
      ORDER BY ${keyOf(table, 't')} FOR NO KEY UPDATE OF t ${LOCKED[patience]}) l WHERE s.ctid = l.at`;
}

/** 2. Its row count says whether there is anything to be given up. */
export function lockEqualEntries(
  table: ApplyTable,
  patience: Patience,
  given: Given = 'equal',
): string {
  return `UPDATE ${stageRelation(table)} s SET held = true FROM (SELECT s.ctid AS at
      FROM ${stageRelation(table)} s JOIN ${table.journal ?? ''} j ON ${keysEqual(table, JOURNALED, STAGED)}
      WHERE s.own AND (s.seen OR ${isNeither(table)}${given === 'equal' ? '' : ` OR ${isBlockedAbsent(table)}`})
      ORDER BY ${keyOf(table, 'j')} FOR UPDATE OF j ${LOCKED[patience]}) l WHERE s.ctid = l.at`;
}

/** 3. Selects how many were given up, of which the staging table then says that they are `freed`. */
export function deleteEqualEntries(
  table: ApplyTable,
  ending: Ending,
  given: Given = 'equal',
): string {
  const keptOut = given === 'equal' ? '' : ` OR ${isBlocked(table)}`;
  const stage = stageRelation(table);
  return `WITH gone AS (
      DELETE FROM ${table.journal ?? ''} j USING ${stage} s
      WHERE ${keysEqual(table, JOURNALED, STAGED)} AND s.own AND s.held
        AND CASE WHEN s.seen THEN ${isSame(table)}${keptOut}
          ELSE ${isNeither(table)}${keptOut} END
      RETURNING s.ctid AS at, ${entryFacts(table)}, ${KEPT} AS kept
    ), freed AS (
      UPDATE ${stage} s SET own = false, freed = true, kept = CASE WHEN g.blocked THEN g.kept END
      FROM gone g WHERE s.ctid = g.at
    ), told AS (${insertOutcomes(table, ending, told(table))})
    SELECT pg_catalog.count(*)::int4 AS released FROM gone`;
}

/** All of it at once, of entries that `condition` holds for, by who keeps other writers out. */
export function deleteAllEqual(table: ApplyTable, ending: Ending, condition: string): string {
  return `WITH gone AS (
      DELETE FROM ${table.journal ?? ''} j WHERE (${condition})
        AND (${isSame(table)} OR ${isNeither(table)})
      RETURNING ${entryFacts(table)}
    ) ${insertOutcomes(table, ending, told(table))}`;
}

/** In an isolated table it may be that only production wrote the row, as it alone wrote one that is kept out. */
function told({ isolated }: ApplyTable): string {
  return isolated
    ? '(SELECT * FROM gone WHERE false)'
    : '(SELECT * FROM gone WHERE moved AND NOT blocked)';
}

/** Stages the entries, as `j`, that `condition` holds for and of which nothing is left by now. */
export function stageEqual(table: ApplyTable, condition: string): string {
  return `INSERT INTO ${stageRelation(table)}
      (${table.key.map(({ staged }) => staged).join(', ')}, seq, op, own, seen, held, freed)
    SELECT ${keyOf(table, 'j')}, pg_catalog.row_number() OVER (), 'd', true, false, false, false
    FROM ${table.journal ?? ''} j
    WHERE ${condition} AND (${isSame(table)} OR ${isNeither(table)})`;
}

/** Of an entry, as `j`, and its row, as `t`. */
function areEqual({ columns }: ApplyTable): string {
  const schemas = columns.map(({ schema }) => schema);
  return `j.${JOURNAL.present} AND ${imageEqual(schemas, 'j', 't')}`;
}

function isSame(table: ApplyTable): string {
  return `EXISTS (SELECT FROM ${table.rows} t
    WHERE ${keysEqual(table, TABLE, JOURNALED)} AND ${areEqual(table)})`;
}

function isNeither(table: ApplyTable): string {
  return `NOT j.${JOURNAL.present} AND NOT EXISTS (SELECT FROM ${table.rows} t
    WHERE ${keysEqual(table, TABLE, JOURNALED)})`;
}
