/**
 * The ledger of unknown values: columns whose value in the shadow may not be production's.
 *
 * Debezium sends NULL for an unchanged TOAST value of some types. Such a NULL is judged by the
 * value that production's row had here before: PostgreSQL stores out of line only what is longer
 * than a pointer to it, so over NULL or a short value the NULL is real. Otherwise the value stays,
 * and (table, key, column) enters the ledger. The judgement is exact beside a candidate too: it
 * reads the base image where the row is owned, and nobody but us changes that.
 *
 * An entry goes when a known value comes or the row goes, and moves with the row's key. While it is
 * there, the value it names is trusted by nobody: a further such NULL finds it in doubt still.
 *
 * In the staging table `doubt` marks, before the judgement, columns that are NULL or kept; and
 * after it, columns that are unknown once the row is written.
 */
import { escapeLiteral } from 'pg';
import { OWN_SCHEMA } from '../session/names.ts';
import type { ApplyColumn, ApplyTable } from './apply-table.ts';
import { productionImage } from './production-image.ts';
import {
  bitString,
  hasBit,
  keyArray,
  ledgerKey,
  ofTable,
  promoteKnown,
  sameLedgerKey,
} from './stage-bits.ts';
import { stageRelation } from './stage.ts';

export const UNKNOWN_VALUE = `${OWN_SCHEMA}.unknown_value`;

/**
 * `toast_tuple_find_biggest_attribute` takes only values larger than MAXALIGN(TOAST_POINTER_SIZE),
 * 24 bytes, so nothing of 20 bytes and a length word of at most 4. A stored value's size counts its
 * length word (mostly 1), except where it is out of line already: the bound keeps both safe.
 */
const NEVER_OUT_OF_LINE = 20;

/** True if the value could not be out of line in any table. */
export function isShort(value: string): string {
  return `(pg_catalog.pg_column_compression(${value}) IS NULL
    AND pg_catalog.pg_column_size(${value}) <= ${NEVER_OUT_OF_LINE})`;
}

/** Columns that may be in doubt. */
function doubtable(table: ApplyTable): readonly ApplyColumn[] {
  return table.rest.filter((column) => column.schema.toastable);
}

/**
 * Judges the staged rows of kind `m` by the rows with their old keys, or all others by their own.
 * `judges` is false on servers that cannot tell a compressed value: there only NULL is short.
 */
export function judgeDoubts(table: ApplyTable, kind: 'm' | 's', judges: boolean): string {
  const stage = stageRelation(table);
  const columns = doubtable(table);
  if (columns.length === 0) return promoteKnown(table);
  const side = kind === 'm' ? 'from' : 'staged';
  const from = ['s', side] as const;
  const image = productionImage(table, from);
  const nothing = (value: string): string =>
    judges ? `(${value} IS NULL OR ${isShort(value)})` : `${value} IS NULL`;
  const found = columns.flatMap((column, i) => {
    const old = image.value(column);
    const listed = `COALESCE(${escapeLiteral(column.schema.name)} = ANY (e.columns), false)`;
    const doubt = hasBit('doubt', column);
    const known = hasBit('mask', column);
    return [
      `${doubt} AND CASE WHEN ${known} THEN ${nothing(`s.${column.staged}`)}
        ELSE ${image.present} AND NOT ${listed} AND ${nothing(`(${old})`)} END AS n${i}`,
      `CASE WHEN ${known} THEN ${doubt} ELSE ${doubt} OR ${listed} END AS u${i}`,
    ];
  });
  const joins = [
    image.joins,
    `LEFT JOIN LATERAL (SELECT pg_catalog.array_agg(l.column_name) AS columns
      FROM ${UNKNOWN_VALUE} l WHERE ${ofTable(table, 'l')}
        AND ${sameLedgerKey(table, 'l', from)}) e ON true`,
  ];
  const kinds = kind === 'm' ? `s.op = 'm'` : `s.op IN ('s', 'f', 'q')`;
  const place = new Map(columns.map((column, i) => [column, i]));
  const mask = bitString(table, (column) => {
    const i = place.get(column);
    return `${hasBit('mask', column)}${i === undefined ? '' : ` OR v.n${i}`}`;
  });
  const doubt = bitString(table, (column) => {
    const i = place.get(column);
    return i === undefined ? 'false' : `v.u${i} AND NOT v.n${i}`;
  });
  const set = [
    ...columns.map((c, i) => `${c.staged} = CASE WHEN v.n${i} THEN NULL ELSE s.${c.staged} END`),
    `mask = ${mask}`,
    `doubt = ${doubt}`,
  ];
  return `UPDATE ${stage} s SET ${set.join(', ')}
    FROM (SELECT s.seq, ${found.join(', ')} FROM ${stage} s ${joins.join(' ')}
      WHERE ${kinds} AND s.mask IS NOT NULL
        AND (s.doubt IS NOT NULL OR e.columns IS NOT NULL)) v
    WHERE v.seq = s.seq;
    ${promoteKnown(table)}`;
}

/**
 * Brings the ledger to what the staged rows leave unknown; for a database whose staged rows were
 * judged. `source` is where the batch stands in production's log, as text, or null.
 */
export function saveUnknown(table: ApplyTable, source: string | null): string {
  const stage = stageRelation(table);
  const { schema, name } = table.schema.id;
  const columns = doubtable(table);
  const same = sameLedgerKey(table, 'l', ['s', 'staged']);
  const bit = columns
    .map((c) => `WHEN ${escapeLiteral(c.schema.name)} THEN ${hasBit('doubt', c)}`)
    .join(' ');
  const stays = columns.length === 0 ? 'false' : `CASE l.column_name ${bit} ELSE false END`;
  const remove = `DELETE FROM ${UNKNOWN_VALUE} l WHERE ${ofTable(table, 'l')}
    AND EXISTS (SELECT FROM ${stage} s WHERE ${same} AND s.restored IS NOT TRUE)
    AND NOT EXISTS (SELECT FROM ${stage} s WHERE ${same} AND s.op <> 'd' AND ${stays})`;
  if (columns.length === 0) return remove;
  const list = columns
    .map((c) => `(${escapeLiteral(c.schema.name)}, ${hasBit('doubt', c)})`)
    .join(', ');
  return `${remove};
    INSERT INTO ${UNKNOWN_VALUE} (table_schema, table_name, key, column_name, source)
      SELECT ${escapeLiteral(schema)}, ${escapeLiteral(name)},
        ${keyArray(table, ['s', 'staged'])}, u.name, ${source === null ? 'NULL' : escapeLiteral(source)}
      FROM ${stage} s CROSS JOIN LATERAL (VALUES ${list}) AS u(name, doubt)
      WHERE s.op <> 'd' AND s.doubt IS NOT NULL AND u.doubt
      ON CONFLICT (table_schema, table_name, key, column_name) DO NOTHING`;
}

/**
 * After a truncate of the table, or of one partition: forgets what a ledger says of its rows.
 * `within` is a condition over the key's columns, by their own names.
 */
export function forgetRows(table: ApplyTable, ledger: string, within: string): string {
  const key = ledgerKey(table, 'l').map((value, i) => `${value} AS ${table.key[i]?.name ?? ''}`);
  return `DELETE FROM ${ledger} l WHERE ${ofTable(table, 'l')}
    AND (SELECT ${within} FROM (SELECT ${key.join(', ')}) AS understudy_key)`;
}
