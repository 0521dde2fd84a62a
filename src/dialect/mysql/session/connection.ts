/**
 * Connections. Each has one job for its whole life (applying, the fence, reading), is opened on
 * first use and again after it was lost, and runs one thing at a time: transactions of two callers
 * never mix on it.
 */
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { ErrorCode } from '../../../errors/codes.ts';
import type { ServerAddress } from './address.ts';
import { Client } from './client.ts';
import { isConnectionLoss, toUnderstudyError } from './errors.ts';

export interface ConnectionOptions {
  readonly address: ServerAddress;
  /** The default database; null for none. */
  readonly database: string | null;
  /** Run once on every connection newly opened. */
  readonly prepare?: (client: Client) => Promise<void>;
}

interface What {
  readonly doing: string;
  readonly otherwise: ErrorCode;
}

/** One connection that heals itself: see the head of the file. */
export class Connection implements AsyncDisposable {
  readonly #options: ConnectionOptions;
  #client: Client | null = null;
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
  use<T>(what: What, fn: (client: Client) => Promise<T>): Promise<T> {
    if (this.#closed) {
      return Promise.reject(new UnderstudyError('INTERNAL', 'a closed connection was used'));
    }
    const run = this.#tail.then(() => this.#run(what, fn));
    this.#tail = run.catch(() => undefined);
    return run;
  }

  async #run<T>(what: What, fn: (client: Client) => Promise<T>): Promise<T> {
    const { database } = this.#options;
    const context = database === null ? {} : { database };
    const { address } = this;
    let client: Client;
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
      const lost = client.gone.aborted;
      if (lost || isConnectionLoss(error)) this.#forget(client);
      throw toUnderstudyError(error, { ...what, address, context, lost });
    }
  }

  async #open(): Promise<Client> {
    if (this.#client !== null && !this.#client.gone.aborted) return this.#client;
    const { address, database, prepare } = this.#options;
    const client = await Client.connect(address, database);
    this.#client = client;
    try {
      await prepare?.(client);
    } catch (error) {
      this.#forget(client);
      throw error;
    }
    return client;
  }

  #forget(client: Client): void {
    if (this.#client === client) this.#client = null;
    // It is broken or refused: saying good-bye can only fail in the same way.
    client.destroy();
  }

  /**
   * For who waits in vain: what is under way fails with SHADOW_UNREACHABLE, and the next use opens
   * another connection. The server rolls back when it notices.
   */
  break(): void {
    if (this.#client !== null) this.#forget(this.#client);
  }

  /** Waits for all that was asked of it, then closes; nothing more may be asked. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#tail;
    const client = this.#client;
    this.#client = null;
    await client?.end();
  }
}
