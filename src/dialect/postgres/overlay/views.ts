import { escapeIdentifier, escapeLiteral } from 'pg';
import type { ColumnSchema } from '../../../schema/table-schema.ts';
import type { ApplyTable } from '../apply/apply-table.ts';
import { IS_BLOCKED } from './blocked-sql.ts';
import {
  IMAGE,
  imageId,
  JOURNAL,
  relation,
  shortened,
  viewId,
  viewSchema,
  WAITING,
  waitingId,
} from '../session/names.ts';

/**
 * An expression that is true if two rows are identical in the given columns. By image, not by
 * equality: it tells 1.0 from 1.00 and 0 from -0, and compares json and points, which have no `=`.
 */
export function imageEqual(columns: readonly ColumnSchema[], left: string, right: string): string {
  const value = (alias: string, { name, type }: ColumnSchema): string => {
    // A journal keeps the type beneath a domain, and records compare only among equal types.
    const cast = type.domainOf === undefined ? '' : `::${type.domainOf}`;
    return `${alias}.${escapeIdentifier(name)}${cast}`;
  };
  // The alias stands for the whole row, unless a column has its name.
  const row = (alias: string): string =>
    `(SELECT understudy_row FROM (SELECT ${columns.map((c) => value(alias, c)).join(', ')})
      understudy_row)`;
  return `(${row(left)} OPERATOR(pg_catalog.*=) ${row(right)})`;
}

/** `j.k = t.k AND …` */
function sameKey(table: ApplyTable, left = 'j', right = 't'): string {
  return table.key.map((c) => `${left}.${c.name} ${c.equals} ${right}.${c.name}`).join(' AND ');
}

/**
 * What the candidate did to a row with a journal entry, as an expression over `j` and `t` (null
 * where the row is not visible): insert, update, delete; equal, if nothing is left
 * of it; or blocked, if it is production's alone and kept out.
 */
export function differenceKind(table: ApplyTable): string {
  const visible = `t.${table.key[0]?.name ?? ''} IS NOT NULL`;
  const columns = table.columns.map((column) => column.schema);
  return `CASE WHEN ${IS_BLOCKED} THEN 'blocked' WHEN j.${JOURNAL.present} AND ${visible}
      THEN CASE WHEN ${imageEqual(columns, 'j', 't')} THEN 'equal' ELSE 'update' END
    WHEN j.${JOURNAL.present} THEN 'delete' WHEN ${visible} THEN 'insert' ELSE 'equal' END`;
}

/** The journal with the visible rows beside it. */
export function journalWithRows(table: ApplyTable): string {
  return `${table.journal ?? ''} j LEFT JOIN ${table.rows} t ON ${sameKey(table)}`;
}

/** What readers ask of an entry beside its image. */
const FACTS: readonly string[] = Object.values(JOURNAL).filter(
  (name) => name !== JOURNAL.present && name !== JOURNAL.moved,
);

/** For reading alone: in the journal the images of keys that wait are those that wait. */
export function withImagesNow(
  table: ApplyTable,
  waiting: string,
  facts: readonly string[] = FACTS,
): ApplyTable {
  const image = [
    ...table.schema.columns.map(({ name }) => escapeIdentifier(name)),
    JOURNAL.present,
  ];
  const columns = (of: 'e' | 'w'): string =>
    [...image.map((name) => `${of}.${name}`), ...facts.map((name) => `e.${name}`)].join(', ');
  const same = sameKey(table, 'w', 'e');
  // Not one by the other in each column: a key is looked up in both.
  const journal = `(SELECT ${columns('e')} FROM ${table.journal ?? ''} e
      WHERE NOT EXISTS (SELECT FROM ${waiting} w WHERE ${same})
    UNION ALL SELECT ${columns('w')} FROM ${waiting} w JOIN ${table.journal ?? ''} e ON ${same})`;
  return { ...table, journal };
}

