import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { ServerAddress } from '../session/address.ts';
import { Client } from '../session/client.ts';
import { isRefusal, tellable } from '../session/errors.ts';

/** Every session on production is read-only by the server's own rule, and waits for nothing long. */
const SETTINGS = `SET SESSION TRANSACTION READ ONLY`;
const WAITS = `SET SESSION lock_wait_timeout = 10, innodb_lock_wait_timeout = 10`;

/** Makes sessions on production. Prints and throws without credentials. */
export class ProductionSessions {
  readonly #address: ServerAddress;

  /** CONFIG_INVALID if it is no URL; its text is not repeated, for it may hold a password. */
  constructor(url: string) {
    this.#address = new ServerAddress(url, 'production.url');
  }

  /** `host:port/database`. */
  get address(): string {
    return this.#address.describe(this.#address.database);
  }

  /** The database the URL names; null if none. */
  get database(): string | null {
    return this.#address.database;
  }

  /** A new session; the caller ends it. Errors: PRODUCTION_UNREACHABLE, DATABASE_PERMISSION. */
  async open(): Promise<Client> {
    let client: Client | null = null;
    try {
      client = await Client.connect(this.#address, this.#address.database);
      await client.run(SETTINGS);
      await client.run(WAITS);
      return client;
    } catch (error) {
      client?.destroy();
      throw this.failure('connect', error);
    }
  }

  /** Runs `work` in a session of its own. Errors: those of open, and what `work` throws of ours. */
  async use<T>(doing: string, work: (client: Client) => Promise<T>): Promise<T> {
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
    const code = isRefusal(error) ? 'DATABASE_PERMISSION' : 'PRODUCTION_UNREACHABLE';
    const message = `could not ${doing} on production at ${this.address}`;
    return new UnderstudyError(code, message, { detail: tellable(error) }, error);
  }
}
