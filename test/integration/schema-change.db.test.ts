/** What production's tables were changed to, carried into a copy of them from before. */
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tableName } from '../../src/change/table-id.ts';
import { connectProduction } from '../../src/dialect/postgres/production/production.ts';
import { schemaSourceOf } from '../../src/dialect/evolving.ts';
import type { ProductionDatabase } from '../../src/dialect/dialect.ts';
import { carryChanges, turnsOf } from '../../src/dialect/postgres/shadow/carry.ts';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import { installOverlay } from '../../src/dialect/postgres/overlay/capture.ts';
import { changesBetween, type SchemaChange } from '../../src/schema/schema-change.ts';
import { testDatabase } from '../support/test-database.ts';

const BEFORE = `CREATE TYPE mood AS ENUM ('calm', 'wild');
  CREATE DOMAIN feeling AS mood;
  CREATE TABLE t (id int PRIMARY KEY, small smallint, words varchar(3) COLLATE "C",
    amount numeric(4,2), at timestamp(0), list varchar(2)[], strict int NOT NULL, m mood,
    moods mood[], felt feeling, doubled int GENERATED ALWAYS AS (strict * 2) STORED);
  INSERT INTO t (id, small, words, amount, at, list, strict, m, moods, felt)
    VALUES (1, 7, 'abc', 12.50, '2024-01-02 03:04:05', '{ab,cd}', 1, 'calm', '{wild,calm}', 'wild');
  CREATE TABLE parts (id int PRIMARY KEY, note varchar(3)) PARTITION BY RANGE (id);
  CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
  INSERT INTO parts VALUES (1, 'abc')`;

const WIDENED: readonly (readonly [ddl: string, row: string])[] = [
  ['ALTER TABLE t ALTER small TYPE int', `(small) VALUES (100000)`],
  ['ALTER TABLE t ALTER id TYPE bigint', `(small) VALUES (1)`],
  ['ALTER TABLE t ALTER words TYPE varchar(5) COLLATE "C"', `(words) VALUES ('abcde')`],
  ['ALTER TABLE t ALTER words TYPE text COLLATE "C"', `(words) VALUES (repeat('x', 100))`],
  ['ALTER TABLE t ALTER amount TYPE numeric(7,3)', `(amount) VALUES (1234.567)`],
  ['ALTER TABLE t ALTER at TYPE timestamp', `(at) VALUES ('2024-01-02 03:04:05.123456')`],
  ['ALTER TABLE t ALTER list TYPE text[]', `(list) VALUES ('{abcdef}')`],
  ['ALTER TABLE t ALTER strict DROP NOT NULL', `(strict) VALUES (NULL)`],
  [
    `ALTER TYPE mood ADD VALUE 'dull' BEFORE 'wild'`,
    `(m, moods, felt) VALUES ('dull', '{dull}', 'dull')`,
  ],
  [
    `ALTER TYPE mood ADD VALUE 'new'; ALTER TYPE mood ADD VALUE 'first' BEFORE 'calm'`,
    `(m) VALUES ('first')`,
  ],
];

const production = await testDatabase('changed');
const shadow = await testDatabase('unchanged');
const there = new pg.Client({ connectionString: production.url });
const here = new pg.Client({ connectionString: shadow.url });
const cloned = await testDatabase('cloned');
const rollout = new pg.Client({ connectionString: cloned.url });
const candidate = new pg.Client({ connectionString: cloned.url });
let source: ProductionDatabase;

beforeAll(async () => {
  source = await connectProduction(production.url);
  await candidate.connect();
  for (const client of [there, here, rollout]) {
    await client.connect();
    await client.query(BEFORE);
    if (client === there) continue;
    await client.query(`CREATE SCHEMA understudy; CREATE TABLE understudy.marker (spared_account text);
      CREATE TABLE understudy.former_column (table_schema text, table_name text, name text, now text,
        PRIMARY KEY (table_schema, table_name, name));
      CREATE TABLE understudy.noted_table (table_schema text, table_name text, state text,
        PRIMARY KEY (table_schema, table_name));
      CREATE TABLE understudy.table_identity (table_schema text, table_name text);
      CREATE TABLE understudy.waiting_table (table_schema text, table_name text);
      INSERT INTO understudy.marker VALUES (NULL)`);
  }
});
afterAll(async () => {
  for (const client of [candidate, there, here, rollout]) await client.end();
  await source[Symbol.asyncDispose]();
});

/** But of partitions, which change with their root. */
async function changes(shadowed = here): Promise<readonly SchemaChange[]> {
  const ours = await readCatalogue(shadowed);
  return changesBetween(ours, await readCatalogue(there)).filter(
    ({ table }) => ours.get(tableName(table))?.partitionOf === undefined,
  );
}

/** Carries out all that was changed, or of one table `only`, and returns what could not be made. */
async function carry(shadowed = here, only?: string): Promise<readonly string[]> {
  const carried = [];
  for (const change of await changes(shadowed)) {
    if (only !== undefined && change.table.name !== only) continue;
    const found = await schemaSourceOf(source)?.finding(change, () => true);
    if (found?.kind !== 'carried') throw new Error(`${change.kind}: ${found?.kind}`);
    carried.push(found.carried);
  }
  const skipped = [];
  for (const turn of turnsOf(carried)) {
    await shadowed.query('BEGIN');
    skipped.push(...(await carryChanges(shadowed, turn)));
    await shadowed.query('COMMIT');
  }
  return skipped;
}

