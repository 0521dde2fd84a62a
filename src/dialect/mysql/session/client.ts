/** One session: how it is opened, and how rows come out of it. */
import net from 'node:net';
import mysql, { type Connection as DriverConnection } from 'mysql2/promise';
import type { Connection as StreamingConnection, ResultSetHeader, RowDataPacket } from 'mysql2';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { ServerAddress } from './address.ts';
import { isConnectionLoss } from './errors.ts';

const CONNECT_TIMEOUT_MS = 10_000;
/** A peer that vanished is asked for after this idle time; ten seconds later the socket is broken. */
const KEEP_ALIVE_MS = 10_000;
/** Sessions may be idle for weeks. */
const WAIT_TIMEOUT_S = 31_536_000;

/**
 * Of every session of ours: values come and go exactly, whatever the server's defaults. Strict, so
 * that nothing is cut without a word; dates that production took are taken; 0 is a value for an
 * AUTO_INCREMENT column; a backslash is a backslash. Messages are in English, for which key refused a row is
 * told by their text alone.
 */
export const SQL_MODE =
  'STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,NO_BACKSLASH_ESCAPES';
/** For what a table has, and a strict session does not take. */
export const LENIENT_MODE = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,NO_BACKSLASH_ESCAPES';

const SETTINGS = `SET SESSION sql_mode = '${SQL_MODE}', time_zone = '+00:00',
  autocommit = 1, wait_timeout = ${String(WAIT_TIMEOUT_S)}, sql_auto_is_null = 0,
  character_set_results = utf8mb4, lock_wait_timeout = 30, lc_messages = 'en_US'`;

/** Rows that are ahead of who reads them. */
const STREAMED_ROWS = 64;

/** A session. Numbers of 64 bits, decimals, dates and JSON are texts. */
export class Client {
  readonly driver: DriverConnection;
  readonly #socket: net.Socket;
  readonly #gone = new AbortController();

  private constructor(driver: DriverConnection, socket: net.Socket) {
    this.driver = driver;
    this.#socket = socket;
    const end = (): void => {
      this.#gone.abort();
    };
    // A connection that breaks while idle only tells so here; the next use meets it as an error.
    driver.on('error', end);
    driver.on('end', end);
  }

  /** `database`: the default one; null for none. Errors are the driver's. */
  static async connect(address: ServerAddress, database: string | null): Promise<Client> {
    const login = address.login();
    // Our own, to be able to break it: the driver's way of giving up leaves who waits waiting.
    const socket = net.connect({ host: login.host, port: login.port ?? 0 });
    socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS);
    const driver = await mysql.createConnection({
      ...login,
      stream: socket,
      ...(database !== null && { database }),
      connectTimeout: CONNECT_TIMEOUT_MS,
      charset: 'utf8mb4',
      supportBigNumbers: true,
      bigNumberStrings: true,
      dateStrings: true,
      jsonStrings: true,
      multipleStatements: false,
      connectAttributes: { program_name: 'understudy' },
    });
    const client = new Client(driver, socket);
    try {
      await client.run(SETTINGS);
      return client;
    } catch (error) {
      client.destroy();
      throw error;
    }
  }

  /** Aborts when the connection is gone. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** The rows of a statement; parameters are written into it as literals. */
  async rows<Row extends object>(
    sql: string,
    values: readonly (string | number | bigint | null)[] = [],
  ): Promise<readonly Row[]> {
    const [rows] = await this.driver.query<RowDataPacket[]>(fill(sql, values));
    return rows as unknown as readonly Row[];
  }

  /** The first row; INTERNAL if there is none. */
  async row<Row extends object>(
    sql: string,
    values: readonly (string | number | bigint | null)[] = [],
  ): Promise<Row> {
    const [first] = await this.rows<Row>(sql, values);
    if (first === undefined) throw new UnderstudyError('INTERNAL', 'a statement gave no row');
    return first;
  }

  /** Runs a statement; the rows it found (for an UPDATE: also those it did not change). */
  async run(
    sql: string,
    values: readonly (string | number | bigint | null)[] = [],
  ): Promise<{ readonly rows: number; readonly insertId: string }> {
    const [done] = await this.driver.query<ResultSetHeader>(fill(sql, values));
    return { rows: done.affectedRows, insertId: String(done.insertId) };
  }

  /** The rows of a statement as they come, each a list of bytes as the server sends them. */
  stream(sql: string): AsyncIterable<readonly (Buffer | null)[]> {
    // What the promises are made of; it alone streams.
    const { connection } = this.driver as unknown as { readonly connection: StreamingConnection };
    return connection
      .query({ sql, rowsAsArray: true, typeCast: (field) => field.buffer() })
      .stream({ highWaterMark: STREAMED_ROWS });
  }

  async end(): Promise<void> {
    if (this.#gone.signal.aborted) return;
    try {
      await this.driver.end();
    } catch (error) {
      if (!isConnectionLoss(error)) throw error;
    }
  }

  /** Without a word to the server. What is under way rejects as by a lost connection. */
  destroy(): void {
    this.#gone.abort();
    // Who waits is told by the driver when the socket has closed, and by one that is destroyed never.
    this.#socket.once('close', () => {
      this.driver.destroy();
    });
    this.#socket.destroy();
  }
}

