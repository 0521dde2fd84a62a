/**
 * Conflicts as expressions over an entry `j` whose image is about to be moved, the staged change `s` and the
 * visible row `t`, null where there is none: what overlay/conflict.ts says, for whole batches. What the
 * candidate changed is told by the ancestor: production's image from before it first moved beside the
 * candidate's, which the entry keeps as texts.
 */
import { escapeLiteral } from 'pg';
import { columnPolicy } from '../../../overlay/policy.ts';
import type { ApplyColumn, ApplyTable } from '../apply/apply-table.ts';
import { sourceOf } from '../apply/stage.ts';
import { JOURNAL } from '../session/names.ts';

/** Noted with a staged change that a policy could not write into the candidate's row. */
export const UNMERGED = 'unmerged';

/** To the byte; by the type beneath a domain, as the journal and the staging table have it. */
export function differ({ schema }: ApplyColumn, left: string, right: string): string {
  const type = schema.type.domainOf ?? schema.type.sql;
  return `NOT pg_catalog.record_image_eq(ROW(${left}::${type}), ROW(${right}::${type}))`;
}

const any = (conditions: readonly string[]): string =>
  conditions.length === 0 ? 'false' : `(${conditions.join(' OR ')})`;

/** Of what is kept of it; NULL where nothing is. */
export function baseText({ schema }: ApplyColumn, entry: string): string {
  return `pg_catalog.jsonb_extract_path_text(${entry}.${JOURNAL.conflictBase}, ${escapeLiteral(schema.name)})`;
}

/** The text of the ancestor's value; of an entry that never moved its image is the ancestor. */
function ancestor(column: ApplyColumn, entry: string): string {
  const { name } = column;
  return `CASE WHEN ${entry}.${JOURNAL.conflictBase} IS NULL THEN ${entry}.${name}::text
    ELSE ${baseText(column, entry)} END`;
}

/**
 * The candidate changed the column. Where a policy merges it, what it did not change follows production, and
 * is as production's image has it.
 */
function isOurs(table: ApplyTable, column: ApplyColumn, entry: string): string {
  return columnPolicy(table.policy, column.schema.name) === 'overlay-wins'
    ? `t.${column.name}::text IS DISTINCT FROM ${ancestor(column, entry)}`
    : differ(column, `${entry}.${column.name}`, `t.${column.name}`);
}

/** Of an entry, as text by column; null where production has no such row. */
export function baseImage({ columns }: ApplyTable, alias: string): string {
  const names = columns.map(({ schema }) => escapeLiteral(schema.name));
  const values = columns.map(({ name }) => `${alias}.${name}::text`);
  return `pg_catalog.jsonb_object(ARRAY[${names.join(', ')}]::text[],
    ARRAY[${values.join(', ')}]::text[])`;
}

/** What an entry's columns come to be with the change, whose `kind` is `c.kind`: where its image is moved. */
export function conflictSet(table: ApplyTable, source: string | null): readonly string[] {
  const isFirst = `j.${JOURNAL.conflict} IS NULL AND c.kind IS NOT NULL`;
  const set = (column: string, value: string): string =>
    `${column} = CASE WHEN ${isFirst} THEN ${value} ELSE j.${column} END`;
  return [
    `${JOURNAL.conflict} = c.kind`,
    `${JOURNAL.conflictBase} = CASE WHEN j.${JOURNAL.moved} OR NOT j.${JOURNAL.present}
      OR j.${JOURNAL.conflictBase} IS NOT NULL THEN j.${JOURNAL.conflictBase}
      ELSE ${baseImage(table, 'j')} END`,
    set(JOURNAL.conflictAt, 'pg_catalog.clock_timestamp()'),
    set(JOURNAL.conflictSource, sourceOf('s', source)),
  ];
}

