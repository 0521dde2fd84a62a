/**
 * A trunk without old topics: the connector sends no snapshot, production has rows that no topic
 * ever held, and traffic goes on before, while and after the copy is made, cut off and resumed.
 */
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { canonicalState } from '../support/canonical-state.ts';
import { postgresConnector } from '../support/connectors.ts';
import { databaseUrl, startPostgres, type PostgresServer } from '../support/postgres.ts';
import { ShopTraffic } from '../support/shop-traffic.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { testDatabase } from '../support/test-database.ts';
import { followed, Workplace } from '../support/understudy.ts';

const PREFIX = `bootstrap${process.pid}`;
const production = await testDatabase('production');

let shadow: PostgresServer;
let workplace: Workplace;
let traffic: ShopTraffic;

interface Status {
  readonly databases: readonly {
    readonly state: string;
    readonly holder: string | null;
    readonly bootstrap: {
      readonly phase: string;
      readonly tables: number;
      readonly tablesDone: number;
    } | null;
  }[];
}

async function trunkStatus(): Promise<Status['databases'][number] | undefined> {
  return (await workplace.json<Status>(['status'])).databases[0];
}

async function session(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  // Ended with its server, if the test fails before it ends it.
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

beforeAll(async () => {
  shadow = await startPostgres();
  const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
  traffic = await ShopTraffic.open(production.url);
  await traffic.serve(60);
  const config = await postgresConnector(production.url, PREFIX, { 'snapshot.mode': 'no_data' });
  await connect.createConnector(PREFIX, config);
  await traffic.serve(20);
  workplace = await Workplace.make({
    ...followed(PREFIX, { kafka, connect, production, shadow }),
    trunk: { name: 'shop', bootstrap: 'production', bootstrapJobs: 2 },
  });
});

afterAll(async () => {
  await traffic.stop();
  await workplace[Symbol.asyncDispose]();
  await (await sharedConnect()).deleteConnector(PREFIX);
  await shadow.stop();
});

const refused = async (): Promise<void> => {
  const create = await workplace.run(['rollout', 'create', 'early']);
  expect([create.status, create.stderr]).toEqual([4, expect.stringContaining('BOOTSTRAPPING')]);
};

it('is copied under traffic, goes on after SIGKILL, and equals production', async () => {
  traffic.start(3);
  const open = await session(production.url);
  await open.query('BEGIN; SELECT pg_current_xact_id()');
  const killed = workplace.start(['run']);
  const poll = { timeout: 180_000, interval: 1_000 };
  await expect
    .poll(async () => (await trunkStatus())?.state, poll)
    .toBe('bootstrapping: waiting-for-transactions');
  await refused();
  // The copy will come as far as this table, and not beyond.
  const trunk = await session(databaseUrl(shadow.url, 'shop'));
  await trunk.query('BEGIN; LOCK TABLE inventory IN SHARE MODE');
  await open.query('COMMIT');
  await open.end();
  await expect
    .poll(async () => (await trunkStatus())?.bootstrap?.tablesDone, poll)
    .toBeGreaterThan(0);
  killed.kill('SIGKILL');
  await killed.ended;
  await trunk.end();
  expect(await trunkStatus()).toMatchObject({
    state: 'stopped bootstrapping',
    holder: null,
    bootstrap: { phase: 'copying' },
  });
  await refused();
  const run = workplace.start(['run']);
  await expect.poll(async () => (await trunkStatus())?.bootstrap, poll).toBeNull();
  // Under traffic still.
  const check = await workplace.json<{ verdict: string; reasons: unknown[] }>(['drift', 'check']);
  expect(check).toMatchObject({ verdict: 'equal', reasons: [] });
  await traffic.stop();
  await traffic.settle(await sharedConnect(), PREFIX);
  await workplace.json(['materialize', '--until-caught-up']);
  expect(await canonicalState(databaseUrl(shadow.url, 'shop'))).toEqual(
    await canonicalState(production.url),
  );
  expect(run.stderr).toContain('the copy is complete');
  await workplace.json(['rollout', 'create', 'later']);
  run.kill('SIGTERM');
  expect(await run.ended).toMatchObject({ status: 0 });
}, 900_000);
