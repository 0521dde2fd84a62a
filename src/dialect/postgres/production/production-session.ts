import pg from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { databaseError, SQLSTATE, tellable } from '../session/errors.ts';
import { ServerAddress } from '../session/session.ts';

const CONNECT_TIMEOUT_MS = 10_000;

/**
 * Every session on production is read-only by the server's own rule, waits for no lock for long,
 * and holds no snapshot open by accident. Set by statements, not at the start of the session,
 * since poolers refuse start-up options.
 */
const SETTINGS = `SELECT
  pg_catalog.set_config('default_transaction_read_only', 'on', false),
  pg_catalog.set_config('statement_timeout', '300s', false),
  pg_catalog.set_config('lock_timeout', '10s', false),
  pg_catalog.set_config('idle_in_transaction_session_timeout', '300s', false),
  pg_catalog.set_config('client_encoding', 'UTF8', false)`;

/** Makes sessions on production. Prints and throws without credentials. */
export class ProductionSessions {
  readonly #address: ServerAddress;

  /** CONFIG_INVALID if it is no URL; its text is not repeated, for it may hold a password. */
  constructor(url: string) {
    if (!URL.canParse(url)) {
      throw new UnderstudyError('CONFIG_INVALID', 'production.url is not a URL');
    }
    this.#address = new ServerAddress(url);
  }

  /** `host:port/database`. */
  get address(): string {
    return this.#address.describe();
  }

  /** A new session; the caller ends it. Errors: PRODUCTION_UNREACHABLE, DATABASE_PERMISSION. */
  async open(): Promise<pg.Client> {
    const client = new pg.Client({
      connectionString: this.#address.urlFor(this.#address.database, 'understudy'),
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      keepAlive: true,
    });
    // A session that breaks while idle only tells so here; the next query meets it as an error.
    client.on('error', () => undefined);
    try {
      await client.connect();
      await client.query(SETTINGS);
      return client;
    } catch (error) {
      await client.end();
      throw this.failure('connect', error);
    }
  }

  /** Runs `work` in a session of its own. Errors: those of open, and what `work` throws of ours. */
  async use<T>(doing: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
    const client = await this.open();
    try {
      return await work(client);
    } catch (error) {
      throw this.failure(doing, error);
    } finally {
      await client.end();
    }
  }

  /** Our error for one of the driver's; ours stay as they are. */
  failure(doing: string, error: unknown): UnderstudyError {
    if (error instanceof UnderstudyError) return error;
    const state = databaseError(error)?.code;
    const code =
      state === SQLSTATE.insufficientPrivilege || state?.startsWith('28') === true
        ? 'DATABASE_PERMISSION'
        : 'PRODUCTION_UNREACHABLE';
    const message = `could not ${doing} on production at ${this.address}`;
    return new UnderstudyError(code, message, { detail: tellable(error) }, error);
  }
}