/** Over `s`, `t` and the entry before the change. */
export function conflictKind(
  table: ApplyTable,
  entry: string,
  known: (column: ApplyColumn) => string,
): string {
  const visible = `t.${table.key[0]?.name ?? ''} IS NOT NULL`;
  const present = `${entry}.${JOURNAL.present}`;
  const before = `${entry}.${JOURNAL.conflict}`;
  const moved = (column: ApplyColumn): string =>
    `((s.op <> 's' OR ${known(column)})
      AND ${differ(column, `${entry}.${column.name}`, `s.${column.staged}`)})`;
  const apart = (column: ApplyColumn): string =>
    differ(column, `t.${column.name}`, `s.${column.staged}`);
  // Of a counter both changes count.
  const compared = table.rest.filter(
    ({ schema }) => columnPolicy(table.policy, schema.name) !== 'delta',
  );
  const both = compared.map(
    (column) => `(${moved(column)} AND ${apart(column)} AND ${isOurs(table, column, entry)})`,
  );
  const written = table.rest.map((column) =>
    differ(column, `${entry}.${column.name}`, `t.${column.name}`),
  );
  return `CASE WHEN ${entry}.${JOURNAL.blocked} IS NOT NULL THEN ${before}
    WHEN s.op = 'd' THEN CASE WHEN ${present} AND ${visible} AND ${any(written)}
      THEN 'update_deleted' ELSE ${before} END
    WHEN ${present} AND ${visible} AND (s.refused = '${UNMERGED}' OR ${any(both)})
      THEN 'update_differs'
    WHEN NOT ${present} AND ${visible} AND ${any(table.rest.map(apart))} THEN 'insert_exists'
    WHEN ${present} AND NOT (${visible}) AND ${any(table.rest.map(moved))} THEN 'delete_updated'
    ELSE ${before} END`;
}

/** Of an entry, `j`, of a row that was kept out, once the candidate came to it; `t` as ever. */
export function settledKind(table: ApplyTable): string {
  const apart = (column: ApplyColumn): string =>
    differ(column, `t.${column.name}`, `j.${column.name}`);
  const both = table.rest.map(
    (column) => `(${apart(column)}
      AND t.${column.name}::text IS DISTINCT FROM ${ancestor(column, 'j')}
      AND j.${column.name}::text IS DISTINCT FROM ${ancestor(column, 'j')})`,
  );
  return `CASE WHEN j.${JOURNAL.conflict} IS NULL OR NOT j.${JOURNAL.present} THEN NULL
    WHEN t.${table.key[0]?.name ?? ''} IS NULL THEN 'delete_updated'
    WHEN j.${JOURNAL.conflictBase} IS NULL
      THEN CASE WHEN ${any(table.rest.map(apart))} THEN 'insert_exists' END
    WHEN ${any(both)} THEN 'update_differs' END`;
}

/** Production emptied the table: of an entry `j`, and its visible row if `same` does not hold. */
export function emptiedSet(table: ApplyTable, source: string | null): readonly string[] {
  const differs = `EXISTS (SELECT FROM ${table.rows} t
    WHERE ${table.key.map((c) => `t.${c.name} ${c.equals} j.${c.name}`).join(' AND ')}
      AND ${any(table.rest.map((column) => differ(column, `t.${column.name}`, `j.${column.name}`)))})`;
  const at = source === null ? 'NULL' : escapeLiteral(source);
  const first = (value: string, column: string): string =>
    `${column} = CASE WHEN j.${JOURNAL.conflict} IS NULL AND ${differs} THEN ${value} ELSE j.${column} END`;
  return [
    `${JOURNAL.conflict} = CASE WHEN ${differs} THEN 'update_deleted' ELSE j.${JOURNAL.conflict} END`,
    first(`COALESCE(j.${JOURNAL.conflictBase}, ${baseImage(table, 'j')})`, JOURNAL.conflictBase),
    first('pg_catalog.clock_timestamp()', JOURNAL.conflictAt),
    first(`${at}::json`, JOURNAL.conflictSource),
  ];
}
