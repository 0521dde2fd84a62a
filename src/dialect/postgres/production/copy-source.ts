/**
 * Reads production's tables for a copy: one exported snapshot, any number of sessions that read
 * ranges of blocks (`ctid`) in it as COPY's text, which is the same in every version and needs no
 * binary forms to agree.
 *
 * A session opens a transaction for each range, so that no lock on a table is held longer than
 * that. Between two ranges a table can be rewritten or truncated, which an older snapshot does not
 * see as such; so each range looks, under its lock, whether the file is still the snapshot's.
 */
import type pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import { escapeIdentifier, escapeLiteral } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import { isUnderstudyError, UnderstudyError } from '../../../errors/understudy-error.ts';
import type { SchemaCatalogue } from '../../../schema/table-schema.ts';
import { sleep } from '../../../util/wait.ts';
import type {
  CopyMark,
  CopyRange,
  CopyReader,
  CopySnapshot,
  CopySource,
  RowBytes,
} from '../../copying.ts';
import { readCatalogue } from '../catalogue/catalogue.ts';
import { prepareComparison, sqlStateOf } from '../compare/comparison-session.ts';
import { isConnectionLoss } from '../session/errors.ts';
import { relation } from '../session/names.ts';
import { assertPinnable, markLog } from './pin.ts';
import type { ProductionSessions } from './production-session.ts';

/** How often production is asked whether older transactions have ended. */
const LOOK_MS = 200;

export class PgCopySource implements CopySource {
  readonly #sessions: ProductionSessions;

  constructor(sessions: ProductionSessions) {
    this.#sessions = sessions;
  }

  mark(): Promise<CopyMark> {
    return this.#sessions.use('write a marker', markLog);
  }

  async pinAfter(
    transaction: string,
    options: {
      readonly readers: number;
      readonly timeoutMs: number;
      readonly signal: AbortSignal;
    },
  ): Promise<CopySnapshot> {
    const client = await this.#sessions.open();
    try {
      await assertPinnable(client);
      await prepareComparison(client);
      const pinned = await exportAfter(client, BigInt(transaction), options);
      // After the snapshot: this flushes asynchronous commits that it saw, so that a crash of
      // production cannot take back what is copied.
      const { position } = await this.mark();
      return new PgCopySnapshot(this.#sessions, client, {
        ...{ ...pinned, marker: position, readers: options.readers },
      });
    } catch (error) {
      await client.end();
      if (options.signal.aborted) throw error;
      throw this.#sessions.failure('pin a snapshot', error);
    }
  }
}

interface Exported {
  readonly snapshot: string;
  /** By which other sessions import it. */
  readonly name: string;
}

/**
 * Takes snapshots until one has every id up to `mark` behind it. What had been committed to the
 * log before the mark has a lower id, and is then no longer hidden by a commit that still waits.
 */
async function exportAfter(
  client: pg.Client,
  mark: bigint,
  options: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<Exported> {
  const deadline = performance.now() + options.timeoutMs;
  for (;;) {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const { rows } = await client.query<{ snapshot: string; oldest: string }>(
      `SELECT pg_current_snapshot()::text AS snapshot,
         pg_snapshot_xmin(pg_current_snapshot())::text AS oldest`,
    );
    const [row] = rows;
    if (row === undefined) throw new UnderstudyError('PIN_FAILED', 'production has no snapshot');
    if (BigInt(row.oldest) > mark) {
      const exported = await client.query<{ name: string }>('SELECT pg_export_snapshot() AS name');
      return { snapshot: row.snapshot, name: exported.rows[0]?.name ?? '' };
    }
    await client.query('ROLLBACK');
    if (performance.now() >= deadline) {
      throw new UnderstudyError('PIN_FAILED', 'production has a transaction that does not end', {
        detail:
          `${row.oldest} was still open after ${String(Math.round(options.timeoutMs / 1000))} s; ` +
          'see pg_stat_activity.backend_xid, and pg_prepared_xacts.transaction',
      });
    }
    await sleep(LOOK_MS, options.signal);
  }
}

class PgCopySnapshot implements CopySnapshot {
  readonly snapshot: string;
  readonly marker: bigint;
  readonly readers: number;
  readonly #sessions: ProductionSessions;
  /** Keeps the snapshot, and reads the catalogue in it. */
  readonly #client: pg.Client;
  readonly #exported: string;

  constructor(
    sessions: ProductionSessions,
    client: pg.Client,
    pinned: Exported & { readonly marker: bigint; readonly readers: number },
  ) {
    this.#sessions = sessions;
    this.#client = client;
    this.#exported = pinned.name;
    this.snapshot = pinned.snapshot;
    this.marker = pinned.marker;
    this.readers = pinned.readers;
  }

  tables(): Promise<SchemaCatalogue> {
    return this.#ask('read the catalogue', () => readCatalogue(this.#client));
  }

  async ranges(table: TableId, rangeBytes: number): Promise<readonly CopyRange[]> {
    const leaves = await this.#ask('size up a table', () =>
      this.#client.query<{ schema: string; name: string; blocks: string; bytes: string }>(LEAVES, [
        relation(table),
      ]),
    );
    return leaves.rows.flatMap((leaf) => {
      const whole = Number(leaf.bytes);
      const blocks = Number(leaf.blocks);
      const parts = Math.max(1, Math.min(blocks, Math.ceil(whole / rangeBytes)));
      const from = (part: number): number => Math.floor((blocks * part) / parts);
      return Array.from({ length: parts }, (_, part) => ({
        table,
        relation: relation(leaf),
        // The last is open: the table may have grown between the snapshot and now.
        where: [
          ...(part === 0 ? [] : [`ctid >= '(${String(from(part))},0)'`]),
          ...(part === parts - 1 ? [] : [`ctid < '(${String(from(part + 1))},0)'`]),
        ].join(' AND '),
        bytes: Math.round(whole / parts),
      }));
    });
  }

  async openReader(): Promise<CopyReader> {
    const client = await this.#sessions.open();
    try {
      await prepareComparison(client);
    } catch (error) {
      await client.end();
      throw this.#sessions.failure('prepare a session', error);
    }
    return new PgCopyReader(client, this.#exported);
  }

  async #ask<T>(doing: string, act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (error) {
      throw this.#sessions.failure(doing, error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.end();
  }
}

