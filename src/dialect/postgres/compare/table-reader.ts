import type pg from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import { isUnderstudyError, UnderstudyError } from '../../../errors/understudy-error.ts';
import type { SchemaCatalogue } from '../../../schema/table-schema.ts';
import type { ComparedTable, Leaf, LeafHash, LeafRange } from '../../dialect.ts';
import type { BaseReader, RowHash, RowText, TableGaps } from '../../dialect.ts';
import {
  bucketRangesSql,
  cutLeavesSql,
  hashRangesSql,
  prepareTable,
  rowHashesSql,
  rowsByKeySql,
  spellKeySql,
  type KeyCast,
  type PreparedTable,
} from './comparison-sql.ts';
import { selfTestSql, type HashedType } from './hash-sql.ts';
import { prepareComparison, sqlStateOf } from './comparison-session.ts';

/** Leaves read by one statement: bounds how long a check goes on after it was aborted. */
const LEAVES_PER_PAGE = 50;

/** What our statements select: text, booleans, leaf numbers. */
type Cell = string | number | boolean | null;

const SAVEPOINT = 'understudy_reader';

export interface PgTableReaderParts {
  /** In a transaction of its own snapshot, its session made fit by `prepareComparison`. */
  readonly client: pg.Client;
  /** The relation to read for a table, quoted and qualified: itself, or a rollout's view. */
  readonly relation: (table: TableId) => string;
  readonly tables: () => Promise<SchemaCatalogue>;
  /** Of a shadow; production has none. */
  readonly gaps?: () => readonly TableGaps[];
  /** Of a rollout. */
  readonly notCaptured?: () => ReadonlySet<string>;
  /** Ends the transaction and the session. */
  readonly close: () => Promise<void>;
}

/** Reads tables in one PostgreSQL snapshot. */
export class PgTableReader implements BaseReader {
  readonly #parts: PgTableReaderParts;
  readonly #prepared = new Map<string, PreparedTable>();
  #savepoint = false;

  constructor(parts: PgTableReaderParts) {
    this.#parts = parts;
  }

  tables(): Promise<SchemaCatalogue> {
    return this.#parts.tables();
  }

