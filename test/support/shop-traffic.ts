import { readFile } from 'node:fs/promises';
import pg from 'pg';
import { handle } from '../../src/demo/shop/service.ts';
import { makeCatalogue, makeLane, type Catalogue } from './demo/workload.ts';
import type { ShopRequest } from '../../src/demo/shop/requests.ts';
import { sleep } from '../../src/util/wait.ts';
import type { ConnectRest } from './connect-rest.ts';
import { settleConnector } from './settle.ts';

const SCHEMA = new URL('../../src/demo/shop/schema.sql', import.meta.url);

/** The demo's shop as a production under load, for end-to-end tests. */
export class ShopTraffic {
  readonly #url: string;
  readonly #catalogue: Catalogue;
  /** Each writer has requests of its own, since later ones build on earlier ones. */
  readonly #lanes: ShopRequest[][];
  /** Requests of another seed have other ids. */
  #seed = 16;
  readonly #writers = new Set<{ stop(): Promise<void> }>();

  private constructor(url: string) {
    this.#url = url;
    this.#catalogue = makeCatalogue();
    this.#lanes = [[], [], [], [], []];
  }

  /** Makes the shop's schema and catalogue in an empty database. */
  static async open(url: string): Promise<ShopTraffic> {
    const traffic = new ShopTraffic(url);
    const schema = await readFile(SCHEMA, 'utf8');
    await traffic.#withClient(async (client) => {
      await client.query(schema);
      await fill(client, traffic.#catalogue);
    });
    return traffic;
  }

  /** Serves some requests of the first lane, one after another. */
  serve(count: number): Promise<void> {
    return this.#withClient(async (client) => {
      for (const request of this.#take(0, count)) await handle(client, request, 'current');
    });
  }

  /** Starts writers beside each other; `stop` ends them after the request in hand. */
  start(writers: number): { stop(): Promise<void> } {
    let stopped = false;
    const running = Array.from({ length: writers }, (_, i) =>
      this.#withClient(async (client) => {
        while (!stopped) {
          for (const request of this.#take(i + 1, 1)) await persist(client, request);
          await sleep(2);
        }
      }),
    );
    const handleOf = {
      stop: async (): Promise<void> => {
        stopped = true;
        this.#writers.delete(handleOf);
        await Promise.all(running);
      },
    };
    this.#writers.add(handleOf);
    return handleOf;
  }

  /** Waits until the connector has everything that was committed up to now in Kafka. */
  settle(connect: ConnectRest, connector: string): Promise<void> {
    return settleConnector(this.#url, connect, connector);
  }

  async stop(): Promise<void> {
    for (const writers of [...this.#writers]) await writers.stop();
  }

  #take(lane: number, count: number): readonly ShopRequest[] {
    const queue = this.#lanes[lane];
    if (queue === undefined) throw new Error(`there are ${this.#lanes.length} lanes`);
    while (queue.length < count) {
      this.#seed += 1;
      const more = { north: lane === 0, orders: 500, seed: this.#seed, plain: lane > 1 };
      const requests = makeLane(this.#catalogue, more).map((item) => item.request);
      // A snapshot does not outlive a TRUNCATE: a drift check under way would be inconclusive.
      queue.push(...requests.filter((request) => request.kind !== 'clear-search-cache'));
    }
    return queue.splice(0, count);
  }

  async #withClient<T>(act: (client: pg.Client) => Promise<T>): Promise<T> {
    const client = new pg.Client({ connectionString: this.#url });
    await client.connect();
    try {
      return await act(client);
    } finally {
      await client.end();
    }
  }
}

/** Again and again, where writers met in a deadlock. */
async function persist(client: pg.Client, request: ShopRequest): Promise<void> {
  for (;;) {
    try {
      await handle(client, request, 'current');
      return;
    } catch (error) {
      if (!(error instanceof pg.DatabaseError) || error.code !== '40P01') throw error;
    }
  }
}

/** The catalogue's rows, as production has them before anybody watches. */
export async function fill(client: pg.ClientBase, catalogue: Catalogue): Promise<void> {
  const opened = '2026-03-01T08:00:00Z';
  for (const c of catalogue.customers) {
    await client.query(
      'INSERT INTO customers (id, email, name, address, created_at) VALUES ($1, $2, $3, $4, $5)',
      [c.id, c.email, c.name, { street: `${c.id} Mill Lane`, city: 'Old Town' }, opened],
    );
  }
  await client.query(`SELECT setval('customers_id_seq', ${catalogue.customers.length})`);
  for (const p of catalogue.products) {
    await client.query(
      `INSERT INTO products (sku, name, price_cents, tags, description, updated_at)
       VALUES ($1, $2, $3, $4, $5, $6)`,
      [p.sku, p.name, p.cents, p.tags, p.description, opened],
    );
    const shelf = `aisle ${(p.cents % 12) + 1}`;
    await client.query('INSERT INTO inventory VALUES ($1, 500, 0, $2)', [p.sku, shelf]);
  }
  for (const c of catalogue.coupons) {
    await client.query('INSERT INTO coupons VALUES ($1, $2)', [c.code, c.percent]);
  }
}
