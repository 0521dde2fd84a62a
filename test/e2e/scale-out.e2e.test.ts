/**
 * Two processes that share one trunk's partitions, on real parts: joins, deaths, a process that is
 * stopped and wakes up, keys that are swapped between partitions, truncates. In the end the trunk is
 * production's image, and every record was written once. Each test starts where the one before ended.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { canonicalState } from '../support/canonical-state.ts';
import { postgresConnector } from '../support/connectors.ts';
import { databaseUrl, startPostgres, type PostgresServer } from '../support/postgres.ts';
import { settleConnector } from '../support/settle.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { connectTo, testDatabase } from '../support/test-database.ts';
import { followed, Workplace, type RunningCli } from '../support/understudy.ts';
import { Way } from '../support/way.ts';

const PREFIX = `scale${process.pid}`;
const TOPIC = `${PREFIX}.public.item`;
const PARTITIONS = 4;
const production = await testDatabase('production');
const cleanUp = new AsyncDisposableStack();
afterAll(() => cleanUp.disposeAsync());

interface Status {
  readonly databases: readonly {
    readonly holder: string | null;
    readonly parked: number;
    readonly unknown: number;
    readonly deadLetters: number;
    readonly alone: string | null;
    readonly members: readonly { readonly state: string; readonly partitions: readonly string[] }[];
  }[];
}

let client: pg.Client;
let shadow: PostgresServer;
let workplace: Workplace;
let settle: () => Promise<void>;
let ends: () => Promise<bigint>;
let truncates = 0;
/** A configuration like the first one's, with changes. */
let like: (changes: { readonly broker?: string; readonly tables?: object }) => object;
/** Where a broker is reached by who can be cut off from it. */
let way: Way;
const runs: RunningCli[] = [];

beforeAll(async () => {
  shadow = cleanUp.adopt(await startPostgres(), (server) => server.stop());
  const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
  client = cleanUp.adopt(await connectTo(production.url), (open) => open.end());
  await client.query(`
    CREATE TABLE item (id int PRIMARY KEY, n int, note text);
    ALTER TABLE item ALTER note SET STORAGE EXTERNAL`);
  const config = await postgresConnector(production.url, PREFIX, {
    'topic.creation.default.partitions': String(PARTITIONS),
    'provide.transaction.metadata': 'false',
    'tombstones.on.delete': 'false',
  });
  await connect.createConnector(PREFIX, config);
  cleanUp.defer(() => connect.deleteConnector(PREFIX));
  settle = () => settleConnector(production.url, connect, PREFIX);
  await settle();
  const admin = kafka.client().admin();
  await admin.connect();
  cleanUp.defer(() => admin.disconnect());
  ends = async () =>
    (await admin.fetchTopicOffsets(TOPIC)).reduce((sum, { offset }) => sum + BigInt(offset), 0n);
  like = ({ broker = kafka.broker, tables = {} }) => ({
    ...followed(PREFIX, { kafka: { broker }, connect, production, shadow }),
    ...{ consistency: 'key', apply: { leaseSeconds: 2 }, tables },
  });
  workplace = cleanUp.use(await Workplace.make(like({})));
  if (kafka.aside === null) throw new Error('the shared Kafka has one address only');
  way = new Way(kafka.aside.port, kafka.aside.target);
  cleanUp.defer(() => way.cut());
  await insert(1, 400);
  await settle();
}, 240_000);

/** Rows with a large value, which later changes of the row do not repeat. */
async function insert(first: number, last: number): Promise<void> {
  await client.query(`INSERT INTO item
    SELECT i, 0, i || repeat(md5(i::text), 100) FROM generate_series(${first}, ${last}) i`);
}

async function churn(): Promise<void> {
  await client.query('UPDATE item SET n = n + 1 WHERE id % 3 = 0');
  await client.query('DELETE FROM item WHERE id % 17 = 0');
  await client.query(`UPDATE item SET n = n + 10 WHERE id % 5 = 1`);
}

async function start(place = workplace): Promise<RunningCli> {
  const run = place.start(['run', '--only', 'trunk']);
  runs.push(run);
  await until('it begins', () => /"msg":"(following|standing-by)"/.test(run.stderr));
  return run;
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 40_000;
  while (!(await holds())) {
    if (Date.now() > deadline) {
      const said = runs.map(({ stderr }) => stderr.slice(-3_000)).join('\n----\n');
      throw new Error(`not within 40 s: ${what}\n${said}`);
    }
    await sleep(100);
  }
}

/** What is asked often, without a process of its own. */
async function ask(sql: string): Promise<readonly Record<string, string>[]> {
  const look = await connectTo(databaseUrl(shadow.url, 'shop'));
  try {
    return (await look.query<Record<string, string>>(sql)).rows;
  } finally {
    await look.end();
  }
}

async function status(): Promise<Status['databases'][number]> {
  const { databases } = await workplace.json<Status>(['status']);
  const [trunk] = databases;
  if (trunk === undefined) throw new Error('there is no trunk');
  return trunk;
}

