/** Tables that wait for a person, since production changed them: on a recording and real servers. */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type pg from 'pg';
import { connect } from '../support/comparison.ts';
import { databaseUrl, startPostgres, type PostgresServer } from '../support/postgres.ts';
import { testDatabase } from '../support/test-database.ts';
import { Workplace } from '../support/understudy.ts';

const SHOP = fileURLToPath(new URL('../../src/demo/', import.meta.url));
const MATERIALIZE = ['materialize', '--until-caught-up'];

interface Status {
  readonly databases: readonly {
    readonly held: readonly {
      readonly table: string;
      readonly why: string;
      readonly queued: number;
    }[];
    readonly deadLetters: number;
  }[];
}

const production = await testDatabase('held');
let server: PostgresServer;
let workplace: Workplace;
let trunk = '';
let number = 0;

/** What the recording makes of tables that need no change. */
let expected: ReadonlyMap<string, string>;

const TABLES = ['customers', 'orders'] as const;

async function rows(): Promise<ReadonlyMap<string, string>> {
  const client = await connect(databaseUrl(server.url, trunk));
  try {
    const found = new Map<string, string>();
    for (const table of TABLES) {
      const { rows: list } = await client.query(`SELECT * FROM ${table} ORDER BY id`);
      found.set(table, JSON.stringify(list));
    }
    return found;
  } finally {
    await client.end();
  }
}

/** A trunk whose customers are as before `ddl` was undone in production. */
async function before(ddl: string, evolution: Record<string, string> = {}): Promise<void> {
  number += 1;
  trunk = `shop${number}`;
  const schema = path.join(workplace.directory, `schema${number}.sql`);
  const text = await readFile(path.join(SHOP, 'shop/schema.sql'), 'utf8');
  await writeFile(schema, `${text}\n${ddl}\n`);
  await workplace.configure({
    source: { topicPrefix: 'shop', recording: path.join(SHOP, 'assets/shop.recording') },
    production: { url: production.url },
    shadow: { url: server.url },
    trunk: { name: trunk, schema },
    evolution,
  });
}

async function held(): Promise<Status['databases'][0]['held']> {
  return (await workplace.json<Status>(['status'])).databases[0]?.held ?? [];
}

interface Finding {
  readonly id: string;
  readonly message: string;
  readonly cure: string;
}

/** What `doctor` says of tables that a person has to decide on. */
async function findings(): Promise<readonly Finding[]> {
  const report = await workplace.json<{ findings: readonly Finding[] }>(['doctor'], 1);
  return report.findings.filter(({ id }) => id.startsWith('shadow.table-'));
}

let there: pg.Client;

beforeAll(async () => {
  server = await startPostgres();
  workplace = await Workplace.make({});
  there = await connect(production.url);
  await there.query(await readFile(path.join(SHOP, 'shop/schema.sql'), 'utf8'));
  await before('');
  await workplace.json(MATERIALIZE);
  expected = await rows();
}, 120_000);

afterAll(async () => {
  await there.end();
  await workplace[Symbol.asyncDispose]();
  await server.stop();
});

test('a dropped column lets its table wait, and all others go on, until it is accepted', async () => {
  await before('ALTER TABLE customers ADD COLUMN legacy text');
  expect(await workplace.json(MATERIALIZE, 2)).toMatchObject({ deadLetters: 1 });
  const [waiting] = await held();
  expect(waiting).toMatchObject({ table: 'public.customers' });
  expect(waiting?.why).toContain('column legacy dropped');
  expect((await rows()).get('orders')).toEqual(expected.get('orders'));
  expect((await rows()).get('customers')).toBe('[]');
  expect(expected.get('customers')).not.toBe('[]');
  const text = await workplace.run(['status']);
  expect(text.stdout).toMatch(/public\.customers waits for .*schema accept/);
  expect(await workplace.json(['schema', 'accept', 'public.customers'])).toMatchObject({
    ...{ table: 'public.customers', changes: ['column legacy dropped'], left: [] },
  });
  expect(await rows()).toEqual(expected);
  expect(await held()).toEqual([]);
  expect(await workplace.json(MATERIALIZE)).toMatchObject({ deadLetters: 0 });
}, 120_000);

test('a renamed column keeps what rows hold, when it is accepted', async () => {
  await before('ALTER TABLE customers RENAME email TO mail');
  await workplace.json(MATERIALIZE, 2);
  expect((await held())[0]?.why).toContain('column mail renamed to email');
  await workplace.json(['schema', 'accept', 'public.customers']);
  expect(await rows()).toEqual(expected);
}, 120_000);

