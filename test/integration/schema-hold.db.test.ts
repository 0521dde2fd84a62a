/** Tables that wait for a person, since production changed them: on a recording and real servers. */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type pg from 'pg';
import { connect } from '../support/comparison.ts';
import { databaseUrl, startPostgres, type PostgresServer } from '../support/postgres.ts';
import { testDatabase } from '../support/test-database.ts';
import { sleep } from '../../src/util/wait.ts';
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
async function before(
  ddl: string,
  evolution: Record<string, string> = {},
  url = production.url,
): Promise<void> {
  number += 1;
  trunk = `shop${number}`;
  const schema = path.join(workplace.directory, `schema${number}.sql`);
  const text = await readFile(path.join(SHOP, 'shop/schema.sql'), 'utf8');
  await writeFile(schema, `${text}\n${ddl}\n`);
  await workplace.configure({
    source: { topicPrefix: 'shop', recording: path.join(SHOP, 'assets/shop.recording') },
    production: { url },
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

test('a production that does not show which tables these are stops nobody', async () => {
  const role = `reader_${production.name}`;
  await there.query(`CREATE ROLE ${role} LOGIN PASSWORD 'reads';
    GRANT pg_read_all_data TO ${role};
    REVOKE EXECUTE ON FUNCTION pg_current_wal_insert_lsn() FROM PUBLIC`);
  const url = new URL(production.url);
  [url.username, url.password] = [role, 'reads'];
  await before('', {}, url.href);
  const result = await workplace.run([...MATERIALIZE, '--json']);
  expect(result.stderr).toMatch(/cannot look for tables that production renamed/);
  expect(result.stderr).toMatch(/cannot look for columns that production replaced/);
  expect(result.stderr).toMatch(/DATABASE_PERMISSION/);
  expect(result.status).toBe(0);
  expect(await rows()).toEqual(expected);
  const run = workplace.start(['run']);
  const looks = (): number => run.stderr.split('that production replaced').length - 1;
  for (const end = Date.now() + 60_000; looks() < 2 && Date.now() < end;) await sleep(100);
  run.kill('SIGTERM');
  expect([(await run.ended).status, looks()]).toEqual([0, 2]);
  await there.query(`GRANT EXECUTE ON FUNCTION pg_current_wal_insert_lsn() TO PUBLIC;
    DROP OWNED BY ${role}; DROP ROLE ${role}`);
}, 120_000);

test('a table that got the name which another one had is not dropped for that', async () => {
  await before('', { droppedTable: 'apply' });
  await workplace.json(MATERIALIZE);
  const of = async (table: string): Promise<string> => {
    const client = await connect(databaseUrl(server.url, trunk));
    try {
      const { rows: list } = await client.query(`SELECT t::text FROM ${table} t ORDER BY 1`);
      return JSON.stringify(list);
    } finally {
      await client.end();
    }
  };
  const [cached, coupons] = [await of('search_cache'), await of('coupons')];
  expect(cached).not.toBe(coupons);
  await there.query(`ALTER TABLE coupons RENAME TO coupons_old;
    ALTER TABLE search_cache RENAME TO coupons`);
  const found = await workplace.run([...MATERIALIZE, '--json']);
  expect(found.stderr).toMatch(/public\.search_cache.*by a name that another has here/);
  expect([await of('search_cache'), await of('coupons')]).toEqual([cached, coupons]);
  await workplace.json(['schema', 'accept', 'public.search_cache']);
  expect(await of('search_cache')).toBe(cached);
  expect(await workplace.json(['schema', 'accept', 'public.coupons_old'])).toMatchObject({
    changes: [
      expect.stringMatching(/^table public\.coupons renamed to public\.coupons_old/) as string,
    ],
  });
  expect(await workplace.json(['schema', 'accept', 'public.coupons'])).toMatchObject({
    changes: ['table public.search_cache renamed to public.coupons'],
  });
  expect([await of('coupons'), await of('coupons_old')]).toEqual([cached, coupons]);
  await there.query(`ALTER TABLE coupons RENAME TO search_cache;
    ALTER TABLE coupons_old RENAME TO coupons`);
}, 120_000);

test('tables are known by their names once production is another server', async () => {
  await before('');
  await workplace.json(MATERIALIZE);
  const client = await connect(databaseUrl(server.url, trunk));
  const ids = async (): Promise<readonly unknown[]> =>
    (
      await client.query<{ id: string }>(
        'SELECT id FROM understudy.table_identity ORDER BY table_name',
      )
    ).rows;
  const own = await ids();
  await client.query(`UPDATE understudy.table_identity SET id = '1/2/' || split_part(id, '/', 3),
    columns = '{}'`);
  const told = /production is another server or database than before/;
  expect((await workplace.run([...MATERIALIZE, '--json'])).stderr).toMatch(told);
  expect(await ids()).toEqual(own);
  await client.end();
  const after = await workplace.run([...MATERIALIZE, '--json']);
  expect([after.status, told.test(after.stderr)]).toEqual([0, false]);
}, 120_000);

test('a table that was dropped and made again between two looks waits', async () => {
  const again = `DROP TABLE search_cache; CREATE TABLE search_cache
    (term text PRIMARY KEY, skus text[] NOT NULL, cached_at timestamptz NOT NULL)`;
  await before('');
  await workplace.json(MATERIALIZE);
  await there.query(again);
  expect(await workplace.json(MATERIALIZE, 2)).toMatchObject({ held: ['public.search_cache'] });
  expect((await held())[0]?.why).toMatch(/made again/);
  await workplace.json(MATERIALIZE, 2);
  await workplace.json(['schema', 'accept', 'public.search_cache']);
  await workplace.json(MATERIALIZE);
  expect(await held()).toEqual([]);
}, 120_000);
