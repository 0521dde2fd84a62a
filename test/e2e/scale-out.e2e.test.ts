/**
 * Two processes that share one trunk's partitions, on real parts: joins, deaths, a process that is
 * stopped and wakes up, keys that are swapped between partitions, truncates. In the end the trunk is
 * production's image, and every record was written once. Each test starts where the one before ended.
 */
import type pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { canonicalState } from '../support/canonical-state.ts';
import { postgresConnector } from '../support/connectors.ts';
import { databaseUrl, startPostgres, type PostgresServer } from '../support/postgres.ts';
import { settleConnector } from '../support/settle.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { connectTo, testDatabase } from '../support/test-database.ts';
import { ScaleOut } from '../support/scale-out.ts';
import { followed, Workplace } from '../support/understudy.ts';
import { Way } from '../support/way.ts';

const PREFIX = `scale${process.pid}`;
const TOPIC = `${PREFIX}.public.item`;
const PARTITIONS = 4;
const production = await testDatabase('production');
const cleanUp = new AsyncDisposableStack();
afterAll(() => cleanUp.disposeAsync());

type Row = Record<string, string | number | bigint>;

let client: pg.Client;
let shadow: PostgresServer;
let scale: ScaleOut;
/** A configuration like the first one's, with changes. */
let like: (changes: { readonly broker?: string; readonly tables?: object }) => object;
/** Where a broker is reached by who can be cut off from it. */
let way: Way;

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
  const settle = (): Promise<void> => settleConnector(production.url, connect, PREFIX);
  await settle();
  const admin = kafka.client().admin();
  await admin.connect();
  cleanUp.defer(() => admin.disconnect());
  const ends = async (): Promise<bigint> => {
    const offsets = await admin.fetchTopicOffsets(TOPIC);
    return offsets.reduce((sum, { offset }) => sum + BigInt(offset), 0n);
  };
  like = ({ broker = kafka.broker, tables = {} }) => ({
    ...followed(PREFIX, { kafka: { broker }, connect, production, shadow }),
    ...{ consistency: 'key', apply: { leaseSeconds: 2 }, tables },
  });
  const trunk = databaseUrl(shadow.url, 'shop');
  const ask = async (sql: string): Promise<readonly Row[]> => {
    const look = await connectTo(trunk);
    try {
      return (await look.query<Row>(sql)).rows;
    } finally {
      await look.end();
    }
  };
  scale = new ScaleOut({
    ...{ workplace: cleanUp.use(await Workplace.make(like({}))), ask, ours: 'understudy.' },
    ...{ settle, ends, topics: [TOPIC] },
    rows: (of) => canonicalState(of === 'trunk' ? trunk : production.url),
  });
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

it('shares the partitions with whoever joins, and takes over what a killed one had', async () => {
  await scale.livesThrough(churn);
  const [member] = (await scale.status()).members;
  expect(member?.partitions.length).toBeGreaterThanOrEqual(1);
  expect(member?.partitions.every((key) => key.startsWith(PREFIX))).toBe(true);
}, 150_000);

it('a member that is stopped loses its share, and woken up it repeats nothing', async () => {
  const member = await scale.outwaits(churn);
  expect(member.process.exitCode).toBeNull();
}, 100_000);

it('swaps keys between partitions, with the values that the events do not repeat', async () => {
  await client.query(`DELETE FROM item WHERE id BETWEEN 1 AND 8`);
  await insert(1, 8);
  await scale.equal();
  await scale.shared();
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
  await scale.equal();
  expect(scale.runs.some(({ stderr }) => stderr.includes('"why":"key-change"'))).toBe(true);
}, 100_000);

it('empties a table between what was before and after it in all partitions', async () => {
  await scale.shared();
  for (let round = 0; round < 2; round += 1) {
    await churn();
    await client.query('TRUNCATE item');
    scale.truncates += 1;
    await insert(1, 300);
    await churn();
  }
  await scale.equalBehindTruncates();
  expect(scale.runs.some(({ stderr }) => stderr.includes('"why":"truncate"'))).toBe(true);
  expect(await scale.status()).toMatchObject({ parked: 0, unknown: 0, deadLetters: 0 });
}, 100_000);

it('gives nothing to who would read other tables', async () => {
  for (const member of await scale.members()) await member.die();
  const other = cleanUp.use(
    await Workplace.make(like({ tables: { exclude: ['public.elsewhere'] } })),
  );
  const run = await scale.start(other);
  await scale.until('it is told apart', async () =>
    (await scale.status()).members.some(({ state }) => state === 'other settings'),
  );
  expect(await scale.sharedTopics()).toEqual([]);
  await churn();
  await scale.equal();
  await run.die();
}, 100_000);

it('takes back what somebody has who lost Kafka, and shares again when it is back', async () => {
  await way.open();
  const cut = cleanUp.use(await Workplace.make(like({ broker: `127.0.0.1:${way.port}` })));
  const run = await scale.start(cut);
  await scale.shared();
  await churn();
  await scale.equal();
  await way.cut();
  await churn();
  await scale.equal();
  expect(run.stderr).toContain('the log is away: a part is given back');
  await way.open();
  await scale.shared();
  await churn();
  await scale.equal();
}, 150_000);
