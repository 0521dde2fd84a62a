/**
 * What the policies write into rows that the candidate owns (overlay/policy.ts), as statements over staged
 * changes. Row and entry are locked first, in statements of their own, and only then is anything decided.
 *
 * Aliases: t the table, s the staging table, j the journal.
 */
import { columnPolicy } from '../../../overlay/policy.ts';
import { unreachable } from '../../../util/assert.ts';
import { keyOf, keysEqual, type ApplyColumn, type ApplyTable } from '../apply/apply-table.ts';
import { stageRelation } from '../apply/stage.ts';
import { JOURNAL } from '../session/names.ts';
import { holdsStaged, REFUSAL, type UniqueColumns } from './blocked-sql.ts';
import { differ, UNMERGED } from './conflict-sql.ts';
import { entryFacts, insertOutcomes, type Ending } from './outcomes.ts';

const TABLE = ['t', 'name'] as const;
const STAGED = ['s', 'staged'] as const;
const JOURNALED = ['j', 'name'] as const;

/** The rows of owned staged keys, and then their entries. */
export function lockOwned(table: ApplyTable): readonly string[] {
  const stage = stageRelation(table);
  return [
    `SELECT pg_catalog.count(*) FROM (SELECT FROM ${table.rows} t
      JOIN ${stage} s ON ${keysEqual(table, TABLE, STAGED)}
      WHERE s.own ORDER BY ${keyOf(table, 't')} FOR UPDATE OF t) locked`,
    `SELECT pg_catalog.count(*) FROM (SELECT FROM ${table.journal ?? ''} j
      JOIN ${stage} s ON ${keysEqual(table, JOURNALED, STAGED)}
      WHERE s.own ORDER BY ${keyOf(table, 'j')} FOR UPDATE OF j) locked`,
  ];
}

/** A patch of a row that production has, and of which nothing is here but the candidate's: it is to meet none. */
export function removeUnknown(table: ApplyTable): string {
  return `DELETE FROM ${table.rows} t USING ${stageRelation(table)} s
      JOIN ${table.journal ?? ''} j ON ${keysEqual(table, JOURNALED, STAGED)}
    WHERE ${keysEqual(table, TABLE, STAGED)} AND s.own AND s.op = 's' AND NOT j.${JOURNAL.present}`;
}

/**
 * Production's change is the end of what the candidate has there: the rows are nobody's then, but for those
 * that are kept out. Selects how many.
 */
export function takeBackStaged(table: ApplyTable, source: string | null): string {
  const stage = stageRelation(table);
  return `WITH gone AS (
      DELETE FROM ${table.journal ?? ''} j USING ${stage} s
      WHERE ${keysEqual(table, JOURNALED, STAGED)} AND s.own AND j.${JOURNAL.blocked} IS NULL
      RETURNING s.ctid AS at, ${entryFacts(table)}
    ), freed AS (
      UPDATE ${stage} s SET own = false, freed = true FROM gone g WHERE s.ctid = g.at
    ), told AS (${insertOutcomes(table, taken(source), 'gone')})
    SELECT pg_catalog.count(*)::int4 AS taken FROM gone`;
}

const taken = (source: string | null): Ending => ({ outcome: 'theirs', source });

/**
 * The candidate's rows that keep staged ones out: staged themselves, as production has them, and given up.
 * Its row count says how many.
 */
export function takeBackBlockers(
  table: ApplyTable,
  uniques: readonly UniqueColumns[],
  source: string | null,
): readonly string[] {
  const [stage, journal] = [stageRelation(table), table.journal ?? ''];
  const inTheWay = `NOT EXISTS (SELECT FROM ${stage} m WHERE ${keysEqual(table, ['m', 'staged'], JOURNALED)})
    AND ${holdsStaged(table, uniques)}`;
  const columns = table.columns.map(({ name }, i) => `j.${name} AS i${String(i)}`).join(', ');
  return [
    `SELECT pg_catalog.count(*) FROM (SELECT FROM ${table.rows} t WHERE EXISTS (SELECT FROM ${journal} j
        WHERE ${keysEqual(table, TABLE, JOURNALED)} AND ${inTheWay})
      ORDER BY ${keyOf(table, 't')} FOR UPDATE OF t) locked`,
    `SELECT pg_catalog.count(*) FROM (SELECT FROM ${journal} j WHERE ${inTheWay}
      ORDER BY ${keyOf(table, 'j')} FOR UPDATE OF j) locked`,
    `WITH gone AS (
        DELETE FROM ${journal} j WHERE ${inTheWay}
        RETURNING ${columns}, j.${JOURNAL.present} AS is_present, ${entryFacts(table)}
      ), told AS (${insertOutcomes(table, taken(source), '(SELECT * FROM gone WHERE NOT blocked)')})
      INSERT INTO ${stage} (${table.columns.map(({ staged }) => staged).join(', ')}, seq, op, own,
          seen, held, freed, evicted, restored)
        SELECT ${table.columns.map((_, i) => `g.i${String(i)}`).join(', ')},
          (SELECT COALESCE(pg_catalog.max(m.seq), 0) FROM ${stage} m)
            + (pg_catalog.row_number() OVER ())::int4,
          CASE WHEN g.is_present THEN 'f'::"char" ELSE 'd'::"char" END, false,
          false, false, true, false, true FROM gone g`,
  ];
}

