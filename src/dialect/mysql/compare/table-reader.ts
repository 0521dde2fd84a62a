/** Reads tables in one snapshot of MySQL or MariaDB, for drift checks and repairs. */
import { tableName, type TableId } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { ColumnSchema, SchemaCatalogue } from '../../../schema/table-schema.ts';
import type {
  BaseReader,
  ComparedTable,
  Leaf,
  LeafHash,
  LeafRange,
  RowHash,
  RowText,
  TableGaps,
} from '../../dialect.ts';
import { Misfit, NO_LABEL, renderLiteral } from '../apply/literal.ts';
import type { DatabaseTables } from '../catalogue/catalogue.ts';
import type { Client } from '../session/client.ts';
import { ERRNO, hasErrno, tellable } from '../session/errors.ts';
import { JOURNAL, literal, quote } from '../session/names.ts';
import { exactText, hashedText, isLost } from './exact-text.ts';
import { spell } from './spelling.ts';

export interface TableReaderParts {
  /** In a transaction of its own snapshot. */
  readonly client: Client;
  /** Name of the database that is read. */
  readonly database: string;
  readonly tables: DatabaseTables;
  /**
   * By `tableName()`: tables of which a candidate owns rows, or changes wait, with where these are (quoted). Read
   * is production's image then.
   */
  readonly images?: ReadonlyMap<string, { readonly journal: string; readonly waiting: string }>;
  /** By the same names: where (quoted) a table is read that is not in the database. */
  readonly elsewhere?: ReadonlyMap<string, string>;
  /** READ_FAILED for a table that the snapshot does not show. */
  readonly assertShown?: (table: TableId) => void;
  /** Of a shadow; production has none. */
  readonly gaps?: () => readonly TableGaps[];
  /** Of a rollout. */
  readonly notCaptured?: () => ReadonlySet<string>;
  /** Ends the transaction and the session. */
  readonly close: () => Promise<void>;
}

/** Leaves read by one statement: bounds how long a check goes on after it was aborted. */
const LEAVES_PER_PAGE = 20;
const SAVEPOINT = 'understudy_reader';
/** A compared table with what its statements need. */
interface Prepared {
  readonly relation: string;
  /** That a row, or entry, is production's, and what has others of production's, if there are some. */
  readonly images: {
    readonly journal: string;
    readonly waiting: string;
    readonly notOwned: string;
    readonly notWaiting: string;
  } | null;
  readonly keys: readonly ColumnSchema[];
  readonly columns: readonly ColumnSchema[];
  /** Decimal text of the row's checksum. */
  readonly hash: string;
  /** Its key's order is that of its index, the same for all servers. */
  readonly isCut: boolean;
}

/** Kinds that are compared with their literals exactly as they are ordered. */
const ORDERED = new Set<ColumnSchema['type']['kind']>([
  ...(['int16', 'int32', 'int64', 'numeric', 'bytes', 'date'] as const),
  ...(['timestamp', 'timestamptz', 'text', 'char'] as const),
]);

/** Whether keys of these columns are ordered as the literals of their values are. */
export function areOrdered(keys: readonly ColumnSchema[]): boolean {
  return keys.every(({ type }) => ORDERED.has(type.kind));
}

type Cell = string | number | null;

export class MySqlTableReader implements BaseReader {
  readonly #parts: TableReaderParts;
  readonly #prepared = new Map<string, Prepared>();

  constructor(parts: TableReaderParts) {
    this.#parts = parts;
  }

