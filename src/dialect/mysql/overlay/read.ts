/** What the candidate changed, in the caller's transaction of one snapshot. */
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { OverlayCount, OverlayRow, RowSelection } from '../../dialect.ts';
import type { OutcomeCounts } from '../../overlay.ts';
import {
  selectTables,
  toOutcomeCounts,
  toOverlayRow,
  type DifferenceRow,
} from '../../sql/overlay-rows.ts';
import { exactText } from '../compare/exact-text.ts';
import { keyLiteral } from '../compare/table-reader.ts';
import { spell } from '../compare/spelling.ts';
import type { Client } from '../session/client.ts';
import { JOURNAL, TRACE_BYTES, companionName, literal, quote } from '../session/names.ts';
import { sameImage, sameValue } from './images.ts';
import { traceText, type CapturedTable } from './journal.ts';
import { notWaiting } from './waiting.ts';

/** Of an entry and the row it is of. */
export function sameKey({ key }: CapturedTable): string {
  return key.map(({ name }) => `t.${name} = j.${name}`).join(' AND ');
}

/** By what name production's image of an entry's row is told: the entry's own, or what waits of its key. */
export type Image = 'j' | 'w';

/**
 * Entries `j` beside the rows `t` that they are of, with production's image as the alias that is asked for:
 * those of which nothing waits, and then those of which something does.
 */
export function unionOfEntries(
  table: CapturedTable,
  select: (image: Image) => { readonly list: string; readonly where: string },
): string {
  const { journal, relation, keyHint, waiting, key } = table;
  const rows = `LEFT JOIN ${relation} t ${keyHint} ON ${sameKey(table)}`;
  const same = key.map(({ name }) => `j.${name} = w.${name}`).join(' AND ');
  const own = select('j');
  const later = select('w');
  return `SELECT ${own.list} FROM ${journal} j ${rows} WHERE ${own.where} AND ${notWaiting(table, 'j')}
    UNION ALL SELECT ${later.list} FROM ${waiting} w STRAIGHT_JOIN ${journal} j FORCE INDEX FOR JOIN (PRIMARY)
      ON ${same} ${rows} WHERE ${later.where}`;
}

/**
 * What the candidate did to a row with an entry, over `j`, production's image and `t`: insert, update, delete; or 'equal' where the
 * candidate's image is production's again; 'blocked' where it is production's, and kept out.
 */
export function differenceKind(table: CapturedTable, image: Image): string {
  const [key] = table.key;
  if (key === undefined) throw new UnderstudyError('INTERNAL', `${table.label} has no key`);
  const gone = `t.${key.name} IS NULL`;
  return `CASE
    WHEN j.${JOURNAL.blocked} IS NOT NULL THEN 'blocked'
    WHEN ${image}.${JOURNAL.present} = 0 AND ${gone} THEN 'equal'
    WHEN ${image}.${JOURNAL.present} = 0 THEN 'insert'
    WHEN ${gone} THEN 'delete'
    WHEN ${sameImage(table.columns, image, 't')} THEN 'equal'
    ELSE 'update' END`;
}

/** Exact, also the number of rows. */
export async function readOverlayCounts(
  client: Client,
  tables: readonly CapturedTable[],
): Promise<readonly OverlayCount[]> {
  const counts: OverlayCount[] = [];
  for (const table of tables) {
    const found = await client.rows<{ kind: string; entries: string }>(
      `SELECT kind, COUNT(*) AS entries
        FROM (${unionOfEntries(table, (image) => ({
          list: `${differenceKind(table, image)} AS kind`,
          where: 'TRUE',
        }))}) d
        GROUP BY kind`,
    );
    const { rows } = await client.row<{ rows: string }>(
      `SELECT COUNT(*) AS \`rows\` FROM ${table.relation}`,
    );
    const count = (kind: string): number =>
      Number(found.find((one) => one.kind === kind)?.entries ?? 0);
    counts.push({
      ...{ table: table.schema.id, rows: Number(rows), equal: count('equal') },
      ...{ inserted: count('insert'), updated: count('update'), deleted: count('delete') },
      blocked: count('blocked'),
    });
  }
  return counts;
}