/** Not an identity that no UPDATE may set; and what the session does not check, it must not write beside others. */
export function mayMerge({ unchecked }: ApplyTable, { schema }: ApplyColumn): boolean {
  return (
    schema.identity !== 'always' && !unchecked.some(({ columns }) => columns.includes(schema.name))
  );
}

/**
 * Merges production's changes into rows that both have, column by column; conditions over `s` can be added.
 * Null if no column asks for it.
 */
export function mergeColumns(
  table: ApplyTable,
  known: (column: ApplyColumn) => string,
): string | null {
  const merged = table.rest.filter(
    (column) =>
      mayMerge(table, column) && columnPolicy(table.policy, column.schema.name) !== 'overlay-wins',
  );
  if (merged.length === 0) return null;
  const comes = (column: ApplyColumn): string => `(s.op <> 's' OR ${known(column)})`;
  const moved = merged.map(
    (column) =>
      `(${comes(column)} AND ${differ(column, `j.${column.name}`, `s.${column.staged}`)})`,
  );
  const set = merged.map(
    (column) =>
      `${column.name} = CASE WHEN ${comes(column)} THEN ${merge(table, column)} ELSE t.${column.name} END`,
  );
  return `UPDATE ${table.rows} t SET ${set.join(', ')}
    FROM ${stageRelation(table)} s JOIN ${table.journal ?? ''} j ON ${keysEqual(table, JOURNALED, STAGED)}
    WHERE ${keysEqual(table, TABLE, STAGED)} AND s.own AND s.op IN ('f', 's')
      AND j.${JOURNAL.present} AND j.${JOURNAL.blocked} IS NULL AND (${moved.join(' OR ')})`;
}

function merge(table: ApplyTable, column: ApplyColumn): string {
  const [ours, base, theirs] = [`t.${column.name}`, `j.${column.name}`, `s.${column.staged}`];
  const policy = columnPolicy(table.policy, column.schema.name);
  switch (policy) {
    case 'overlay-wins':
      return ours;
    case 'source-wins':
      // What production left as it was stays as the candidate has it.
      return `CASE WHEN ${differ(column, base, theirs)} THEN ${theirs} ELSE ${ours} END`;
    case 'merge':
      return `CASE WHEN ${differ(column, base, ours)} THEN ${ours} ELSE ${theirs} END`;
    case 'delta':
      // Exactly what production has, whose sum may have another scale, or not be with floats.
      return `CASE WHEN ${theirs} IS NOT NULL AND ${base} IS NOT NULL AND NOT ${differ(column, base, ours)}
        THEN ${theirs} ELSE COALESCE(${ours} + (${theirs} - ${base}), ${ours}) END`;
    default:
      return unreachable(policy);
  }
}

/** Row by row, where together they were refused: what the table does not take stays as the candidate has it, and is a conflict. */
export function mergeEach(table: ApplyTable, statement: string): string {
  const stage = stageRelation(table);
  return `DO $merge$
#variable_conflict use_column
DECLARE
  understudy_place tid;
BEGIN
  FOR understudy_place IN SELECT s.ctid FROM ${stage} s WHERE s.own LOOP
    BEGIN
      ${statement} AND s.ctid = understudy_place;
    EXCEPTION WHEN ${REFUSAL} THEN
      UPDATE ${stage} s SET refused = '${UNMERGED}' WHERE s.ctid = understudy_place;
    END;
  END LOOP;
END $merge$`;
}
