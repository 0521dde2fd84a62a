/**
 * Repairs by the command line on real parts, beside a `run` that follows while production is
 * written, and with nobody running. Each test starts where the one before ended.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { canonicalState, productionView } from '../support/canonical-state.ts';
import { postgresConnector } from '../support/connectors.ts';
import { databaseUrl, startPostgres, type PostgresServer } from '../support/postgres.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { ShopTraffic } from '../support/shop-traffic.ts';
import { connectTo, testDatabase } from '../support/test-database.ts';
import { Workplace, type RunningCli } from '../support/understudy.ts';

const PREFIX = `repair${process.pid}`;
const production = await testDatabase('production');

interface Summary {
  readonly table: string;
  readonly databases: readonly {
    readonly name: string;
    readonly kind: string;
    readonly keys: number | null;
    readonly rows: number;
    readonly inserted: number;
    readonly overwritten: number;
    readonly deleted: number;
    readonly confirmed: number;
    readonly position: string;
  }[];
}

let shadow: PostgresServer;
let workplace: Workplace;
let traffic: ShopTraffic;
let run: RunningCli;
let source: object;

const trunk = (): string => databaseUrl(shadow.url, 'shop');
const rollout = (): string => databaseUrl(shadow.url, 'shop_next');

async function query(url: string, ...statements: readonly string[]): Promise<void> {
  const client = await connectTo(url);
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

/** Unseen by the candidate's capture and by foreign keys. */
const damage = (url: string, ...statements: readonly string[]): Promise<void> =>
  query(url, 'SET session_replication_role = replica', ...statements);

const configure = (over: object = {}): Promise<void> =>
  workplace.configure({
    source,
    production: { url: production.url },
    shadow: { url: shadow.url },
    trunk: { name: 'shop' },
    ...over,
  });

async function error(args: readonly string[], status: number): Promise<unknown> {
  return (await workplace.json<{ error: unknown }>(args, status)).error;
}

async function expectEqual(): Promise<void> {
  await traffic.settle(await sharedConnect(), PREFIX);
  const truth = await canonicalState(production.url);
  const equal = { timeout: 60_000, interval: 500 };
  await expect.poll(() => canonicalState(trunk()), equal).toEqual(truth);
  await expect
    .poll(() => canonicalState(rollout(), { relation: productionView }), equal)
    .toEqual(truth);
}

beforeAll(async () => {
  shadow = await startPostgres();
  const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
  traffic = await ShopTraffic.open(production.url);
  await query(production.url, 'CREATE TABLE notes (id int PRIMARY KEY, body text, secret text)');
  await connect.createConnector(PREFIX, {
    ...(await postgresConnector(production.url, PREFIX)),
    'column.exclude.list': 'public.notes.secret',
  });
  // Coupons that nobody else uses: what is done to them, no event puts right.
  await query(
    production.url,
    `INSERT INTO coupons VALUES ('half off', 50), ('-5', 5), ('ours', 10), ('theirs', 20)`,
  );
  await traffic.serve(60);
  await traffic.settle(connect, PREFIX);
  source = {
    topicPrefix: PREFIX,
    kafka: { brokers: [kafka.broker] },
    connect: { url: connect.url, name: PREFIX },
  };
  workplace = await Workplace.make({});
  await configure();
  await workplace.json(['materialize', '--until-caught-up']);
  await workplace.json(['rollout', 'create', 'next']);
});

afterAll(async () => {
  await traffic.stop();
  await workplace[Symbol.asyncDispose]();
  await (await sharedConnect()).deleteConnector(PREFIX);
  await shadow.stop();
});

