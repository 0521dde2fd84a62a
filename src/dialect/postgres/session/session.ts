/**
 * Connections. Each has one job for its whole life (applying, the fence, reading), is opened on
 * first use and again after it was lost, and runs one thing at a time: transactions of two callers
 * never mix on it.
 */
import pg from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { ErrorCode } from '../../../errors/codes.ts';
import { hasSqlState, isConnectionLoss, toUnderstudyError } from './errors.ts';
import { queryAll } from './query-all.ts';

const CONNECT_TIMEOUT_MS = 10_000;
/** A peer that vanished is asked for after this idle time; ten seconds later the socket is broken. */
const KEEP_ALIVE_MS = 10_000;
/** The server ends a statement whose client died within this time, instead of finishing it. */
const CLIENT_CHECK_MS = 1_000;

/** Types whose parsers in the driver lose something: they stay text. */
const TEXT_TYPES = [
  600, 718, 1017, 719, 114, 199, 3802, 3807, 1082, 1182, 1083, 1183, 1114, 1115, 1184, 1185, 1186,
  1187, 1266, 1270, 1700, 1231,
];
const INT8 = 20;

/** Values as they are: int8 as BigInt; dates, times, JSON, numeric and points as text. */
function exactTypes(): pg.TypeOverrides {
  const types = new pg.TypeOverrides();
  types.setTypeParser(INT8, (text) => BigInt(text));
  for (const oid of TEXT_TYPES) types.setTypeParser(oid, (text) => text);
  return types;
}

/**
 * Limits that a role or database may have for its users: a batch or a copy that is cut off by one
 * would be cut off by it each time. Older servers do not know all of them.
 */
const NO_LIMITS = `SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings
  WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_session_timeout',
    'idle_in_transaction_session_timeout') AND setting <> '0'`;

/** Where a server is, and with what one gets in. Prints without credentials. */
export class ServerAddress {
  readonly #url: URL;

  /** CONFIG_INVALID if it is no URL; its text is not repeated, for it may hold a password. */
  constructor(url: string) {
    if (!URL.canParse(url)) throw new UnderstudyError('CONFIG_INVALID', 'shadow.url is not a URL');
    this.#url = new URL(url);
  }

  /** The database the URL names, where server-wide statements are run. */
  get database(): string {
    const name = decodeURIComponent(this.#url.pathname.slice(1));
    return name === '' ? 'postgres' : name;
  }

  /** `host:port/database`. */
  describe(database: string = this.database): string {
    const host = this.#url.hostname === '' ? 'localhost' : this.#url.hostname;
    return `${host}:${this.#url.port === '' ? '5432' : this.#url.port}/${database}`;
  }

  /** The same options (TLS and others), another database and name of the application. */
  urlFor(database: string, applicationName: string): string {
    const url = new URL(this.#url);
    url.pathname = `/${encodeURIComponent(database)}`;
    url.searchParams.set('application_name', applicationName.slice(0, 63));
    return url.href;
  }

  /** The same options for another account: what a candidate connects with. Holds its password. */
  candidateUrl(database: string, user: string, password: string): string {
    const url = new URL(this.#url);
    url.pathname = `/${encodeURIComponent(database)}`;
    url.username = encodeURIComponent(user);
    url.password = encodeURIComponent(password);
    url.searchParams.delete('application_name');
    return url.href;
  }

  toString(): string {
    return this.describe();
  }

  toJSON(): string {
    return this.describe();
  }
}

/** Opens one connection. Errors are the driver's. */
async function openClient(
  address: ServerAddress,
  database: string,
  role: string,
): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: address.urlFor(database, `understudy:${database}:${role}`),
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
    types: exactTypes(),
  });
  // A connection that breaks while idle only tells so here; the next use meets it as an error.
  client.on('error', () => undefined);
  await client.connect();
  try {
    await client.query(NO_LIMITS);
  } catch (error) {
    client.end().catch(() => undefined);
    throw error;
  }
  return client;
}

/** A connection for one caller and one purpose, who ends it. SHADOW_UNREACHABLE or DATABASE_PERMISSION. */
export async function openSession(
  address: ServerAddress,
  database: string,
  role: string,
): Promise<pg.Client> {
  try {
    return await openClient(address, database, role);
  } catch (error) {
    throw toUnderstudyError(error, {
      ...{ doing: 'connect', address: address.describe(database), context: { database } },
      otherwise: 'SHADOW_UNREACHABLE',
    });
  }
}

