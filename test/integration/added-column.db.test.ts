/** Columns that production added to filled tables, made in a copy of the tables from before. */
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectProduction } from '../../src/dialect/postgres/production/production.ts';
import { schemaSourceOf, type ChangeFinding } from '../../src/dialect/evolving.ts';
import type { ProductionDatabase } from '../../src/dialect/dialect.ts';
import type { SchemaChange } from '../../src/schema/schema-change.ts';
import type { ColumnSchema } from '../../src/schema/table-schema.ts';
import { testDatabase } from '../support/test-database.ts';

const BEFORE = `CREATE TYPE mood AS ENUM ('calm', 'wild'); CREATE TABLE t (id int PRIMARY KEY);
  CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
  CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
  INSERT INTO t SELECT generate_series(1, 3); INSERT INTO parts VALUES (1)`;

/** Each as it stands after ADD COLUMN, and what follows it. */
const ADDABLE: readonly (readonly [column: string, ddl: string])[] = [
  ['plain', 'ADD COLUMN plain int'],
  ['number', 'ADD COLUMN number numeric(10,2) NOT NULL DEFAULT 1.50'],
  ['quoted', `ADD COLUMN quoted text COLLATE "C" DEFAULT E'it''s, "{}" \\\\ NULL'`],
  ['label', `ADD COLUMN label mood DEFAULT 'wild'`],
  ['list', `ADD COLUMN list text[] DEFAULT '{"a,b",NULL,c}'`],
  ['bytes', `ADD COLUMN bytes bytea DEFAULT '\\x00ff'`],
  ['at', 'ADD COLUMN at timestamptz NOT NULL DEFAULT now()'],
  ['span', `ADD COLUMN span interval DEFAULT '1 mon -2 days'`],
  ['moved', `ADD COLUMN moved int DEFAULT 1, ALTER COLUMN moved SET DEFAULT 2`],
  ['dropped', `ADD COLUMN dropped float8 DEFAULT 0.1, ALTER COLUMN dropped DROP DEFAULT`],
  ['Odd "name"', `ADD COLUMN "Odd ""name""" jsonb DEFAULT '{"a": [1, 2.0]}'`],
];

const UNTOLD: readonly (readonly [column: string, ddl: string])[] = [
  ['numbered', 'ADD COLUMN numbered int GENERATED ALWAYS AS IDENTITY'],
  ['serial', 'ADD COLUMN serial serial'],
  ['uuid', 'ADD COLUMN uuid uuid DEFAULT gen_random_uuid()'],
  ['made', 'ADD COLUMN made int GENERATED ALWAYS AS (id * 2) STORED'],
  ['corners', `ADD COLUMN corners box DEFAULT '(1,1),(0,0)'`],
];

const production = await testDatabase('added');
const shadow = await testDatabase('lacking');
const clients = [production, shadow].map(({ url }) => new pg.Client({ connectionString: url }));
const [there, here] = clients;
if (there === undefined || here === undefined) throw new Error('two databases');
let source: ProductionDatabase;

const NONE: ColumnSchema = {
  ...{ name: 'gone', type: { sql: 'integer', kind: 'int32' }, nullable: true },
  ...{ generated: 'no', identity: 'no', toastable: false },
};

beforeAll(async () => {
  source = await connectProduction(production.url);
  for (const client of clients) {
    await client.connect();
    await client.query(BEFORE);
  }
});
afterAll(async () => {
  for (const client of clients) await client.end();
  await source[Symbol.asyncDispose]();
});

async function find(name: string, column: string): Promise<ChangeFinding> {
  const table = { schema: 'public', name };
  const known = (await source.catalogue()).get(`public.${name}`)?.columns;
  const added = known?.find((one) => one.name === column) ?? NONE;
  const change: SchemaChange = { kind: 'add', table, column: added };
  const found = await schemaSourceOf(source)?.finding(change, () => true);
  if (found === undefined) throw new Error('the engine carries no columns over');
  return found;
}

const rowsOf = async (client: pg.Client): Promise<unknown> =>
  (await client.query('TABLE t ORDER BY id')).rows;

describe('a column added to a filled table', () => {
  test.each(ADDABLE)('%s is made with the rows that production has', async (column, ddl) => {
    // As a later statement: one ALTER TABLE is one step, in which defaults change first.
    for (const part of ddl.split(', ALTER')) {
      await there.query(`ALTER TABLE t ${part.startsWith('ADD') ? '' : 'ALTER'}${part}`);
    }
    const finding = await find('t', column);
    if (finding.kind !== 'carried') throw new Error(finding.kind);
    await here.query(finding.carried.statements.map(({ sql }) => sql).join(';'));
    expect(await rowsOf(here)).toEqual(await rowsOf(there));
    for (const client of clients) {
      const id = (await client.query<{ id: number }>('SELECT max(id) + 1 AS id FROM t')).rows[0];
      await client.query('BEGIN');
      await client.query('INSERT INTO t (id) VALUES ($1)', [id?.id]);
    }
    // New rows too; `now()` of two transactions differs.
    const newest = `SELECT pg_catalog.to_jsonb(t) - 'at' AS row FROM t ORDER BY id DESC LIMIT 1`;
    const [a, b] = [await there.query(newest), await here.query(newest)].map(
      ({ rows }) => rows as unknown[],
    );
    for (const client of clients) await client.query('ROLLBACK');
    expect(b).toEqual(a);
  });

  test.each(UNTOLD)('%s is not guessed', async (column, ddl) => {
    await there.query(`CREATE TABLE u (LIKE t); INSERT INTO u TABLE t; ALTER TABLE u ${ddl}`);
    expect((await find('u', column)).kind).toBe('untold');
    await there.query('DROP TABLE u');
  });

  test('of a partitioned table is added without a default only', async () => {
    await there.query('ALTER TABLE parts ADD COLUMN plain int, ADD COLUMN filled int DEFAULT 1');
    expect((await find('parts', 'plain')).kind).toBe('carried');
    expect((await find('parts', 'filled')).kind).toBe('untold');
  });

  test('that was dropped since is absent', async () => {
    await there.query('ALTER TABLE parts ADD COLUMN gone int; ALTER TABLE parts DROP COLUMN gone');
    expect(await find('parts', 'gone')).toEqual({ kind: 'absent' });
    expect(await find('nowhere', 'gone')).toEqual({ kind: 'absent' });
  });
});