const textOf = async (client: pg.Client, table: string): Promise<unknown> =>
  (await client.query(`SELECT t::text AS row FROM ${table} t ORDER BY 1`)).rows;

describe('a widened column', () => {
  test.each(WIDENED)('%s', async (ddl, row) => {
    for (const statement of ddl.split('; ')) await there.query(statement);
    const kinds = new Set((await changes()).map(({ kind }) => kind));
    expect([...kinds]).toEqual([ddl.startsWith('ALTER TYPE') ? 'enumValue' : 'widen']);
    expect(await carry()).toEqual([]);
    expect(await changes()).toEqual([]);
    for (const client of [there, here]) {
      await client.query(`ALTER TABLE t ALTER strict SET DEFAULT 1`);
      const [columns, values] = row.split(' VALUES (');
      await client.query(
        `INSERT INTO t (id, ${columns?.slice(1)} VALUES ((SELECT max(id) + 1 FROM t), ${values}`,
      );
    }
    expect(await textOf(here, 't')).toEqual(await textOf(there, 't'));
  });

  test('of a partitioned table is so in its partitions', async () => {
    await there.query('ALTER TABLE parts ALTER note TYPE text');
    expect(await carry()).toEqual([]);
    expect(await changes()).toEqual([]);
    expect(await textOf(here, 'parts')).toEqual(await textOf(there, 'parts'));
  });

  test('that a view reads is refused with the server’s reason', async () => {
    await here.query('CREATE VIEW looks AS SELECT amount FROM t');
    await there.query('ALTER TABLE t ALTER amount TYPE numeric(9,3)');
    await expect(carry()).rejects.toMatchObject({
      ...{ code: 'SCHEMA_FAILED', message: 'cannot change table public.t as production did' },
      context: { detail: expect.stringMatching(/read by view public\.looks: drop it/) as string },
    });
    await here.query('ROLLBACK; DROP VIEW looks');
    expect(await carry()).toEqual([]);
  });
});

describe('a new table', () => {
  test('is made with all that is its own, and what it needs', async () => {
    await there.query(`CREATE TYPE size AS ENUM ('s', 'l');
      CREATE TABLE fresh (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, of bigint REFERENCES t,
        size size DEFAULT 's', CHECK (id > 0));
      CREATE UNIQUE INDEX fresh_size ON fresh (size, of); CREATE VIEW seen AS SELECT id FROM fresh;
      INSERT INTO fresh (of) VALUES (1)`);
    expect(await changes()).toMatchObject([{ kind: 'newTable', certain: true }]);
    expect(await carry()).toEqual([]);
    const [theirs, ours] = [await readCatalogue(there), await readCatalogue(here)];
    expect(ours.get('public.fresh')).toEqual(theirs.get('public.fresh'));
    await here.query('INSERT INTO fresh (of) VALUES (1)');
    expect(await textOf(here, 'seen')).toHaveLength(1);
  });

  test('is made with its own key, though another new table is referred to, or refers to it', async () => {
    for (const [first, second] of [
      ['head', 'tail'],
      ['trunk', 'leaf'],
    ] as const) {
      await there.query(`CREATE TABLE ${first} (id int PRIMARY KEY, twin int UNIQUE);
        CREATE TABLE ${second} (id int PRIMARY KEY, of int REFERENCES ${first})`);
      // As records come: of one of them first, and nothing of the other for long.
      const order: readonly string[] = first === 'head' ? [first, second] : [second, first];
      for (const only of order) {
        expect(await carry(here, only)).toHaveLength(only === order[0] ? 1 : 0);
        const [theirs, ours] = [await readCatalogue(there), await readCatalogue(here)];
        const key = { key: ['id'], uniques: theirs.get(`public.${only}`)?.uniques };
        expect(ours.get(`public.${only}`)).toMatchObject(key);
        expect(order.filter((name) => ours.has(`public.${name}`))).toEqual(
          order.slice(0, order.indexOf(only) + 1),
        );
      }
      const [theirs, ours] = [await readCatalogue(there), await readCatalogue(here)];
      for (const name of order) {
        expect(ours.get(`public.${name}`)).toEqual(theirs.get(`public.${name}`));
      }
    }
    expect(await changes()).toEqual([]);
  });

  test('has its key where another table here has an index of its name', async () => {
    await here.query(`CREATE TABLE other (id int CONSTRAINT named_pkey PRIMARY KEY,
      n int CONSTRAINT named_n_key UNIQUE)`);
    await there.query(`CREATE TABLE named (id int PRIMARY KEY, n int UNIQUE)`);
    expect(await carry(here, 'named')).toEqual([]);
    const named = (await readCatalogue(here)).get('public.named');
    expect(named).toMatchObject({
      ...{ key: ['id'], uniques: [{ columns: ['id'], primary: true }, { columns: ['n'] }] },
    });
    await here.query('DROP TABLE other');
  });

  test('has its indexes where another table here has some of their names, once', async () => {
    await here.query(`CREATE TABLE other (id int, n int); CREATE INDEX indexed_n ON other (n);
      CREATE UNIQUE INDEX "Indexed m" ON other (n); CREATE UNIQUE INDEX indexed_k_key ON other (n)`);
    await there.query(`CREATE TABLE indexed (id int PRIMARY KEY, n int, m int, k int UNIQUE);
      CREATE INDEX indexed_n ON indexed (n DESC) WHERE n > 0; CREATE UNIQUE INDEX "Indexed m" ON indexed (m)`);
    const made = (await changes()).filter(({ table }) => table.name === 'indexed');
    // A plan that was cut off runs again.
    for (const _ of [1, 2]) {
      for (const change of made) {
        const found = await schemaSourceOf(source)?.finding(change, () => true);
        if (found?.kind !== 'carried') throw new Error(found?.kind);
        await here.query('BEGIN');
        expect(await carryChanges(here, [found.carried])).toEqual([]);
        await here.query('COMMIT');
      }
    }
    const definitions = async (client: pg.Client): Promise<readonly unknown[]> =>
      (
        await client.query<{
          what: string;
        }>(`SELECT regexp_replace(indexdef, 'INDEX .* ON', 'INDEX ON') AS what
          FROM pg_indexes WHERE tablename = 'indexed' ORDER BY 1`)
      ).rows;
    expect(await definitions(here)).toHaveLength(4);
    expect(await definitions(here)).toEqual(await definitions(there));
    await here.query('DROP TABLE other');
  });

  test('is made without a key to it from rows that are not here', async () => {
    await there.query(`CREATE TABLE target (id int PRIMARY KEY); INSERT INTO target VALUES (1);
      ALTER TABLE parts ADD FOREIGN KEY (id) REFERENCES target`);
    expect(await carry()).toEqual([expect.stringMatching(/^foreign key .*parts_id_fkey/)]);
    expect((await readCatalogue(here)).get('public.target')?.key).toEqual(['id']);
  });

  test('is a new partition of a table that is here', async () => {
    await there.query(`ALTER TABLE parts DROP CONSTRAINT parts_id_fkey;
      CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20)`);
    expect(await carry()).toEqual([]);
    await here.query('INSERT INTO parts VALUES (11)');
    expect(await textOf(here, 'parts_2')).toHaveLength(1);
  });
});