/**
 * Runs `fn` in a transaction, with what `begin` was answered: committed when this resolves, rolled back when it rejects. If the
 * connection is lost at the commit, the outcome is unknown, and the error says SHADOW_UNREACHABLE.
 */
export async function transaction<T>(
  client: pg.ClientBase,
  fn: (begun: readonly pg.QueryResult[]) => Promise<T>,
  begin = 'BEGIN',
): Promise<T> {
  let result: T;
  try {
    result = await fn(await queryAll(client, [begin]));
  } catch (error) {
    await rollback(client, error);
    throw error;
  }
  await client.query('COMMIT');
  return result;
}

/** Rolls back after `reason`. If not even that works, both failures are told. */
async function rollback(client: pg.ClientBase, reason: unknown): Promise<void> {
  try {
    await client.query('ROLLBACK');
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

/** Where the platform can: see CLIENT_CHECK_MS. It says 22023 where it cannot. */
async function watchClient(client: pg.Client): Promise<void> {
  try {
    await client.query(`SET client_connection_check_interval = ${String(CLIENT_CHECK_MS)}`);
  } catch (error) {
    if (!hasSqlState(error, '22023')) throw error;
  }
}

export interface ConnectionOptions {
  readonly address: ServerAddress;
  readonly database: string;
  /** What it is for; shows in pg_stat_activity as `understudy:<database>:<role>`. */
  readonly role: string;
  /** Run once on every connection newly opened. */
  readonly prepare?: (client: pg.Client) => Promise<void>;
}

/** One connection that heals itself: see the head of the file. */
export class Connection implements AsyncDisposable {
  readonly #options: ConnectionOptions;
  #client: pg.Client | null = null;
  #tail: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  /** host:port/database. */
  get address(): string {
    return this.#options.address.describe(this.#options.database);
  }

  /**
   * Runs `fn` on the connection when nobody else uses it. All that goes wrong comes out as an
   * UnderstudyError: see toUnderstudyError.
   */
  use<T>(
    what: { readonly doing: string; readonly otherwise: ErrorCode },
    fn: (client: pg.Client) => Promise<T>,
  ): Promise<T> {
    if (this.#closed) {
      return Promise.reject(new UnderstudyError('INTERNAL', 'a closed connection was used'));
    }
    const run = this.#tail.then(() => this.#run(what, fn));
    this.#tail = run.catch(() => undefined);
    return run;
  }

  async #run<T>(
    what: { readonly doing: string; readonly otherwise: ErrorCode },
    fn: (client: pg.Client) => Promise<T>,
  ): Promise<T> {
    const { address, context } = { address: this.address, context: this.#context() };
    let client: pg.Client;
    try {
      client = await this.#open();
    } catch (error) {
      throw toUnderstudyError(error, {
        ...{ doing: 'connect', address, context, otherwise: 'SHADOW_UNREACHABLE' },
      });
    }
    try {
      return await fn(client);
    } catch (error) {
      const lost = this.#client !== client;
      if (isConnectionLoss(error)) this.#forget(client);
      throw toUnderstudyError(error, { ...what, address, context, lost });
    }
  }

  #context(): { readonly database: string } {
    return { database: this.#options.database };
  }

  async #open(): Promise<pg.Client> {
    if (this.#client !== null) return this.#client;
    const { address, database, role, prepare } = this.#options;
    const client = await openClient(address, database, role);
    client.on('error', () => this.#forget(client));
    client.on('end', () => this.#forget(client));
    this.#client = client;
    try {
      await watchClient(client);
      await prepare?.(client);
    } catch (error) {
      this.#forget(client);
      throw error;
    }
    return client;
  }

  #forget(client: pg.Client): void {
    if (this.#client !== client) return;
    this.#client = null;
    // It is broken or refused: closing it can only fail in the same way.
    client.end().catch(() => undefined);
  }

  /**
   * For who waits in vain: what is under way fails with SHADOW_UNREACHABLE, and the next use opens
   * another connection. The server rolls back when it notices.
   */
  break(): void {
    const client = this.#client;
    if (client === null) return;
    this.#client = null;
    client.connection.stream.destroy(new Error('given up by understudy'));
  }

  /** Waits for all that was asked of it, then closes; nothing more may be asked. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#tail;
    const client = this.#client;
    this.#client = null;
    await client?.end().catch(() => undefined);
  }
}