/** The table, or what of its partitions holds rows. A partition elsewhere (foreign) holds none. */
const LEAVES = `SELECT n.nspname AS schema, c.relname AS name,
    (pg_relation_size(c.oid) / current_setting('block_size')::int8)::text AS blocks,
    pg_table_size(c.oid)::text AS bytes
  FROM (SELECT t.relid FROM pg_partition_tree($1::regclass) t WHERE t.isleaf
    UNION SELECT $1::regclass WHERE NOT EXISTS (SELECT FROM pg_partition_tree($1::regclass))) leaf
  JOIN pg_class c ON c.oid = leaf.relid AND c.relkind = 'r'
  JOIN pg_namespace n ON n.oid = c.relnamespace
  ORDER BY 1, 2`;

/** pg_class by SQL shows the snapshot's file, pg_relation_filenode the one of now. */
const REWRITTEN = `SELECT c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid) AS rewritten
  FROM pg_class c WHERE c.oid = $1::regclass`;

class PgCopyReader implements CopyReader {
  readonly #client: pg.Client;
  readonly #snapshot: string;

  constructor(client: pg.Client, snapshot: string) {
    this.#client = client;
    this.#snapshot = snapshot;
  }

  async read<T>(
    range: CopyRange,
    columns: readonly string[],
    sink: (rows: RowBytes) => Promise<T>,
  ): Promise<T> {
    const client = this.#client;
    try {
      await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
      await client.query(`SET TRANSACTION SNAPSHOT ${escapeLiteral(this.#snapshot)}`);
      const condition = range.where === '' ? '' : ` WHERE ${range.where}`;
      const list = columns.map((column) => escapeIdentifier(column)).join(', ');
      const stream = client.query(
        copyTo(`COPY (SELECT ${list} FROM ONLY ${range.relation}${condition}) TO STDOUT`),
      );
      const result = await sink(this.#rowsOf(stream, range));
      await client.query('COMMIT');
      return result;
    } catch (error) {
      throw isUnderstudyError(error) ? error : readFailure(error, range);
    }
  }

  /** Ends only after the look at the file: `sink` must not commit what may not be all. */
  async *#rowsOf(stream: AsyncIterable<Uint8Array>, range: CopyRange): AsyncGenerator<Uint8Array> {
    try {
      yield* stream;
      const { rows } = await this.#client.query<{ rewritten: boolean }>(REWRITTEN, [
        range.relation,
      ]);
      if (rows[0]?.rewritten === false) return;
    } catch (error) {
      throw readFailure(error, range);
    }
    throw new UnderstudyError('TABLE_REWRITTEN', 'the table was rewritten after the snapshot', {
      table: tableName(range.table),
    });
  }

  /** A session in the midst of a COPY is cut off. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.end();
  }
}

/** The server's message may quote values: only its code is told. */
function readFailure(error: unknown, range: CopyRange): UnderstudyError {
  const where = { table: tableName(range.table), detail: sqlStateOf(error) };
  return isConnectionLoss(error)
    ? new UnderstudyError('PRODUCTION_UNREACHABLE', 'the session on production ended', where)
    : new UnderstudyError('READ_FAILED', 'a table could not be read for the copy', where);
}