/** The processes that run and do not hold the trunk. */
async function members(): Promise<readonly RunningCli[]> {
  const { holder } = await status();
  const alive = runs.filter(
    ({ process: { exitCode, signalCode } }) => (exitCode ?? signalCode) === null,
  );
  return alive.filter(({ process: { pid } }) => !holder?.includes(`/${String(pid)}/`));
}

/** One member has something, and no other is thought there. */
const shared = (): Promise<void> =>
  until('one member shares it', async () => {
    const members = await ask('SELECT number FROM understudy.member');
    const shares = await ask('SELECT DISTINCT member FROM understudy.share');
    return members.length === 1 && shares[0]?.['member'] === members[0]?.['number'];
  });

/** What the shadow and what production holds, once all is applied; and how often records were written. */
async function states(): Promise<{ shadow: unknown; production: unknown; again: bigint }> {
  await settle();
  const end = await ends();
  const applied = `SELECT sum(next_offset) AS n FROM understudy.position WHERE topic = '${TOPIC}'`;
  await until('all is applied', async () => BigInt((await ask(applied))[0]?.['n'] ?? 0) === end);
  // Counted in the transactions that wrote them; a truncate is not.
  const written = await ask('SELECT unmarked AS n FROM understudy.progress');
  return {
    shadow: await canonicalState(databaseUrl(shadow.url, 'shop')),
    production: await canonicalState(production.url),
    again: BigInt(written[0]?.['n'] ?? 0) + BigInt(truncates) - end,
  };
}

async function equal(): Promise<void> {
  const found = await states();
  expect(found.shadow).toEqual(found.production);
  expect(found.again).toBe(0n);
}

it('shares the partitions with whoever joins, and takes over what a killed one had', async () => {
  const first = await start();
  const second = await start();
  await shared();
  const [member] = (await status()).members;
  expect(member?.partitions.length).toBeGreaterThanOrEqual(1);
  expect(member?.partitions.every((key) => key.startsWith(PREFIX))).toBe(true);
  await churn();
  await equal();
  await insert(401, 500);
  await second.die();
  await churn();
  await equal();
  // The holder dies: the member takes the whole, and shares with the next.
  await start();
  await shared();
  await churn();
  await first.die();
  await churn();
  await equal();
  await start();
  await shared();
}, 150_000);

it('a member that is stopped loses its share, and woken up it repeats nothing', async () => {
  const [member] = await members();
  if (member === undefined) throw new Error('there is no member');
  await churn();
  member.kill('SIGSTOP');
  await churn();
  await equal();
  member.kill('SIGCONT');
  await churn();
  await shared();
  await equal();
  expect(member.process.exitCode).toBeNull();
}, 100_000);

it('swaps keys between partitions, with the values that the events do not repeat', async () => {
  await client.query(`DELETE FROM item WHERE id BETWEEN 1 AND 8`);
  await insert(1, 8);
  await equal();
  await shared();
  for (const [a, b] of [
    [1, 2],
    [3, 4],
    [5, 6],
    [7, 8],
    [2, 7],
  ]) {
    await client.query(`BEGIN;
      UPDATE item SET id = -1 WHERE id = ${a}; UPDATE item SET id = ${a} WHERE id = ${b};
      UPDATE item SET id = ${b} WHERE id = -1; COMMIT`);
  }
  await churn();
  await equal();
  expect(runs.some(({ stderr }) => stderr.includes('"why":"key-change"'))).toBe(true);
}, 100_000);

it('empties a table between what was before and after it in all partitions', async () => {
  await shared();
  for (let round = 0; round < 2; round += 1) {
    await churn();
    await client.query('TRUNCATE item');
    truncates += 1;
    await insert(1, 300);
    await churn();
  }
  const found = await states();
  expect(found.shadow).toEqual(found.production);
  // Rows of before a truncate that reached their partition after it are passed over.
  expect(found.again).toBeLessThanOrEqual(0n);
  expect(runs.some(({ stderr }) => stderr.includes('"why":"truncate"'))).toBe(true);
  expect(await status()).toMatchObject({ parked: 0, unknown: 0, deadLetters: 0 });
}, 100_000);

it('gives nothing to who would read other tables', async () => {
  for (const member of await members()) await member.die();
  const other = cleanUp.use(
    await Workplace.make(like({ tables: { exclude: ['public.elsewhere'] } })),
  );
  const run = await start(other);
  await until('it is told apart', async () =>
    (await status()).members.some(({ state }) => state === 'other settings'),
  );
  expect(await ask('SELECT * FROM understudy.share')).toEqual([]);
  await churn();
  await equal();
  await run.die();
}, 100_000);

it('takes back what somebody has who lost Kafka, and shares again when it is back', async () => {
  await way.open();
  const cut = cleanUp.use(await Workplace.make(like({ broker: `127.0.0.1:${way.port}` })));
  const run = await start(cut);
  await shared();
  await churn();
  await equal();
  await way.cut();
  await churn();
  await equal();
  expect(run.stderr).toContain('the log is away: a part is given back');
  await way.open();
  await shared();
  await churn();
  await equal();
}, 150_000);