  tables(): Promise<SchemaCatalogue> {
    return Promise.resolve(this.#parts.tables.catalogue);
  }

  gaps(): Promise<readonly TableGaps[]> {
    return Promise.resolve(this.#parts.gaps?.() ?? []);
  }

  notCaptured(): Promise<ReadonlySet<string>> {
    return Promise.resolve(this.#parts.notCaptured?.() ?? new Set());
  }

  async selfTest(): Promise<string> {
    const values = [`'Zürich ✓ '`, `''`, '1.10', `CAST(0.1e0 AS CHAR)`, `X'00FF'`];
    const digests = values.map((value) => `${sum64(`CONCAT('+', ${value})`)}`);
    const [row] = await this.#query(`SELECT CONCAT_WS(' ', ${digests.join(', ')})`, null);
    const digest = String(row?.[0] ?? '');
    if (new Set(digest.split(' ')).size !== values.length) {
      throw new UnderstudyError('READ_FAILED', 'the row hash does not tell known rows apart');
    }
    return digest;
  }

  forms(table: ComparedTable): Promise<readonly string[]> {
    const { columns, keys } = this.#prepare(table);
    const forms = this.#parts.tables.textForms.get(tableName(table.table));
    const formOf = ({ name, type }: ColumnSchema): string =>
      [type.kind, type.labels?.join('\n') ?? '', forms?.get(name)?.charset ?? ''].join(' ');
    // Of a key also the order.
    const collation = (column: ColumnSchema): string => forms?.get(column.name)?.collation ?? '';
    return Promise.resolve([
      ...columns.map(formOf),
      ...keys.map((column) => `key ${formOf(column)} ${collation(column)}`),
    ]);
  }

  async *cutLeaves(table: ComparedTable, leafRows: number): AsyncGenerator<readonly Leaf[]> {
    const prepared = this.#prepare(table);
    if (!prepared.isCut) {
      for await (const [whole] of this.hashLeaves(table, [{ from: null, to: null }])) {
        if (whole !== undefined) yield [{ from: null, to: null, ...whole }];
      }
      return;
    }
    for (let from: readonly string[] | null = null, last = false; !last;) {
      const starts = await this.#starts(prepared, table, from, leafRows);
      last = starts.length < LEAVES_PER_PAGE;
      const ranges: LeafRange[] = [];
      for (const to of [...starts, ...(last ? [null] : [])]) {
        ranges.push({ from, to });
        from = to;
      }
      for await (const hashes of this.hashLeaves(table, ranges)) {
        yield hashes.flatMap((hash, i) => {
          const range = ranges[i];
          return range === undefined ? [] : [{ ...range, ...hash }];
        });
      }
    }
  }

  /** The keys at which the next leaves begin, after the one that begins at `from`. */
  async #starts(
    prepared: Prepared,
    table: ComparedTable,
    from: readonly string[] | null,
    leafRows: number,
  ): Promise<readonly (readonly string[])[]> {
    const starts: (readonly string[])[] = [];
    // By the rows that are seen: what the leaves hold is of no matter for where they begin.
    const order = prepared.keys.map(({ name }) => quote(name)).join(', ');
    for (let at = from; starts.length < LEAVES_PER_PAGE;) {
      const [row] = await this.#query(
        `SELECT ${texts(prepared.keys)} FROM ${prepared.relation} t
          WHERE ${rangeSql(prepared, { from: at, to: null })}
          ORDER BY ${order} LIMIT 1 OFFSET ${String(leafRows)}`,
        table.table,
      );
      if (row === undefined) break;
      at = row.map(String);
      starts.push(at);
    }
    return starts;
  }

  async *hashLeaves(
    table: ComparedTable,
    ranges: readonly LeafRange[],
  ): AsyncGenerator<readonly LeafHash[]> {
    const prepared = this.#prepare(table);
    for (let start = 0; start < ranges.length; start += LEAVES_PER_PAGE) {
      const some = ranges.slice(start, start + LEAVES_PER_PAGE);
      const hashes: LeafHash[] = [];
      for (const range of some) {
        const sums = `COUNT(*) AS n, COALESCE(SUM(${prepared.hash}), 0) AS h`;
        const [row] = await this.#query(
          `SELECT CAST(SUM(n) AS CHAR), CAST(SUM(h) AS CHAR)
            FROM (${selectSql(prepared, sums, rangeSql(prepared, range))}) sums`,
          table.table,
        );
        hashes.push({ rows: Number(row?.[0] ?? 0), hash: String(row?.[1] ?? '0') });
      }
      yield hashes;
    }
  }

