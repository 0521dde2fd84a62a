/**
 * Conflicts as expressions over an entry `j` whose image is about to be moved, the staged change `s` and the
 * visible row `t`, null where there is none: what overlay/conflict.ts says, for whole batches.
 */
import { escapeLiteral } from 'pg';
import { columnPolicy } from '../../../overlay/policy.ts';
import type { ApplyColumn, ApplyTable } from '../apply/apply-table.ts';
import { JOURNAL } from '../session/names.ts';

/** Noted with a staged change that a policy could not write into the candidate's row. */
export const UNMERGED = 'unmerged';

/** To the byte, see imageEqual; by the type beneath a domain, as the journal and the staging table have it. */
export function differ({ schema }: ApplyColumn, left: string, right: string): string {
  const type = schema.type.domainOf ?? schema.type.sql;
  const value = (of: string): string =>
    `(SELECT understudy_row FROM (SELECT ${of}::${type}) understudy_row)`;
  return `NOT (${value(left)} OPERATOR(pg_catalog.*=) ${value(right)})`;
}

/** What an entry's columns come to be with the change: to be set where its image is moved. */
export function conflictSet(
  table: ApplyTable,
  source: string | null,
  known: (column: ApplyColumn) => string,
): readonly string[] {
  const kind = conflictKind(table, known);
  const isFirst = `j.${JOURNAL.conflict} IS NULL AND ${kind} IS NOT NULL`;
  const at = source === null ? 'NULL' : escapeLiteral(source);
  const set = (column: string, value: string): string =>
    `${column} = CASE WHEN ${isFirst} THEN ${value} ELSE j.${column} END`;
  return [
    `${JOURNAL.conflict} = ${kind}`,
    set(JOURNAL.conflictBase, baseImage(table)),
    set(JOURNAL.conflictAt, 'pg_catalog.clock_timestamp()'),
    set(JOURNAL.conflictSource, `${at}::json`),
  ];
}

function conflictKind(table: ApplyTable, known: (column: ApplyColumn) => string): string {
  const visible = `t.${table.key[0]?.name ?? ''} IS NOT NULL`;
  const any = (conditions: readonly string[]): string =>
    conditions.length === 0 ? 'false' : `(${conditions.join(' OR ')})`;
  const moved = (column: ApplyColumn): string =>
    `(s.op <> 's' OR ${known(column)}) AND ${differ(column, `j.${column.name}`, `s.${column.staged}`)}`;
  const apart = (column: ApplyColumn): string =>
    differ(column, `t.${column.name}`, `s.${column.staged}`);
  const changed = (column: ApplyColumn): string =>
    differ(column, `j.${column.name}`, `t.${column.name}`);
  // Of a counter both changes count.
  const compared = table.rest.filter(
    ({ schema }) => columnPolicy(table.policy, schema.name) !== 'delta',
  );
  const both = compared.map(
    (column) => `(${moved(column)} AND ${changed(column)} AND ${apart(column)})`,
  );
  const written = table.rest.map((column) => changed(column));
  return `CASE WHEN j.${JOURNAL.blocked} IS NOT NULL THEN j.${JOURNAL.conflict}
    WHEN s.op = 'd' THEN CASE WHEN j.${JOURNAL.present} AND ${visible} AND ${any(written)}
      THEN 'update_deleted' ELSE j.${JOURNAL.conflict} END
    WHEN j.${JOURNAL.present} AND ${visible} AND (s.refused = '${UNMERGED}' OR ${any(both)})
      THEN 'update_differs'
    WHEN NOT j.${JOURNAL.present} AND ${visible} AND ${any(table.rest.map(apart))} THEN 'insert_exists'
    WHEN j.${JOURNAL.present} AND NOT (${visible})
      AND ${any(table.rest.map((column) => `(${moved(column)})`))} THEN 'delete_updated'
    ELSE j.${JOURNAL.conflict} END`;
}

/** Production's image before the change, as texts by column; null if it has no such row. */
function baseImage({ columns }: ApplyTable): string {
  const names = columns.map(({ schema }) => escapeLiteral(schema.name));
  const values = columns.map(({ name }) => `j.${name}::text`);
  return `CASE WHEN j.${JOURNAL.present} THEN pg_catalog.jsonb_object(
    ARRAY[${names.join(', ')}]::text[], ARRAY[${values.join(', ')}]::text[]) END`;
}