/** The statements that make the schemas of the views beside `schema`. */
export function viewSchemaStatements(schema: string): readonly string[] {
  return (['production', 'difference'] as const).map(
    (view) => `CREATE SCHEMA IF NOT EXISTS ${escapeIdentifier(viewSchema(schema, view))}`,
  );
}

/**
 * The views of a captured table:
 * - `<schema>__production.<table>`: production's rows at the applied position, but for those that are
 *   set aside and not known (see images.ts), which are left out. Needs a key lookup
 *   or a range with both bounds to be fast: neither joins nor LIMIT reach below the union.
 * - `<schema>__difference.<table>`: rows the candidate changed, with production's value of each
 *   column beside the candidate's.
 */
export function viewStatements(
  table: ApplyTable,
  or: '' | 'OR REPLACE' = '',
): readonly [production: string, difference: string] {
  return [productionView(table, or), differenceView(table, or)];
}

/**
 * Rows that are set aside first, then those that wait, then those the candidate owns, then the table's.
 * `or replace`: of a view of an older version, which knows no images, or no rows that wait.
 */
export function productionView(table: ApplyTable, or: '' | 'OR REPLACE' = ''): string {
  const all = table.schema.columns.map((column) => escapeIdentifier(column.name));
  const columns = (alias: string): string => all.map((c) => `${alias}.${c}`).join(', ');
  const images = relation(imageId(table.schema.id));
  const waiting = relation(waitingId(table.schema.id));
  const known = (alias: string): string =>
    `NOT EXISTS (SELECT FROM ${images} i WHERE ${sameKey(table, 'i', alias)})`;
  const aside = (alias: string): string =>
    `${known(alias)} AND NOT EXISTS (SELECT FROM ${waiting} w WHERE ${sameKey(table, 'w', alias)})`;
  return `CREATE ${or} VIEW ${relation(viewId(table.schema.id, 'production'))} AS
    SELECT ${columns('t')} FROM ${table.rows} t
      WHERE NOT EXISTS (SELECT FROM ${table.journal ?? ''} j WHERE ${sameKey(table)})
        AND ${aside('t')}
    UNION ALL SELECT ${columns('j')} FROM ${table.journal ?? ''} j
      WHERE j.${JOURNAL.present} AND ${aside('j')}
    UNION ALL SELECT ${columns('w')} FROM ${waiting} w WHERE w.${WAITING.present} AND ${known('w')}
    UNION ALL SELECT ${columns('i')} FROM ${images} i WHERE i.${IMAGE.state} = 'i'`;
}

function differenceView(captured: ApplyTable, or: '' | 'OR REPLACE'): string {
  const facts = [JOURNAL.at, JOURNAL.trace, JOURNAL.blocked];
  const table = withImagesNow(captured, relation(waitingId(captured.schema.id)), facts);
  const keyNames = new Set(table.schema.key);
  const rest = table.schema.columns.filter((column) => !keyNames.has(column.name));
  const pairs = rest.flatMap((column) => {
    const name = escapeIdentifier(column.name);
    const production = escapeIdentifier(shortened(column.name, '__production'));
    return [`t.${name}`, `j.${name} AS ${production}`];
  });
  const changed = rest.map((column) => {
    return `CASE WHEN NOT ${imageEqual([column], 'j', 't')} THEN ${escapeLiteral(column.name)} END`;
  });
  const key = table.key.map((column) => `j.${column.name}`);
  return `CREATE ${or} VIEW ${relation(viewId(table.schema.id, 'difference'))} AS
    SELECT * FROM (SELECT ${differenceKind(table)} AS understudy_kind,
      pg_catalog.array_remove(ARRAY[${changed.join(', ')}]::text[], NULL) AS understudy_columns,
      j.${JOURNAL.at}, j.${JOURNAL.trace}, ${[...key, ...pairs].join(', ')}
      FROM ${journalWithRows(table)}) d
      WHERE d.understudy_kind <> 'equal'`;
}