test('what is to be applied is, and what is to fail stops', async () => {
  await before('ALTER TABLE customers ADD COLUMN legacy text', { drop: 'apply' });
  await workplace.json(MATERIALIZE);
  expect(await rows()).toEqual(expected);
  await before('ALTER TABLE customers ADD COLUMN legacy text', { drop: 'fail' });
  expect(await workplace.json(MATERIALIZE, 6)).toMatchObject({
    error: {
      ...{ code: 'SCHEMA_CHANGED', table: 'public.customers', column: 'legacy' },
      detail: 'in production: column legacy dropped',
    },
  });
}, 120_000);

test('a column that production has, and records lack, is no change', async () => {
  await before('ALTER TABLE customers ADD COLUMN secret text');
  await there.query('ALTER TABLE customers ADD COLUMN secret text');
  await workplace.json(MATERIALIZE);
  expect(await held()).toEqual([]);
  await there.query('ALTER TABLE customers DROP COLUMN secret');
}, 120_000);

test('a column at the end may be another one, which a person must say', async () => {
  const last = (
    await there.query<{ name: string; type: string }>(
      `SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute
       WHERE attrelid = 'customers'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum DESC LIMIT 1`,
    )
  ).rows[0];
  await before(`ALTER TABLE customers RENAME ${last?.name} TO other`, { rename: 'apply' });
  await workplace.json(MATERIALIZE, 2);
  expect(await held()).toHaveLength(1);
  expect(await workplace.json(['schema', 'accept', 'public.customers'], 6)).toMatchObject({
    error: { code: 'SCHEMA_CHANGED' },
  });
  const client = await connect(databaseUrl(server.url, trunk));
  await client.query(`ALTER TABLE customers RENAME other TO ${last?.name}`);
  await client.end();
  await workplace.json(['dead-letters', 'replay']);
  expect(await rows()).toEqual(expected);
}, 120_000);

test('a table that production dropped is kept, dropped, or stops, as configured', async () => {
  await before('');
  await workplace.json(MATERIALIZE);
  await there.query('DROP TABLE search_cache');
  const kept = await workplace.run([...MATERIALIZE, '--json']);
  expect(kept.stderr).toMatch(/public\.search_cache.*production has a table no more/);
  expect(await rows()).toEqual(expected);
  const { databases } = await workplace.json<Status>(['status']);
  expect(databases[0]).toMatchObject({ held: [], kept: [{ table: 'public.search_cache' }] });
  expect((await workplace.run(['status'])).stdout).toMatch(
    /public\.search_cache is kept, though production dropped it, .*schema accept/,
  );
  expect(await findings()).toMatchObject([
    {
      id: 'shadow.table-kept',
      cure: expect.stringMatching(/schema accept public.search_cache/) as string,
    },
  ]);
  expect(await workplace.json(['schema', 'accept', 'public.search_cache'])).toMatchObject({
    changes: ['table dropped'],
  });
  expect((await workplace.run([...MATERIALIZE, '--json'])).stderr).not.toMatch(/no more/);
  await before('', { droppedTable: 'fail' });
  // Its records are of before: they are read first.
  await workplace.json(MATERIALIZE);
  expect(await workplace.json(MATERIALIZE, 6)).toMatchObject({
    error: { code: 'SCHEMA_CHANGED', table: 'public.search_cache' },
  });
}, 120_000);

test('a table that production made again while it was kept waits, whoever follows by then', async () => {
  const cache = `CREATE TABLE search_cache (term text PRIMARY KEY, skus text[] NOT NULL,
    cached_at timestamptz NOT NULL)`;
  await before('', { droppedTable: 'hold' });
  await there.query(`DROP TABLE IF EXISTS search_cache; ${cache}`);
  await workplace.json(MATERIALIZE);
  await there.query('DROP TABLE search_cache');
  await workplace.json(MATERIALIZE);
  await there.query(cache);
  // Another process, and no record of it has come: the log ended before.
  expect(await workplace.json(MATERIALIZE, 2)).toMatchObject({ held: ['public.search_cache'] });
  const waiting = { table: 'public.search_cache', queued: 0 };
  expect(await held()).toMatchObject([waiting]);
  expect((await held())[0]?.why).toMatch(
    /table dropped or renamed, and made again: see `schema accept`/,
  );
  expect((await workplace.run(['status'])).stdout).toMatch(/public\.search_cache waits for /);
  expect(await findings()).toMatchObject([{ id: 'shadow.table-waits' }]);
  await workplace.json(MATERIALIZE, 2);
  expect(await held()).toMatchObject([waiting]);
  expect(await workplace.json(['schema', 'accept', 'public.search_cache'])).toMatchObject({
    changes: [],
  });
  expect(await held()).toEqual([]);
  await workplace.json(MATERIALIZE);
  expect(await held()).toEqual([]);
}, 120_000);