  gaps(): Promise<readonly TableGaps[]> {
    return Promise.resolve(this.#parts.gaps?.() ?? []);
  }

  notCaptured(): Promise<ReadonlySet<string>> {
    return Promise.resolve(this.#parts.notCaptured?.() ?? new Set());
  }

  async selfTest(): Promise<string> {
    const [row] = await this.#query(selfTestSql(), null);
    const [digest, sound] = row ?? [];
    if (digest === undefined || digest === null || sound !== true) {
      throw new UnderstudyError('READ_FAILED', 'the row hash does not tell known rows apart');
    }
    return String(digest);
  }

  async forms(table: ComparedTable): Promise<readonly string[]> {
    const prepared = await this.#prepare(table);
    return [...prepared.columns, ...prepared.keys].map((column) => column.form);
  }

  async *cutLeaves(table: ComparedTable, leafRows: number): AsyncGenerator<readonly Leaf[]> {
    const prepared = await this.#prepare(table);
    if (prepared.keys.length === 0) {
      for await (const [whole] of this.hashLeaves(table, [{ from: null, to: null }])) {
        if (whole !== undefined) yield [{ from: null, to: null, ...whole }];
      }
      return;
    }
    // Without an index every page would sort the whole table again: read it as one page.
    const pageLeaves = prepared.indexed ? LEAVES_PER_PAGE : null;
    let from: readonly string[] | null = null;
    do {
      const limit: number | null = pageLeaves === null ? null : pageLeaves * leafRows;
      const rows = await this.#query(cutLeavesSql(prepared, leafRows, from, limit), table.table);
      const starts = rows.map((row) => row.slice(3).map(String));
      const beyond: boolean = pageLeaves !== null && rows.length > pageLeaves;
      const count = beyond ? rows.length - 1 : Math.max(rows.length, 1);
      const leaves: Leaf[] = [];
      for (let i = 0; i < count; i += 1) {
        const row = rows[i];
        leaves.push({
          from: i === 0 ? from : (starts[i] ?? null),
          to: starts[i + 1] ?? null,
          rows: Number(row?.[1] ?? 0),
          hash: String(row?.[2] ?? '0'),
        });
      }
      await this.#assertNotRewritten(prepared, table.table);
      yield leaves;
      from = beyond ? (starts.at(-1) ?? null) : null;
    } while (from !== null);
  }

  async *hashLeaves(
    table: ComparedTable,
    ranges: readonly LeafRange[],
  ): AsyncGenerator<readonly LeafHash[]> {
    const prepared = await this.#prepare(table);
    const page = prepared.indexed ? LEAVES_PER_PAGE : Math.max(ranges.length, 1);
    for (let start = 0; start < ranges.length; start += page) {
      const some = ranges.slice(start, start + page);
      const sql = prepared.indexed
        ? hashRangesSql(prepared, some)
        : bucketRangesSql(prepared, some);
      const rows = await this.#query(sql, table.table);
      const byIndex = new Map(rows.map((row) => [Number(row[0]), row]));
      await this.#assertNotRewritten(prepared, table.table);
      yield some.map((_, i) => {
        const row = byIndex.get(i);
        return { rows: Number(row?.[1] ?? 0), hash: String(row?.[2] ?? '0') };
      });
    }
  }

  async rowHashes(table: ComparedTable, ranges: readonly LeafRange[]): Promise<readonly RowHash[]> {
    if (ranges.length === 0) return [];
    const prepared = await this.#prepare(table);
    const rows = await this.#query(rowHashesSql(prepared, ranges), table.table);
    await this.#assertNotRewritten(prepared, table.table);
    return rows.map((row) => ({ key: row.slice(0, -1).map(String), hash: String(row.at(-1)) }));
  }

  async rows(
    table: ComparedTable,
    keys: readonly (readonly string[])[],
  ): Promise<readonly RowText[]> {
    if (keys.length === 0) return [];
    const prepared = await this.#prepare(table);
    const rows = await this.#query(rowsByKeySql(prepared, keys), table.table);
    await this.#assertNotRewritten(prepared, table.table);
    const width = prepared.keys.length;
    return rows.map((row) => ({
      key: row.slice(0, width).map(String),
      values: row.slice(width).map((value) => (value === null ? null : String(value))),
    }));
  }

  async spellKey(table: ComparedTable, key: readonly string[]): Promise<readonly string[] | null> {
    const prepared = await this.#prepare(table);
    const relation = this.#parts.relation(table.table);
    const casts = new Map<string, KeyCast>();
    for (const [column, declared, uncut] of await this.#query(KEY_TYPES, table.table, [relation])) {
      casts.set(String(column), {
        declared: String(declared),
        uncut: typeof uncut === 'string' ? uncut : null,
      });
    }
    const ofKey = table.key.map((column) => casts.get(column) ?? { declared: 'text', uncut: null });
    try {
      const [row] = await this.#query(spellKeySql(prepared, ofKey, key), table.table);
      return row?.at(-1) === true ? row.slice(0, -1).map(String) : null;
    } catch (error) {
      // Class 22, data exceptions, and 23, of a domain's own check.
      const said = isUnderstudyError(error, 'READ_FAILED') ? error.context.detail : undefined;
      if (/^SQLSTATE 2[23]/.test(said ?? '')) return null;
      throw error;
    }
  }

  async aboutRows(table: ComparedTable): Promise<number> {
    const relation = this.#parts.relation(table.table);
    const [row] = await this.#query(ABOUT_ROWS, table.table, [relation]);
    return Number(row?.[0] ?? 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.close();
  }

  async #prepare(table: ComparedTable): Promise<PreparedTable> {
    const id = JSON.stringify([tableName(table.table), table.key, table.columns]);
    const prepared = this.#prepared.get(id) ?? (await this.#readTypes(table));
    this.#prepared.set(id, prepared);
    return prepared;
  }

  async #readTypes(table: ComparedTable): Promise<PreparedTable> {
    const relation = this.#parts.relation(table.table);
    const rows = await this.#query(COLUMN_TYPES, table.table, [relation]);
    const types = new Map<string, HashedType>();
    for (const [column, name, builtIn, domain] of rows) {
      types.set(String(column), {
        name: String(name),
        builtIn: builtIn === true,
        domain: domain === true,
      });
    }
    return prepareTable(table, relation, types);
  }

  /**
   * TRUNCATE and rewriting ALTER TABLE are not visible as such in an older snapshot: it reads an
   * empty table. Our read holds a lock that keeps later ones out, so looking afterwards suffices.
   */
  async #assertNotRewritten(table: PreparedTable, id: TableId): Promise<void> {
    const [row] = await this.#query(REWRITTEN, id, [table.relation]);
    if (row?.[0] === false) return;
    throw new UnderstudyError('TABLE_REWRITTEN', 'the table was rewritten after the snapshot', {
      table: tableName(id),
    });
  }