it('repairs a table in trunk and rollout beside a run, while production and candidate write', async () => {
  const { url } = await workplace.json<{ url: string }>(['rollout', 'get', 'next']);
  await query(url, `UPDATE coupons SET percent = 77 WHERE code = 'ours'`);
  run = workplace.start(['run']);
  const states = async (): Promise<readonly string[]> =>
    (await workplace.json<{ databases: readonly { state: string }[] }>(['status'])).databases.map(
      ({ state }) => state,
    );
  await expect.poll(states, { timeout: 60_000 }).toEqual(['following', 'following']);
  const writers = traffic.start(3);
  for (const database of [trunk(), rollout()]) {
    await damage(
      database,
      `DELETE FROM inventory WHERE sku IN (SELECT sku FROM inventory ORDER BY sku LIMIT 7)`,
      `UPDATE inventory SET location = 'nowhere'
         WHERE sku IN (SELECT sku FROM inventory ORDER BY sku DESC LIMIT 5)`,
      `INSERT INTO inventory VALUES ('no such thing', 1, 0, 'x')`,
      `UPDATE coupons SET percent = 1 WHERE code <> 'ours'`,
    );
  }
  const summary = await workplace.json<Summary>(['repair', 'public.inventory']);
  expect(summary.table).toBe('public.inventory');
  expect(summary.databases.map(({ name, kind }) => [name, kind])).toEqual([
    ['shop', 'trunk'],
    ['next', 'rollout'],
  ]);
  for (const one of summary.databases) {
    // What production wrote meanwhile may have put some of it right.
    expect(one.inserted + one.overwritten).toBeGreaterThan(0);
    expect(one.deleted).toBe(1);
    expect(one.position).toMatch(/^\d+$/);
  }
  const { stdout, status } = await workplace.run(['repair', 'public.coupons']);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^shop: \d+ rows compared, \d+ overwritten, in .*\nnext: .*overwritten/);
  await writers.stop();
  await expectEqual();
  const client = await connectTo(rollout());
  const { rows } = await client.query(`SELECT percent FROM coupons WHERE code = 'ours'`);
  await client.end();
  expect(rows).toEqual([{ percent: 77 }]);
  expect(await workplace.json(['drift', 'check', 'next'])).toMatchObject({ verdict: 'equal' });
});

it('repairs the rows that are named when nobody runs', async () => {
  run.kill('SIGTERM');
  expect(await run.ended).toMatchObject({ status: 0 });
  await damage(trunk(), 'UPDATE coupons SET percent = 2');
  await damage(rollout(), `DELETE FROM coupons WHERE code = '-5'`);
  await traffic.serve(5);
  const args = ['repair', 'public.coupons', '--key', 'half off', 'none', '--key=-5'];
  const summary = await workplace.json<Summary>(args);
  expect(summary.databases).toMatchObject([
    { name: 'shop', keys: 3, rows: 2, inserted: 0, overwritten: 2, deleted: 0 },
    { name: 'next', keys: 3, rows: 2, inserted: 1, overwritten: 0, deleted: 0 },
  ]);
  const [one] = (await workplace.json<Summary>(['repair', 'public.coupons', '--rollout', 'next']))
    .databases;
  expect(one).toMatchObject({ kind: 'rollout', overwritten: 0 });
  expect(await workplace.json(['drift', 'check'], 1)).toMatchObject({ verdict: 'drift' });
  await query(production.url, `INSERT INTO notes VALUES (1, 'body', 'secret')`);
  await workplace.json(['materialize', '--until-caught-up']);
  await damage(trunk(), 'UPDATE notes SET body = NULL');
  expect(await workplace.json(['repair', 'public.notes', '--rollout', 'next'])).toMatchObject({
    databases: [{ name: 'next', overwritten: 0, leftOut: ['secret'] }],
  });
  expect(await workplace.run(['repair', 'public.notes'])).toMatchObject({
    stdout: expect.stringMatching(
      /^shop: 1 row compared, 1 overwritten, in .*; not sent, so left as they are: secret\.\n/,
    ) as string,
  });
  await query(production.url, 'UPDATE notes SET secret = NULL');
  const told = await workplace.run([
    'repair',
    'public.coupons',
    '--key',
    'theirs',
    '--key',
    'none',
  ]);
  expect(told).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(
      /^shop: 1 of 2 rows found in production, 1 overwritten, in .*\nnext: 1 of 2 rows found in production, nothing to repair, in /,
    ) as string,
  });
  await workplace.json<Summary>(['repair', 'public.coupons']);
  await workplace.json(['materialize', '--until-caught-up']);
  await expectEqual();
});

it('says what is wrong with the words, and touches nothing', async () => {
  expect(await error(['repair', 'coupons'], 3)).toMatchObject({ code: 'USAGE' });
  expect(await error(['repair', 'public.nope'], 3)).toMatchObject({ code: 'TABLE_NOT_FOLLOWED' });
  expect(await error(['repair', 'public.customers', '--key', 'x'], 3)).toMatchObject({
    code: 'KEY_MALFORMED',
    detail: 'expected for each row --key <id integer>',
  });
  expect(await error(['repair', 'public.coupons', '--rollout', 'no'], 3)).toMatchObject({
    code: 'ROLLOUT_NOT_FOUND',
  });
  await configure({ tables: { exclude: ['public.coupons'] } });
  expect(await error(['repair', 'public.coupons'], 3)).toMatchObject({
    code: 'TABLE_NOT_FOLLOWED',
  });
  await configure({ production: undefined });
  expect(await error(['repair', 'public.coupons'], 3)).toMatchObject({ code: 'CONFIG_INVALID' });
});
