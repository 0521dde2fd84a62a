/** The statements of a table comparison. Pure; see table-reader.ts for when each is used. */
import { escapeIdentifier, escapeLiteral } from 'pg';
import type { ComparedTable, LeafRange } from '../../dialect.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { tableName, type TableId } from '../../../change/table-id.ts';
import { exactTextSql, hashForm, keyForm, rowHashSql } from './hash-sql.ts';
import type { HashedType, HashForm, KeyForm } from './hash-sql.ts';

/** A compared table with everything the statements need. */
export interface PreparedTable {
  /** The relation to read, quoted and qualified. */
  readonly relation: string;
  readonly keys: readonly KeyForm[];
  readonly keyText: readonly string[];
  /** For each key column its own name and its text form over any operand. */
  readonly keyColumns: readonly {
    readonly name: string;
    readonly text: (operand: string) => string;
  }[];
  readonly columns: readonly HashForm[];
  readonly columnText: readonly string[];
  readonly rowHash: string;
  /** A range of keys can be read without reading the whole table. */
  readonly indexed: boolean;
}

/** COLUMN_UNKNOWN if the relation lacks a compared column. */
export function prepareTable(
  table: ComparedTable,
  relation: string,
  types: ReadonlyMap<string, HashedType>,
): PreparedTable {
  const typeOf = (column: string): HashedType => {
    const type = types.get(column);
    if (type !== undefined) return type;
    throw new UnderstudyError('COLUMN_UNKNOWN', 'a compared column does not exist', {
      table: tableName(table.table),
      column,
    });
  };
  const reference = (column: string): string => `t.${escapeIdentifier(column)}`;
  const keys = table.key.map((column) => keyForm(typeOf(column), reference(column)));
  const columns = table.columns.map((column) => hashForm(typeOf(column), reference(column)));
  const text = (column: string): string => exactTextSql(typeOf(column), reference(column));
  return {
    relation,
    keys,
    keyText: table.key.map(text),
    keyColumns: table.key.map((column) => ({
      name: reference(column),
      text: (operand) => exactTextSql(typeOf(column), operand),
    })),
    columns,
    columnText: table.columns.map(text),
    rowHash: rowHashSql(columns.map((column) => column.sql)),
    indexed: keys.length > 0 && keys.every((key) => key.indexed),
  };
}

function orderSql(table: PreparedTable): string {
  return table.keys.map((key) => key.sql).join(', ');
}

/** `(k1, k2) >= (…, …)`: one row comparison, which a btree index over the key can answer. */
function comparisonSql(
  table: PreparedTable,
  operator: '>=' | '<',
  bound: readonly string[],
): string {
  const literals = table.keys.map((key, i) => `${escapeLiteral(bound[i] ?? '')}::${key.boundType}`);
  return `(${orderSql(table)}) ${operator} (${literals.join(', ')})`;
}

function rangeSql(table: PreparedTable, range: LeafRange): string {
  const parts = [
    range.from === null ? null : comparisonSql(table, '>=', range.from),
    range.to === null ? null : comparisonSql(table, '<', range.to),
  ].filter((part) => part !== null);
  return parts.length === 0 ? 'true' : parts.join(' AND ');
}

const SUMS = 'count(*)::text, coalesce(sum(h), 0)::text';

/**
 * One ordered scan cut into leaves: per leaf its number, rows, hash, and first key. With a
 * `limit` (a multiple of `leafRows`) one row more is read; it makes a leaf of its own, whose
 * first key is where the next page begins.
 */
export function cutLeavesSql(
  table: PreparedTable,
  leafRows: number,
  from: readonly string[] | null,
  limit: number | null,
): string {
  const order = orderSql(table);
  const keys = table.keyColumns.map(({ name }, i) => `${name} AS k${i}`);
  // Only a leaf's first key is made text.
  const firsts = table.keyColumns.map(
    ({ text }, i) => `max(CASE WHEN (rn - 1) % ${leafRows} = 0 THEN ${text(`q.k${i}`)} END)`,
  );
  return `SELECT ((rn - 1) / ${leafRows})::text, ${SUMS}, ${firsts.join(', ')}
    FROM (
      SELECT row_number() OVER (ORDER BY ${order}) AS rn, ${table.rowHash} AS h,
        ${keys.join(', ')}
      FROM ${table.relation} t
      WHERE ${rangeSql(table, { from, to: null })}
      ORDER BY ${order}
      ${limit === null ? '' : `LIMIT ${limit + 1}`}
    ) q GROUP BY (rn - 1) / ${leafRows} ORDER BY (rn - 1) / ${leafRows}`;
}

