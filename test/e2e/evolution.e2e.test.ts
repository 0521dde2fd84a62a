/** Production's tables change while they are followed: by a real connector, into a real shadow. */
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { postgresConnector } from '../support/connectors.ts';
import { databaseUrl, startPostgres, type PostgresServer } from '../support/postgres.ts';
import { readTopics } from '../support/read-topics.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { testDatabase } from '../support/test-database.ts';
import { Workplace } from '../support/understudy.ts';
import { sleep } from '../../src/util/wait.ts';

const PREFIX = `evolution${process.pid}`;
const MATERIALIZE = ['materialize', '--until-caught-up'];
const production = await testDatabase('evolution');
let shadow: PostgresServer;
let workplace: Workplace;

async function query(url: string, sql: string): Promise<readonly unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

async function configure(trunk: string, add: 'apply' | 'fail'): Promise<void> {
  await workplace.configure({
    source: {
      connector: 'postgresql',
      topicPrefix: PREFIX,
      kafka: { brokers: [(await sharedKafka()).broker] },
      connect: { url: (await sharedConnect()).url, name: PREFIX },
    },
    production: { url: production.url },
    shadow: { url: shadow.url },
    trunk: { name: trunk },
    evolution: { add },
  });
}

async function captured(count: number): Promise<void> {
  const kafka = (await sharedKafka()).client();
  await readTopics(kafka, [`${PREFIX}.public.milk`], (records) => records.length >= count);
}

const milk = (url: string): Promise<readonly unknown[]> => query(url, 'TABLE milk ORDER BY id');

/** Resolves with the trunk's rows when they are production's, else with what differs after 20 s. */
async function settled(trunk: string, act: () => Promise<unknown>): Promise<readonly unknown[]> {
  const expected = JSON.stringify(await milk(production.url));
  const deadline = Date.now() + 20_000;
  for (;;) {
    // The end of a transaction may come a moment late.
    await act();
    const rows = await milk(databaseUrl(shadow.url, trunk));
    if (JSON.stringify(rows) === expected || Date.now() > deadline) return rows;
    await sleep(100);
  }
}

beforeAll(async () => {
  shadow = await startPostgres();
  await query(
    production.url,
    `CREATE TABLE milk (id integer PRIMARY KEY, note text NOT NULL);
     INSERT INTO milk SELECT n, 'n' FROM generate_series(1, 4) n`,
  );
  const connect = await sharedConnect();
  await connect.createConnector(PREFIX, await postgresConnector(production.url, PREFIX));
  await captured(4);
  workplace = await Workplace.make({});
  for (const trunk of ['evolves', 'runs', 'fails']) {
    await configure(trunk, 'apply');
    await workplace.json(MATERIALIZE);
  }
  await query(production.url, `ALTER TABLE milk ADD COLUMN fat numeric(3,1) NOT NULL DEFAULT 3.5`);
  await query(production.url, `INSERT INTO milk VALUES (5, 'five', 1.5)`);
  await query(production.url, `ALTER TABLE milk ADD COLUMN brand text, ADD COLUMN cold boolean`);
  await query(production.url, `UPDATE milk SET brand = 'b', cold = true WHERE id IN (2, 5)`);
  await query(production.url, `DELETE FROM milk WHERE id = 3`);
  await captured(8);
});

afterAll(async () => {
  await workplace[Symbol.asyncDispose]();
  await (await sharedConnect()).deleteConnector(PREFIX);
  await shadow.stop();
});

it('adds the columns that records have and the trunk lacks, in all rows', async () => {
  await configure('evolves', 'apply');
  const rows = await settled('evolves', () => workplace.json(MATERIALIZE));
  expect(rows).toEqual(await milk(production.url));
});

it('adds them while it runs', async () => {
  await configure('runs', 'apply');
  const run = workplace.start(['run']);
  const rows = await settled('runs', () => Promise.resolve());
  expect(rows).toEqual(await milk(production.url));
  run.kill('SIGTERM');
  expect((await run.ended).status).toBe(0);
  expect(run.stderr.match(/added a column that production has/g)).toHaveLength(3);
});

it('stops before the record where columns are not to be added', async () => {
  await configure('fails', 'fail');
  const result = await workplace.run([...MATERIALIZE, '--json']);
  expect(result.status).toBe(6);
  expect(JSON.parse(result.stdout)).toMatchObject({
    error: { code: 'COLUMN_UNKNOWN', table: 'public.milk', column: 'fat' },
  });
  const rows = await milk(databaseUrl(shadow.url, 'fails'));
  expect(rows).toEqual([1, 2, 3, 4].map((id) => ({ id, note: 'n' })));
});