/** Puts literals in place of `?`. Written for NO_BACKSLASH_ESCAPES, which the driver's own is not. */
function fill(sql: string, values: readonly (string | number | bigint | null)[]): string {
  if (values.length === 0) return sql;
  let next = 0;
  const filled = sql.replaceAll('?', () => {
    const value = values[next++];
    if (value === undefined) throw new UnderstudyError('INTERNAL', 'a statement lacks a value');
    if (value === null) return 'NULL';
    return typeof value === 'string' ? `'${value.replaceAll(`'`, `''`)}'` : String(value);
  });
  if (next !== values.length) throw new UnderstudyError('INTERNAL', 'a statement has more values');
  return filled;
}

/** Runs `fn` under settings of the session (as SET SESSION has them), and others afterwards. */
export async function withSettings<T>(
  client: Client,
  settings: string,
  afterwards: string,
  fn: () => Promise<T>,
): Promise<T> {
  await client.run(`SET SESSION ${settings}`);
  let result: T;
  try {
    result = await fn();
  } catch (error) {
    // Of a session that is lost this fails too, and says less.
    if (!isConnectionLoss(error)) await client.run(`SET SESSION ${afterwards}`);
    throw error;
  }
  await client.run(`SET SESSION ${afterwards}`);
  return result;
}

/**
 * Runs `fn` in a READ COMMITTED transaction (or as `level` says): committed when this resolves,
 * rolled back when it rejects. If the connection is lost at the commit, or that fails, the outcome is
 * unknown, and the error says SHADOW_UNREACHABLE.
 */
export async function transaction<T>(
  client: Client,
  fn: () => Promise<T>,
  level: 'READ COMMITTED' | 'REPEATABLE READ' = 'READ COMMITTED',
): Promise<T> {
  await client.run(`SET TRANSACTION ISOLATION LEVEL ${level}`);
  await client.run(
    level === 'READ COMMITTED'
      ? 'START TRANSACTION'
      : 'START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY',
  );
  let result: T;
  try {
    result = await fn();
  } catch (error) {
    await rollback(client, error);
    throw error;
  }
  try {
    await client.run('COMMIT');
  } catch (error) {
    if (isConnectionLoss(error)) throw error;
    // What begins next would commit what is left of it. Whether it was committed nobody knows: the
    // server may have failed while it wrote its binlog.
    await rollback(client, error);
    throw new UnderstudyError('SHADOW_UNREACHABLE', 'a commit failed', {}, error);
  }
  return result;
}

/** Rolls back after `reason`. If not even that works, both failures are told. */
async function rollback(client: Client, reason: unknown): Promise<void> {
  try {
    await client.run('ROLLBACK');
  } catch (error) {
    if (isConnectionLoss(reason)) throw reason;
    throw new UnderstudyError(
      'SHADOW_UNREACHABLE',
      'the connection was lost in a transaction',
      {},
      new AggregateError([reason, error]),
    );
  }
}