  async rowHashes(table: ComparedTable, ranges: readonly LeafRange[]): Promise<readonly RowHash[]> {
    const prepared = this.#prepare(table);
    const list = prepared.keys.length === 0 ? '' : `${texts(prepared.keys)}, `;
    const found: RowHash[] = [];
    for (const range of ranges) {
      const rows = await this.#query(
        selectSql(prepared, `${list}CAST(${prepared.hash} AS CHAR)`, rangeSql(prepared, range)),
        table.table,
      );
      for (const row of rows) {
        found.push({ key: row.slice(0, -1).map(String), hash: String(row.at(-1)) });
      }
    }
    return found;
  }

  async rows(
    table: ComparedTable,
    keys: readonly (readonly string[])[],
  ): Promise<readonly RowText[]> {
    if (keys.length === 0) return [];
    const prepared = this.#prepare(table);
    // Spelled alike, not only equal; and what an index finds it by.
    const tuples = keys.map((key) => {
      const parts = prepared.keys.map((column, i) => {
        const value = key[i] ?? '';
        const text = exactText(`t.${quote(column.name)}`, column);
        const spelled = `CAST(${text} AS BINARY) = CAST(${literal(value)} AS BINARY)`;
        return `t.${quote(column.name)} = ${keyLiteral(value, column)} AND ${spelled}`;
      });
      return `(${parts.join(' AND ')})`;
    });
    const lost = prepared.columns.flatMap(
      (column) => isLost(`t.${quote(column.name)}`, column) ?? [],
    );
    const list = `${texts([...prepared.keys, ...prepared.columns])}, ${['FALSE', ...lost].join(' OR ')}`;
    const rows = await this.#query(
      selectSql(prepared, list, `(${tuples.join(' OR ')})`),
      table.table,
    );
    if (rows.some((row) => Number(row.at(-1)) !== 0)) {
      throw new UnderstudyError('READ_FAILED', 'a value is too long to be read as text', {
        table: tableName(table.table),
        detail: 'raise max_allowed_packet of its server to twice its length',
      });
    }
    const width = prepared.keys.length;
    return rows.map((row) => ({
      key: row.slice(0, width).map(String),
      values: row.slice(width, -1).map((value) => (value === null ? null : String(value))),
    }));
  }

  spellKey(table: ComparedTable, key: readonly string[]): Promise<readonly string[] | null> {
    const { keys } = this.#prepare(table);
    const spelled = keys.map((column, i) => spell(key[i] ?? '', column.type));
    const known = spelled.filter((text) => text !== null);
    return Promise.resolve(known.length === spelled.length ? known : null);
  }

  async aboutRows(table: ComparedTable): Promise<number> {
    const [row] = await this.#query(
      `SELECT TABLE_ROWS FROM information_schema.TABLES
        WHERE TABLE_SCHEMA = ${literal(this.#parts.database)}
          AND TABLE_NAME = ${literal(table.table.name)}`,
      table.table,
    );
    return Number(row?.[0] ?? 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.close();
  }

  /** COLUMN_UNKNOWN if the table lacks a compared column; READ_FAILED if no snapshot shows it. */
  #prepare(table: ComparedTable): Prepared {
    const id = JSON.stringify([tableName(table.table), table.key, table.columns]);
    const known = this.#prepared.get(id);
    if (known !== undefined) return known;
    this.#parts.assertShown?.(table.table);
    const label = tableName(table.table);
    const { catalogue, keyIndexes } = this.#parts.tables;
    const schema = catalogue.get(label);
    const columnOf = (name: string): ColumnSchema => {
      const column = schema?.columns.find((candidate) => candidate.name === name);
      if (column !== undefined) return column;
      throw new UnderstudyError('COLUMN_UNKNOWN', 'a compared column does not exist', {
        table: label,
        column: name,
      });
    };
    const keys = table.key.map(columnOf);
    const columns = table.columns.map(columnOf);
    const parts = columns.map((column) => hashedText(`t.${quote(column.name)}`, column));
    const beside = this.#parts.images?.get(label);
    const sameKey = schema?.key.map((name) => `own.${quote(name)} = t.${quote(name)}`) ?? [];
    const isNotIn = (where: string): string =>
      `NOT EXISTS (SELECT 1 FROM ${where} own WHERE ${sameKey.join(' AND ')})`;
    const prepared: Prepared = {
      images:
        beside === undefined
          ? null
          : {
              ...{ journal: beside.journal, waiting: beside.waiting },
              ...{ notOwned: isNotIn(beside.journal), notWaiting: isNotIn(beside.waiting) },
            },
      relation: this.#parts.elsewhere?.get(label) ?? quote(this.#parts.database, table.table.name),
      ...{ keys, columns, hash: sum64(`CONCAT_WS('|', ${['0', ...parts].join(', ')})`) },
      isCut: keys.length > 0 && keyIndexes.has(label) && areOrdered(keys),
    };
    this.#prepared.set(id, prepared);
    return prepared;
  }

  /** Rows of values as they come; 64 bits are texts. */
  async #query(sql: string, table: TableId | null): Promise<readonly (readonly Cell[])[]> {
    const { client } = this.#parts;
    try {
      // Else the tables that were read would stay locked against changes of their shape.
      await client.run(`SAVEPOINT ${SAVEPOINT}`);
      const rows: (readonly Cell[])[] = [];
      for await (const row of client.stream(sql)) {
        rows.push(row.map((cell) => (cell === null ? null : cell.toString('utf8'))));
      }
      await client.run(`ROLLBACK TO SAVEPOINT ${SAVEPOINT}`);
      return rows;
    } catch (error) {
      const where = {
        ...(table !== null && { table: tableName(table) }),
        detail: tellable(error),
      };
      if (hasErrno(error, ERRNO.definitionChanged)) {
        const what = 'the table was altered or truncated after the snapshot';
        throw new UnderstudyError('TABLE_REWRITTEN', what, where);
      }
      throw new UnderstudyError('READ_FAILED', 'a table could not be read for comparison', where);
    }
  }
}

