/**
 * Avro on real parts: Debezium with a registry's converter, a registry that cannot be reached for
 * a while, and the command line. Each test starts where the one before ended.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { canonicalState } from '../support/canonical-state.ts';
import { postgresConnector } from '../support/connectors.ts';
import { databaseUrl, startPostgres, type PostgresServer } from '../support/postgres.ts';
import { freePort } from '../support/process/ports.ts';
import { avroConverters } from '../support/registry.ts';
import { sharedConnect, sharedKafka, sharedRegistry } from '../support/shared-stack.ts';
import { ShopTraffic } from '../support/shop-traffic.ts';
import { connectTo, testDatabase } from '../support/test-database.ts';
import { Way } from '../support/way.ts';
import { Workplace } from '../support/understudy.ts';

const PREFIX = `avro${process.pid}`;
const production = await testDatabase('production');

interface Status {
  readonly databases: readonly {
    readonly name: string;
    readonly state: string;
    readonly lag: { readonly offsets: number | null };
  }[];
}

let shadow: PostgresServer;
let way: Way;
let traffic: ShopTraffic;
let workplace: Workplace;
/** Everything of the configuration but the registry and the trunk's name. */
let common: (trunk: string, registry: object) => object;

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 60_000; Date.now() < deadline;) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  throw new Error(`waited in vain: ${what}`);
}

async function expectEqual(trunk: string): Promise<void> {
  expect(await canonicalState(databaseUrl(shadow.url, trunk))).toEqual(
    await canonicalState(production.url),
  );
}

/** Rows as far as events can tell their types: not all of them are production's. */
async function counts(url: string): Promise<unknown> {
  const sql = await connectTo(url);
  try {
    const { rows } = await sql.query(
      `SELECT (SELECT count(*) FROM orders) AS orders, (SELECT sum(amount::numeric) FROM payments) AS paid,
         (SELECT count(*) FROM products WHERE length(description) > 2000) AS described,
         (SELECT count(*) FROM customers WHERE address IS NOT NULL) AS addressed`,
    );
    return rows[0];
  } finally {
    await sql.end();
  }
}

describe('production in Avro', () => {
  beforeAll(async () => {
    shadow = await startPostgres();
    const [kafka, connect, registry] = await Promise.all([
      sharedKafka(),
      sharedConnect(),
      sharedRegistry(),
    ]);
    way = new Way(await freePort(), registry.port);
    traffic = await ShopTraffic.open(production.url);
    const converters = avroConverters(registry);
    await connect.createConnector(
      PREFIX,
      await postgresConnector(production.url, PREFIX, converters),
    );
    common = (trunk, schemaRegistry) => ({
      source: {
        connector: 'postgresql',
        topicPrefix: PREFIX,
        kafka: { brokers: [kafka.broker] },
        connect: { url: connect.url, name: PREFIX },
        schemaRegistry,
        modes: { names: 'avro' },
      },
      production: { url: production.url },
      shadow: { url: shadow.url },
      trunk: { name: trunk },
    });
    const address = `http://127.0.0.1:${way.port}`;
    workplace = await Workplace.make(common('shop', { url: `${address}/apis/ccompat/v7` }));
  });

  afterAll(async () => {
    await traffic.stop();
    await workplace[Symbol.asyncDispose]();
    const connect = await sharedConnect();
    await connect.deleteConnector(PREFIX);
    await way.cut();
    await shadow.stop();
  });

  it('waits for a registry that cannot be reached, tells so, and skips nothing', async () => {
    await traffic.serve(60);
    await traffic.settle(await sharedConnect(), PREFIX);
    const run = workplace.start(['run']);
    const state = async (): Promise<Status['databases'][number] | undefined> =>
      (await workplace.json<Status>(['status'])).databases[0];
    await until('it reports', async () => (await state())?.state === 'reconnecting');
    expect(run.stderr).toContain('REGISTRY_UNREACHABLE');
    await way.open();
    await until('it follows', async () => {
      const now = await state();
      return now?.state === 'following' && now.lag.offsets === 0;
    });
    run.kill('SIGTERM');
    expect((await run.ended).status).toBe(0);
    await expectEqual('shop');
  });

  it('needs the registry no more for schemas it had once', async () => {
    await way.cut();
    await traffic.serve(40);
    await traffic.settle(await sharedConnect(), PREFIX);
    const summary = await workplace.json<{ applied: { rows: number } }>([
      'materialize',
      '--until-caught-up',
    ]);
    expect(summary.applied.rows).toBeGreaterThan(20);
    await expectEqual('shop');
  });

  it('stops at an id that the registry does not know, and passes nothing', async () => {
    await way.open();
    const url = `http://127.0.0.1:${way.port}/apis/registry/v2`;
    await workplace.configure(common('wide', { url, api: 'apicurio', idBytes: 8 }));
    const result = await workplace.run(['materialize', '--until-caught-up']);
    expect(result.status).toBe(6);
    // Some records are too short for such an id; which is met first is chance.
    expect(result.stderr).toMatch(/SCHEMA_UNKNOWN|RECORD_CORRUPT.*schema id is cut off/);
    expect(result.stderr).toMatch(new RegExp(`topic (?:__debezium-heartbeat\\.)?${PREFIX}`));
  });

  it("reads Apicurio's own interface by content id", async () => {
    const url = `http://127.0.0.1:${way.port}/apis/registry/v2`;
    await workplace.configure(common('contents', { url, api: 'apicurio', ids: 'contentId' }));
    const summary = await workplace.json<{ parked: number }>(['materialize', '--until-caught-up']);
    expect(summary.parked).toBe(0);
    await expectEqual('contents');
  });

  it('makes a trunk from what the events tell, with the same rows', async () => {
    const url = `http://127.0.0.1:${way.port}/apis/ccompat/v7`;
    const config = common('told', { url });
    await workplace.configure({ ...config, trunk: { name: 'told', schema: 'events' } });
    await workplace.json(['materialize', '--until-caught-up']);
    const told = databaseUrl(shadow.url, 'told');
    expect(await counts(told)).toEqual(await counts(production.url));
  });

  it('says what to configure where no registry is', async () => {
    await workplace.configure(common('bare', undefined as unknown as object));
    const result = await workplace.run(['materialize', '--until-caught-up']);
    expect(result.status).toBe(3);
    expect(result.stderr).toContain('source.schemaRegistry');
  });
});
