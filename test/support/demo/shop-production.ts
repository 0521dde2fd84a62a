/** The demo's shop on a real PostgreSQL: filled, watched by a connector, and under traffic. */
import { readFile } from 'node:fs/promises';
import pg from 'pg';
import type { ShopRequest } from '../../../src/demo/shop/requests.ts';
import { handle } from '../../../src/demo/shop/service.ts';
import { makeCatalogue, makeLane, type Catalogue } from './workload.ts';
import { sleep } from '../../../src/util/wait.ts';
import type { ConnectRest } from '../connect-rest.ts';
import { settleConnector } from '../settle.ts';
import { fill } from '../shop-traffic.ts';

const SCHEMA = new URL('../../../src/demo/shop/schema.sql', import.meta.url);
const WINDOWS = 6;

/** A stretch of traffic: two regions side by side, one of them mirrored to the candidate. */
export interface ShopWindow {
  readonly mirrored: readonly ShopRequest[];
  readonly others: readonly ShopRequest[];
}

export class ShopProduction {
  readonly url: string;
  readonly windows: readonly ShopWindow[];

  private constructor(url: string, catalogue: Catalogue) {
    this.url = url;
    const north = makeLane(catalogue, { north: true, orders: 220, seed: 1, plain: false });
    const south = makeLane(catalogue, { north: false, orders: 420, seed: 2, plain: false });
    this.windows = Array.from({ length: WINDOWS }, (_, window) => ({
      mirrored: share(north, window).map((item) => item.request),
      others: share(south, window).map((item) => item.request),
    }));
  }

  /** The shop before anybody watches it, in an empty database: its catalogue, some old orders. */
  static async open(url: string): Promise<ShopProduction> {
    const catalogue = makeCatalogue();
    const schema = await readFile(SCHEMA, 'utf8');
    await withClient(url, async (client) => {
      await client.query(schema);
      await fill(client, catalogue);
      const history = makeLane(catalogue, { north: false, orders: 120, seed: 7, plain: true });
      for (const { request } of history) await handle(client, request, 'current');
    });
    return new ShopProduction(url, catalogue);
  }

  /** Serves both regions side by side, with `pauseMs` after each request. */
  async serve(window: ShopWindow, pauseMs: number, signal?: AbortSignal): Promise<void> {
    await Promise.all(
      [window.mirrored, window.others].map((requests) =>
        withClient(this.url, async (client) => {
          for (const request of requests) {
            signal?.throwIfAborted();
            await handle(client, request, 'current');
            if (pauseMs > 0) await sleep(pauseMs, signal);
          }
        }),
      ),
    );
  }

  /**
   * A position that parts what was committed before from what comes after: the message between
   * them keeps the end of one from being the beginning of the other.
   */
  position(): Promise<bigint> {
    return withClient(this.url, async (client) => {
      await client.query(`SELECT pg_logical_emit_message(false, 'demo', 'window')`);
      const { rows } = await client.query<{ lsn: string }>(
        `SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS lsn`,
      );
      return BigInt(rows[0]?.lsn ?? 0);
    });
  }

  /** Waits until the connector has committed everything up to now. */
  settle(rest: ConnectRest, connector: string, signal?: AbortSignal): Promise<void> {
    return settleConnector(this.url, rest, connector, signal);
  }
}

function share<T>(list: readonly T[], window: number): readonly T[] {
  const at = (i: number): number => Math.floor((list.length * i) / WINDOWS);
  return list.slice(at(window), at(window + 1));
}

async function withClient<T>(url: string, act: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  // The query in hand rejects by itself when the server goes.
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await act(client);
  } finally {
    await client.end();
  }
}