/** Of each row, as `t`, that `where` holds for. */
function selectSql({ relation, images }: Prepared, list: string, where: string): string {
  const select = `SELECT ${list} FROM ${relation} t WHERE ${where}`;
  if (images === null) return select;
  const { journal, waiting, notOwned, notWaiting } = images;
  const isThere = `t.${JOURNAL.present} = 1`;
  return `${select} AND ${notOwned} AND ${notWaiting} UNION ALL
    SELECT ${list} FROM ${journal} t WHERE ${where} AND ${isThere} AND ${notWaiting} UNION ALL
    SELECT ${list} FROM ${waiting} t WHERE ${where} AND ${isThere}`;
}

function texts(columns: readonly ColumnSchema[]): string {
  return columns.map((column) => exactText(`t.${quote(column.name)}`, column)).join(', ');
}

/** 64 bits of the text's digest, as a number. */
function sum64(text: string): string {
  return `CAST(CONV(LEFT(SHA2(${text}, 256), 16), 16, 10) AS UNSIGNED)`;
}

/** A key's value as the index is searched by it. Throws Misfit. */
export function keyLiteral(text: string, column: ColumnSchema): string {
  const { kind } = column.type;
  // Beside a text, numbers would be compared as doubles.
  if (/^(int16|int32|int64|numeric)$/.test(kind)) {
    if (!/^-?\d+(\.\d+)?$/.test(text)) throw new Misfit('the value is no number');
    return text;
  }
  const value = renderLiteral(text, column.type);
  return value === NO_LABEL ? literal('') : value;
}

/** Keys from `from` on and before `to`. The first column alone is what an index is searched by. */
function rangeSql({ keys }: Prepared, { from, to }: LeafRange): string {
  const parts = [
    ...(from === null ? [] : [boundSql(keys, from, '>', '>=')]),
    ...(to === null ? [] : [boundSql(keys, to, '<', '<')]),
  ];
  return parts.length === 0 ? 'TRUE' : parts.join(' AND ');
}

/** Of the rows of `alias`. */
export function boundSql(
  keys: readonly ColumnSchema[],
  bound: readonly string[],
  beyond: '>' | '<',
  last: '>=' | '<' | '>' | '<=',
  alias = 't',
): string {
  const columns = keys.map((column, i) => ({
    name: `${alias}.${quote(column.name)}`,
    value: keyLiteral(bound[i] ?? '', column),
  }));
  const [first] = columns;
  if (first === undefined) return 'TRUE';
  const whole = columns.reduceRight(
    (deeper, { name, value }) =>
      deeper === ''
        ? `${name} ${last} ${value}`
        : `(${name} ${beyond} ${value} OR (${name} = ${value} AND ${deeper}))`,
    '',
  );
  return columns.length === 1 ? whole : `${first.name} ${beyond}= ${first.value} AND ${whole}`;
}
