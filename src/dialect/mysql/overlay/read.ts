/** What the candidate changed, in the caller's transaction of one snapshot. */
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { OverlayCount, OverlayRow, RowSelection } from '../../dialect.ts';
import type { OutcomeCounts, RowPair, RowReading } from '../../overlay.ts';
import {
  selectTables,
  toOutcomeCounts,
  toOverlayRow,
  type DifferenceRow,
} from '../../sql/overlay-rows.ts';
import type { ColumnSchema } from '../../../schema/table-schema.ts';
import type { SameIn } from '../../sql/pairs.ts';
import { NO_RESHAPES } from '../../sql/reshaped.ts';
import { exactText } from '../compare/exact-text.ts';
import { keyLiteral } from '../compare/table-reader.ts';
import { spell } from '../compare/spelling.ts';
import type { Client } from '../session/client.ts';
import { JOURNAL, TRACE_BYTES, companionName, literal, quote } from '../session/names.ts';
import { sameImage, sameValue } from './images.ts';
import { traceText, type CapturedTable } from './journal.ts';
import { pairsOf, type MySqlPairs, type PairedTables } from './pairs.ts';
import { unionOfEntries, type Image } from './waiting.ts';

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
  { tables, pairs }: PairedTables,
): Promise<readonly OverlayCount[]> {
  const counts: OverlayCount[] = [];
  for (const table of tables) {
    const differs = differing(table, pairs, 'v').join(' OR ');
    const sides = `CASE WHEN ${differs} THEN 'pair' ELSE 'paired' END`;
    const apart = pairs.has(table) ? `UNION ALL ${pairs.sides(table, sides)}` : '';
    const found = await client.rows<{ kind: string; entries: string }>(
      `${pairs.with(table)}SELECT kind, COUNT(*) AS entries
        FROM (${unionOfEntries(table, (image) => ({
          list: `${kindOf(table, pairs, image)} AS kind`,
          where: 'TRUE',
        }))} ${apart}) d
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
      ...{ blocked: count('blocked'), pairs: count('pair'), paired: count('paired') },
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
  { tables, pairs }: PairedTables,
  { limit, only = {} }: Listing,
): Promise<readonly OverlayRow[]> {
  const rows: OverlayRow[] = [];
  for (const table of selectTables(tables, only)) {
    const condition = selectionCondition(table, only);
    if (condition === null) continue;
    const theirs = (key: (name: string, column: ColumnSchema) => string): string =>
      table.key.map((one, i) => `${key(one.name, one.schema)} AS p${String(i)}`).join(', ');
    const apart = pairs.has(table)
      ? `UNION ALL ${pairs.sides(
          table,
          `'pair' AS kind, ${theirs((name, column) => exactText(`v.${name}`, column))},
            ${differenceColumns(table, pairs, 'v')}`,
          `${condition} AND (${differing(table, pairs, 'v').join(' OR ')})`,
        )}`
      : '';
    const found = await client.rows<Record<string, string | number | null>>(
      `${pairs.with(table)}SELECT * FROM (${unionOfEntries(table, (image) => ({
        list: `${kindOf(table, pairs, image)} AS kind, ${theirs(() => 'NULL')},
          ${differenceColumns(table, pairs, image)}`,
        where: condition,
      }))} ${apart}) d
        WHERE d.kind NOT IN ('equal', 'paired', 'twin')
        ORDER BY d.at, ${table.key.map((_, i) => `d.k${String(i)}`).join(', ')}
        LIMIT ${String(limit)}`,
    );
    rows.push(...found.map((row) => toOverlayRow(table, toDifference(table, row), only)));
  }
  return rows;
}

/** See OverlayActs. */
export async function readOverlayPairs(
  client: Client,
  { tables, pairs }: PairedTables,
  limit: number,
): Promise<readonly RowPair[]> {
  const found: RowPair[] = [];
  for (const table of tables.filter((one) => pairs.has(one))) {
    const keys = (['c', 'p'] as const).flatMap((side) =>
      table.key.map(({ schema }, i) => {
        const name = `${side}${String(i + 1)}`;
        return `${exactText(`q.${name}`, schema)} AS ${name}`;
      }),
    );
    const rows = await client.rows<Record<string, string | number>>(
      `${pairs.with(table)}SELECT ${keys.join(', ')} FROM ${pairs.name(table)} q LIMIT ${String(limit)}`,
    );
    const of = (row: (typeof rows)[number], side: 'c' | 'p'): readonly string[] =>
      table.key.map((_, i) => String(row[`${side}${String(i + 1)}`]));
    found.push(
      ...rows.map((row) => ({
        ...{ table: table.schema.id, candidate: of(row, 'c'), production: of(row, 'p') },
      })),
    );
  }
  return found;
}

/** What is listed: at most `limit` of a table. */
export interface Listing {
  readonly limit: number;
  readonly only?: RowReading | undefined;
}

/** As `differenceKind`, or what pairs make of it. */
function kindOf(table: CapturedTable, pairs: MySqlPairs, image: Image): string {
  return pairs.kindOf(table, differenceKind(table, image), {
    columns: table.columns.map(({ schema }) => schema.name),
    same: sameIn(table, image),
  });
}

/** `image`: what an entry's side of production is told by. */
function sameIn(table: CapturedTable, image: Image): SameIn {
  const columns = new Map(table.columns.map((column) => [column.schema.name, column]));
  return (name, production) => {
    const column = columns.get(name);
    const from = production === 'v' ? 'v' : image;
    return column === undefined ? 'TRUE' : sameValue(column, from, 't');
  };
}

/** By column, that it differs; of a pair's columns those of the key do not. */
function differing(
  table: CapturedTable,
  pairs: MySqlPairs,
  production: Image | 'v',
): readonly string[] {
  const [image, side] = production === 'v' ? (['j', 'v'] as const) : ([production, 'j'] as const);
  const columns = table.columns.map(({ schema }) => schema.name);
  return pairs.differing(table, { columns, same: sameIn(table, image) }, side);
}

/** Over `j`, production's image, or `v` of a pair, and `t`: what `toDifference` makes a difference of, but its kind. */
export function differenceColumns(
  table: CapturedTable,
  pairs = pairsOf([table], NO_RESHAPES, { pairsOn: null }),
  production: Image | 'v' = 'j',
): string {
  const differs = differing(table, pairs, production);
  return [
    `UNIX_TIMESTAMP(j.${JOURNAL.at}) * 1000 AS at, ${traceText('j')} AS trace`,
    ...table.key.map((key, i) => `${exactText(`j.${key.name}`, key.schema)} AS k${String(i)}`),
    ...table.columns.flatMap((column, i) => [
      `${exactText(`${production}.${column.name}`, column.schema)} AS j${String(i)}`,
      `${exactText(`t.${column.name}`, column.schema)} AS t${String(i)}`,
      `${differs[i] ?? ''} AS c${String(i)}`,
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
    ...(row['kind'] === 'pair' && {
      productionKey: table.key.map((_, i) => text(`p${String(i)}`) ?? ''),
    }),
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
