/**
 * Reads production's tables for a copy: sessions of one snapshot, opened when it is taken, each of
 * which reads ranges of a table by its primary key.
 *
 * A range is read in statements of some megabytes, each from where the one before ended, for as long
 * as the key can be written and compared exactly as it is stored; else by one statement. A session
 * gives back its lock on the table after each range, which MariaDB does not do before the snapshot ends.
 * A table that was altered or truncated after the
 * snapshot is refused by the server itself.
 */
import { tableName, type TableId } from '../../../change/table-id.ts';
import { isUnderstudyError, UnderstudyError } from '../../../errors/understudy-error.ts';
import type { SchemaCatalogue } from '../../../schema/table-schema.ts';
import type {
  CopyMark,
  CopyRange,
  CopyReader,
  CopySnapshot,
  CopySource,
  RowBytes,
} from '../../copying.ts';
import { evenly, numberedBy } from '../catalogue/cut.ts';
import type { Client } from '../session/client.ts';
import { ERRNO, hasErrno, isConnectionLoss, tellable } from '../session/errors.ts';
import type { Flavour } from '../session/flavour.ts';
import { quote } from '../session/names.ts';
import { placeNumber, snapshotText } from './binlog-view.ts';
import { copiedColumns, prepareReads, readRows, type ReadRange } from './copy-rows.ts';
import { assertShown, readFollowed, type Followed } from './followed.ts';
import { currentPlace, logEnd, pinSessions, type PinnedSessions } from './pinned-sessions.ts';
import type { ProductionSessions } from './production-session.ts';

export interface CopySourceParts {
  readonly sessions: ProductionSessions;
  readonly flavour: Flavour;
  readonly includes: (table: TableId) => boolean;
}

export class MySqlCopySource implements CopySource {
  readonly #parts: CopySourceParts;

  constructor(parts: CopySourceParts) {
    this.#parts = parts;
  }

  mark(): Promise<CopyMark> {
    const { sessions, flavour } = this.#parts;
    return sessions.use('find the end of the binlog', async (client) => ({
      transaction: flavour.engine === 'mariadb' ? await logEnd(client) : '',
      position: placeNumber(await currentPlace(client, flavour)),
    }));
  }

  async pinAfter(
    transaction: string,
    options: {
      readonly readers: number;
      readonly timeoutMs: number;
      readonly signal: AbortSignal;
    },
  ): Promise<CopySnapshot> {
    const { sessions, flavour } = this.#parts;
    try {
      const followed = await this.#tables();
      const pinned = await pinSessions(sessions, flavour, {
        ...{ ...options, count: options.readers, after: transaction },
        tables: followed.locked,
      });
      return new MySqlCopySnapshot(pinned, { ...followed, sessions });
    } catch (error) {
      if (options.signal.aborted) throw error;
      throw sessions.failure('pin a snapshot', error);
    }
  }

  #tables(): Promise<Followed> {
    const { sessions, includes } = this.#parts;
    return sessions.use('read the catalogue', (client) =>
      readFollowed(client, sessions.database, includes),
    );
  }
}

class MySqlCopySnapshot implements CopySnapshot {
  readonly snapshot: string;
  readonly marker: bigint;
  readonly readers: number;
  readonly #parts: Followed & { readonly sessions: ProductionSessions };
  readonly #all: readonly Client[];
  /** Sessions that nobody reads with. */
  readonly #free: Client[];

  constructor(
    { sessions, place }: PinnedSessions,
    parts: Followed & { readonly sessions: ProductionSessions },
  ) {
    this.snapshot = snapshotText(place);
    this.marker = placeNumber(place);
    this.readers = sessions.length;
    this.#parts = parts;
    this.#all = sessions;
    this.#free = [...sessions];
  }

