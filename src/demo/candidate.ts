import pg from 'pg';
import type { ShopRequest } from './shop/requests.ts';
import { handle, type Database, type Release } from './shop/service.ts';

/**
 * A release of the shop, connected to a database as to any other: it knows nothing of overlays.
 */
export class ShopService implements AsyncDisposable {
  readonly #client: pg.Client;
  readonly #release: Release;

  private constructor(client: pg.Client, release: Release) {
    this.#client = client;
    this.#release = release;
  }

  static async connect(url: string, release: Release): Promise<ShopService> {
    const client = new pg.Client({ connectionString: url, application_name: `shop ${release}` });
    // A lost connection is told by the next query; without a listener it would end the process.
    client.on('error', () => undefined);
    await client.connect();
    return new ShopService(client, release);
  }

  async serve(requests: readonly ShopRequest[]): Promise<void> {
    const database: Database = {
      query: (sql, values) => this.#client.query(sql, values === undefined ? [] : [...values]),
    };
    for (const request of requests) await handle(database, request, this.#release);
  }

  /** The query's column `value`, which must be text; null if there is no row. */
  async value(sql: string): Promise<string | null> {
    const { rows } = await this.#client.query<{ value: string | null }>(sql);
    return rows[0]?.value ?? null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.end();
  }
}