  async #query(
    text: string,
    table: TableId | null,
    values: readonly string[] = [],
  ): Promise<readonly (readonly Cell[])[]> {
    const { client } = this.#parts;
    try {
      if (!this.#savepoint) await client.query(`SAVEPOINT ${SAVEPOINT}`);
      this.#savepoint = true;
      const result = await client.query<Cell[]>({
        text,
        values: [...values],
        rowMode: 'array',
      });
      return result.rows;
    } catch (error) {
      // One unreadable table must not make the others unreadable. Fails if the session is gone,
      // and then so does the next read, with an error of its own.
      await client.query(`ROLLBACK TO SAVEPOINT ${SAVEPOINT}`).catch(() => undefined);
      // The server's message may quote values: only its code is safe to show.
      throw new UnderstudyError('READ_FAILED', 'a table could not be read for comparison', {
        ...(table === null ? {} : { table: tableName(table) }),
        detail: sqlStateOf(error),
      });
    }
  }
}

const COLUMN_TYPES = `
  WITH RECURSIVE base AS (
    SELECT attname, atttypid AS typid, false AS domain
    FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT b.attname, t.typbasetype, true
    FROM base b JOIN pg_type t ON t.oid = b.typid WHERE t.typtype = 'd'
  )
  SELECT b.attname, t.typname, t.typnamespace = 'pg_catalog'::regnamespace, b.domain
  FROM base b JOIN pg_type t ON t.oid = b.typid WHERE t.typtype <> 'd'`;

/** -1 is no length: without it, format_type's `character` would mean one character. */
const KEY_TYPES = `
  SELECT a.attname, format_type(a.atttypid, a.atttypmod),
    CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN format_type(a.atttypid, -1) END
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
  WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped`;

const ABOUT_ROWS = `
  WITH RECURSIVE parts AS (
    SELECT $1::regclass::oid AS oid
    UNION ALL
    SELECT i.inhrelid FROM parts JOIN pg_inherits i ON i.inhparent = parts.oid
  )
  SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::int8::text
  FROM parts JOIN pg_class c ON c.oid = parts.oid WHERE c.relkind = 'r'`;

/** pg_class by SQL shows the snapshot's file, pg_relation_filenode the one of now. */
const REWRITTEN = `
  WITH RECURSIVE parts AS (
    SELECT $1::regclass::oid AS oid
    UNION
    SELECT more.oid FROM parts, LATERAL (
      SELECT d.refobjid AS oid FROM pg_rewrite r
      JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        AND d.refclassid = 'pg_class'::regclass
      WHERE r.ev_class = parts.oid
      UNION ALL
      SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = parts.oid
    ) more
  )
  SELECT EXISTS (
    SELECT FROM parts JOIN pg_class c ON c.oid = parts.oid
    WHERE c.relfilenode <> 0 AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid)
  )`;

/**
 * A reader over a new snapshot of its own, for the shadow's side: the snapshot is taken before
 * the promise resolves, so what commits later is not in it. Disposing ends the session.
 */
export async function openTableReader(parts: {
  /** A session nobody else uses; ended also when this fails. */
  readonly client: pg.Client;
  readonly relation: (table: TableId) => string;
  readonly tables: (client: pg.Client) => Promise<SchemaCatalogue>;
  /** Asked after `tables`, as is the next. */
  readonly gaps?: () => readonly TableGaps[];
  readonly notCaptured?: () => ReadonlySet<string>;
}): Promise<PgTableReader> {
  const { client, relation, gaps, notCaptured } = parts;
  try {
    client.on('error', () => undefined);
    await prepareComparison(client);
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    await client.query('SELECT pg_current_snapshot()');
    const tables = await parts.tables(client);
    return new PgTableReader({
      client,
      relation,
      tables: () => Promise.resolve(tables),
      ...(gaps !== undefined && { gaps }),
      ...(notCaptured !== undefined && { notCaptured }),
      close: () => client.end(),
    });
  } catch (error) {
    await client.end();
    if (isUnderstudyError(error)) throw error;
    throw new UnderstudyError('READ_FAILED', 'the shadow’s snapshot could not be opened', {
      detail: sqlStateOf(error),
    });
  }
}