/** Rows and hash of each range: its index in `ranges`, rows, hash. */
export function hashRangesSql(table: PreparedTable, ranges: readonly LeafRange[]): string {
  return ranges
    .map(
      (range, i) => `SELECT ${i}, ${SUMS} FROM (
        SELECT ${table.rowHash} AS h FROM ${table.relation} t WHERE ${rangeSql(table, range)}) q`,
    )
    .join('\nUNION ALL ');
}

/**
 * The same for consecutive ranges in one scan of the table, for keys without a usable index.
 * Ranges without rows are absent.
 */
export function bucketRangesSql(table: PreparedTable, ranges: readonly LeafRange[]): string {
  const bounds = ranges.slice(1).map((range) => {
    const literals = table.keys.map(
      (key, i) =>
        `${escapeLiteral(range.from?.[i] ?? '')}::${key.boundType}${key.indexed ? '' : ' COLLATE "C"'}`,
    );
    return `ROW(${literals.join(', ')})`;
  });
  const bucket =
    bounds.length === 0
      ? '0'
      : `width_bucket(ROW(${orderSql(table)}), ARRAY[${bounds.join(', ')}])`;
  const first = ranges[0]?.from ?? null;
  const to = ranges.at(-1)?.to ?? null;
  return `SELECT b, ${SUMS} FROM (
      SELECT ${bucket} AS b, ${table.rowHash} AS h FROM ${table.relation} t
      WHERE ${rangeSql(table, { from: first, to })}
    ) q GROUP BY b`;
}

/** Key columns and row hash of every row in the ranges, which must not overlap. */
export function rowHashesSql(table: PreparedTable, ranges: readonly LeafRange[]): string {
  const select = `SELECT ${[...table.keyText, `${table.rowHash}::text`].join(', ')}
    FROM ${table.relation} t WHERE `;
  if (table.indexed)
    return ranges.map((range) => select + rangeSql(table, range)).join('\nUNION ALL ');
  return select + ranges.map((range) => `(${rangeSql(table, range)})`).join(' OR ');
}

/** Key columns and compared columns, as text, of the rows with these keys. */
export function rowsByKeySql(table: PreparedTable, keys: readonly (readonly string[])[]): string {
  const conditions = [inSql(table.keys, keys)];
  if (!table.indexed) {
    // What is the same text is equal too, and that an index can find.
    const found = table.keys.map(({ lookup }) => lookup);
    if (found.some((lookup) => lookup !== null)) conditions.push(inSql(found, keys));
  }
  return `SELECT ${[...table.keyText, ...table.columnText].join(', ')}
    FROM ${table.relation} t WHERE ${conditions.join(' AND ')}`;
}

/** `(k1, k2) IN ((…), …)` over those key columns for which there is a form. */
function inSql(
  forms: readonly (Pick<KeyForm, 'sql' | 'boundType'> | null)[],
  keys: readonly (readonly string[])[],
): string {
  const tuples = keys.map((key) => {
    const literals = forms.flatMap((form, i) =>
      form === null ? [] : [`${escapeLiteral(key[i] ?? '')}::${form.boundType}`],
    );
    return `(${literals.join(', ')})`;
  });
  const columns = forms.flatMap((form) => (form === null ? [] : [form.sql]));
  return `(${columns.join(', ')}) IN (${tuples.join(', ')})`;
}

/** A key column's type: as it is declared, and without the length that a cast to it cuts to. */
export interface KeyCast {
  readonly declared: string;
  /** Null if its values cannot be compared without knowing where it comes from. */
  readonly uncut: string | null;
}

/** One key as the columns' own text forms, and whether that is still what was written. */
export function spellKeySql(
  table: PreparedTable,
  casts: readonly KeyCast[],
  key: readonly string[],
): string {
  const texts: string[] = [];
  const same: string[] = [];
  for (const [i, { text }] of table.keyColumns.entries()) {
    const literal = escapeLiteral(key[i] ?? '');
    const { declared = 'text', uncut = null } = casts[i] ?? {};
    texts.push(text(`(${literal}::${declared})`));
    const wide = table.keys[i]?.lookup?.boundType ?? uncut;
    if (wide !== null) same.push(`${literal}::${declared} = ${literal}::${wide}`);
  }
  return `SELECT ${[...texts, ['true', ...same].join(' AND ')].join(', ')}`;
}

/** A table's own name, quoted and qualified. */
export function quotedTable(table: TableId): string {
  return `${escapeIdentifier(table.schema)}.${escapeIdentifier(table.name)}`;
}