  tables(): Promise<SchemaCatalogue> {
    return Promise.resolve(this.#parts.tables.catalogue);
  }

  /** Cut evenly by the first column of the key where that is a number. */
  async ranges(table: TableId, rangeBytes: number): Promise<readonly CopyRange[]> {
    assertShown(this.#parts, table);
    const { database, tables, sessions } = this.#parts;
    const bytes = this.#parts.bytes.get(tableName(table)) ?? 0;
    const parts = Math.max(1, Math.ceil(bytes / rangeBytes));
    const relation = quote(database, table.name);
    const cut = (where: readonly string[]): readonly CopyRange[] =>
      where.map((condition) => ({
        ...{ table, relation, where: condition },
        bytes: Math.round(bytes / where.length),
      }));
    const column = numberedBy(tables, table);
    if (parts === 1 || column === null) return cut(['']);
    return await this.#lend(async (client) => {
      try {
        // As for rows: the table must not stay locked against changes of its shape.
        await client.run(`SAVEPOINT ${SAVEPOINT}`);
        const where = await evenly(client, { relation, column, parts });
        await client.run(`ROLLBACK TO SAVEPOINT ${SAVEPOINT}`);
        return cut(where);
      } catch (error) {
        throw sessions.failure('size up a table', error);
      }
    });
  }

  async openReader(): Promise<CopyReader> {
    const client = this.#free.pop();
    if (client === undefined) {
      const what = 'a session of the snapshot was lost';
      throw new UnderstudyError('PRODUCTION_UNREACHABLE', what);
    }
    try {
      await prepareReads(client);
    } catch (error) {
      client.destroy();
      throw this.#parts.sessions.failure('prepare a session', error);
    }
    return new MySqlCopyReader(client, this.#parts, () => this.#free.push(client));
  }

  async #lend<T>(act: (client: Client) => Promise<T>): Promise<T> {
    const [client] = this.#free;
    if (client === undefined) throw new UnderstudyError('INTERNAL', 'no session is free');
    return await act(client);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#all.map((client) => client.end()));
  }
}

const SAVEPOINT = 'understudy_range';

class MySqlCopyReader implements CopyReader {
  readonly #client: Client;
  readonly #followed: Followed;
  readonly #giveBack: () => void;
  #failed = false;

  constructor(client: Client, followed: Followed, giveBack: () => void) {
    this.#client = client;
    this.#followed = followed;
    this.#giveBack = giveBack;
  }

  async read<T>(
    range: CopyRange,
    columns: readonly string[],
    sink: (rows: RowBytes) => Promise<T>,
  ): Promise<T> {
    this.#failed = true;
    try {
      // What is read until it is rolled back to is locked, against changes of its shape, until then.
      await this.#client.run(`SAVEPOINT ${SAVEPOINT}`);
      const result = await sink(this.#rowsOf(range, columns));
      await this.#release();
      return result;
    } catch (error) {
      // The statement was refused, and nothing else.
      if (isUnderstudyError(error, 'TABLE_REWRITTEN')) await this.#release();
      throw isUnderstudyError(error) ? error : readFailure(error, range);
    }
  }

  async #release(): Promise<void> {
    await this.#client.run(`ROLLBACK TO SAVEPOINT ${SAVEPOINT}`);
    this.#failed = false;
  }

  async *#rowsOf(range: CopyRange, names: readonly string[]): RowBytes {
    const { tables } = this.#followed;
    const read: ReadRange = {
      ...{ relation: range.relation, where: range.where },
      ...copiedColumns(tables, range.table, names),
    };
    try {
      yield* readRows(this.#client, read);
    } catch (error) {
      throw isUnderstudyError(error) ? error : readFailure(error, range);
    }
  }

  /** A session that failed, or is in the midst of a statement, is of no use any more. */
  [Symbol.asyncDispose](): Promise<void> {
    if (this.#failed) this.#client.destroy();
    else this.#giveBack();
    return Promise.resolve();
  }
}

/** The server's message may quote values: only what may be told is. */
function readFailure(error: unknown, range: CopyRange): UnderstudyError {
  const where = { table: tableName(range.table), detail: tellable(error) };
  if (hasErrno(error, ERRNO.definitionChanged)) {
    const what = 'the table was altered or truncated after the snapshot';
    return new UnderstudyError('TABLE_REWRITTEN', what, where);
  }
  return isConnectionLoss(error)
    ? new UnderstudyError('PRODUCTION_UNREACHABLE', 'the session on production ended', where)
    : new UnderstudyError('READ_FAILED', 'a table could not be read for the copy', where);
}