describe('a rollout', () => {
  /** The candidate's writes, and what production's image must be for all that. */
  async function write(...statements: readonly string[]): Promise<void> {
    for (const statement of statements) await candidate.query(statement);
    for (const table of ['t', 'parts']) {
      expect(await textOf(rollout, `public__production.${table}`)).toEqual(
        await textOf(there, table),
      );
    }
  }

  const kinds = async (): Promise<readonly string[]> =>
    (
      await candidate.query<{ row: string }>(
        `SELECT id || ' ' || understudy_kind || ' ' || array_to_string(understudy_columns, ' ') AS row
         FROM public__difference.t ORDER BY 1`,
      )
    ).rows.map(({ row }) => row);

  beforeAll(async () => {
    // As production was when it was cloned; then production goes on.
    await rollout.query('BEGIN');
    await installOverlay(rollout);
    await rollout.query('COMMIT');
    await there.query(`DELETE FROM t WHERE id > 1;
      UPDATE t SET small = 7, strict = 1; DELETE FROM parts WHERE id > 1`);
  });

  test('goes on with what it owns when columns are widened and added, renamed and dropped', async () => {
    await candidate.query(`UPDATE t SET words = 'x' WHERE id = 1;
      INSERT INTO t (id, strict, m) VALUES (50, 1, 'wild'); UPDATE parts SET note = 'y'`);
    await there.query(
      `ALTER TABLE t ADD COLUMN late feeling DEFAULT 'dull', ADD COLUMN plain text`,
    );
    expect(await carry(rollout)).toEqual([]);
    expect(await changes(rollout)).toEqual([]);
    await write();
    expect(await kinds()).toEqual(['1 update words', expect.stringMatching(/^50 insert /)]);
    await write(
      `UPDATE t SET late = 'calm', plain = repeat('p', 9), small = 100000 WHERE id = 1`,
      `INSERT INTO t (id, strict, words, late) VALUES (5000000000, 1, repeat('w', 99), 'first')`,
      `INSERT INTO fresh (of) VALUES (5000000000); INSERT INTO parts VALUES (12, 'long words')`,
    );
    expect((await kinds())[0]).toBe('1 update small words late plain');
    await write('TRUNCATE parts_2', 'TRUNCATE t, fresh');
    expect(await textOf(rollout, 'public__production.fresh')).toEqual([]);
    await there.query(`ALTER TABLE t RENAME small TO little; ALTER TABLE t DROP COLUMN at`);
    expect(await carry(rollout)).toEqual([]);
    await write(`INSERT INTO t (id, strict, little) VALUES (1, 1, 3)`);
    expect((await kinds())[0]).toMatch(/^1 update little words/);
  });
});