/**
 * The rows that differ, at most `limit` per table, oldest first. Errors: USAGE if a key is asked for
 * without its table or with another number of columns; TABLE_UNKNOWN if the table is not captured.
 */
export async function readOverlayRows(
  client: Client,
  tables: readonly CapturedTable[],
  { limit, only = {} }: { readonly limit: number; readonly only?: RowSelection | undefined },
): Promise<readonly OverlayRow[]> {
  const rows: OverlayRow[] = [];
  for (const table of selectTables(tables, only)) {
    const condition = selectionCondition(table, only);
    if (condition === null) continue;
    const found = await client.rows<Record<string, string | number | null>>(
      `SELECT * FROM (${unionOfEntries(table, (image) => ({
        list: `${differenceKind(table, image)} AS kind, ${differenceColumns(table, image)}`,
        where: condition,
      }))}) d
        WHERE d.kind <> 'equal'
        ORDER BY d.at, ${table.key.map((_, i) => `d.k${String(i)}`).join(', ')}
        LIMIT ${String(limit)}`,
    );
    rows.push(...found.map((row) => toOverlayRow(table, toDifference(table, row))));
  }
  return rows;
}

/** Over `j`, production's image and `t`: what `toDifference` makes a difference of, but its kind. */
export function differenceColumns(table: CapturedTable, image: Image): string {
  return [
    `UNIX_TIMESTAMP(j.${JOURNAL.at}) * 1000 AS at, ${traceText('j')} AS trace`,
    ...table.key.map((key, i) => `${exactText(`j.${key.name}`, key.schema)} AS k${String(i)}`),
    ...table.columns.flatMap((column, i) => [
      `${exactText(`${image}.${column.name}`, column.schema)} AS j${String(i)}`,
      `${exactText(`t.${column.name}`, column.schema)} AS t${String(i)}`,
      `NOT (${sameValue(column, image, 't')}) AS c${String(i)}`,
    ]),
  ].join(', ');
}

export function toDifference(
  table: CapturedTable,
  row: Readonly<Record<string, string | number | null>>,
): DifferenceRow {
  const text = (name: string): string | null => {
    const value = row[name] ?? null;
    return value === null ? null : String(value);
  };
  return {
    kind: row['kind'] as DifferenceRow['kind'],
    key: table.key.map((_, i) => text(`k${String(i)}`) ?? ''),
    at: Number(row['at']),
    trace: text('trace'),
    changed: table.columns.map((_, i) => Number(row[`c${String(i)}`]) === 1),
    production: table.columns.map((_, i) => text(`j${String(i)}`)),
    candidate: table.columns.map((_, i) => text(`t${String(i)}`)),
  };
}

/** Which entries, as `alias`, a selection means; null if no row can have the key. USAGE. */
export function selectionCondition(
  table: CapturedTable,
  { key, trace }: RowSelection,
  alias = 'j',
): string | null {
  const traced =
    trace === undefined
      ? []
      : [
          `${alias}.${JOURNAL.trace} = LEFT(CAST(${literal(trace)} AS BINARY), ${String(TRACE_BYTES)})`,
        ];
  if (key === undefined) return traced[0] ?? 'TRUE';
  if (key.length !== table.key.length) {
    const names = table.key.map((column) => column.schema.name).join(', ');
    throw new UnderstudyError('USAGE', `the key has the columns ${names}`, { table: table.label });
  }
  const parts = table.key.map((column, i) => {
    const word = spell(key[i] ?? '', column.schema.type);
    return word === null ? null : `${alias}.${column.name} = ${keyLiteral(word, column.schema)}`;
  });
  return parts.includes(null) ? null : [...parts, ...traced].join(' AND ');
}

export async function countOutcomes(client: Client, database: string): Promise<OutcomeCounts> {
  return toOutcomeCounts(
    await client.rows<{ outcome: string; entries: number }>(
      `SELECT outcome, COUNT(*) AS entries FROM ${quote(companionName(database), 'outcome')}
        GROUP BY outcome`,
    ),
  );
}
