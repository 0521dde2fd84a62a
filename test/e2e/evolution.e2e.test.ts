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
let rollout: Rollout;

interface Rollout {
  readonly url: string;
  readonly database: string;
}

async function query(url: string, sql: string): Promise<readonly unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

async function configure(
  trunk: string,
  add: 'apply' | 'fail',
  more: Readonly<Record<string, string>> = {},
): Promise<void> {
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
    evolution: { add, ...more },
  });
}

async function captured(table: string, count: number): Promise<void> {
  const kafka = (await sharedKafka()).client();
  await readTopics(kafka, [`${PREFIX}.public.${table}`], (records) => records.length >= count);
}

const milk = (url: string): Promise<readonly unknown[]> => query(url, 'TABLE milk ORDER BY id');

/** The rows of all tables, as production's own text of them. */
async function allRows(url: string, schema = 'public'): Promise<readonly unknown[]> {
  const tables = ['milk', 'cheese', 'rennet'].map(
    (table) => `SELECT '${table}' AS t, r::text FROM ${schema}.${table} r`,
  );
  try {
    return await query(url, `${tables.join(' UNION ALL ')} ORDER BY 1, 2`);
  } catch (error) {
    if (error instanceof pg.DatabaseError && error.code === '42P01') return [];
    throw error;
  }
}

/** Resolves with the trunk's rows when they are production's, else with what differs after a minute. */
async function settled(trunk: string, act: () => Promise<unknown>): Promise<readonly unknown[]> {
  const expected = JSON.stringify(await allRows(production.url));
  const deadline = Date.now() + 60_000;
  for (;;) {
    // The end of a transaction may come a moment late.
    await act();
    const rows = await allRows(databaseUrl(shadow.url, trunk));
    if (JSON.stringify(rows) === expected || Date.now() > deadline) return rows;
    await sleep(100);
  }
}

beforeAll(async () => {
  shadow = await startPostgres();
  await query(
    production.url,
    `CREATE TABLE milk (id integer PRIMARY KEY, note text NOT NULL);
     INSERT INTO milk SELECT n, 'n' FROM generate_series(1, 4) n;
     CREATE TYPE mould AS ENUM ('none', 'white');
     CREATE TABLE cheese (id integer PRIMARY KEY, name varchar(6), grams integer,
       price numeric(4,2), mould mould, moulds mould[], age integer NOT NULL);
     INSERT INTO cheese VALUES (1, 'edam', 100, 1.50, 'none', '{white}', 1);
     CREATE TABLE curd (id integer PRIMARY KEY, batch integer, note text);
     INSERT INTO curd VALUES (1, 1, 'a'), (2, 1, 'b')`,
  );
  const connect = await sharedConnect();
  await connect.createConnector(PREFIX, await postgresConnector(production.url, PREFIX));
  await captured('milk', 4);
  await captured('cheese', 1);
  await captured('curd', 2);
  workplace = await Workplace.make({});
  for (const trunk of ['evolves', 'runs', 'fails']) {
    await configure(trunk, 'apply');
    await workplace.json(MATERIALIZE);
  }
  await configure('evolves', 'apply');
  rollout = await workplace.json<Rollout>(['rollout', 'create', 'next']);
  await query(rollout.url, `UPDATE milk SET note = 'mine' WHERE id = 1`);
  await query(production.url, `ALTER TABLE milk ADD COLUMN fat numeric(3,1) NOT NULL DEFAULT 3.5`);
  await query(production.url, `INSERT INTO milk VALUES (5, 'five', 1.5)`);
  await query(production.url, `ALTER TABLE milk ADD COLUMN brand text, ADD COLUMN cold boolean`);
  await query(production.url, `UPDATE milk SET brand = 'b', cold = true WHERE id IN (2, 5)`);
  await query(production.url, `DELETE FROM milk WHERE id = 3`);
  await query(production.url, `ALTER TYPE mould ADD VALUE 'blue' BEFORE 'white'`);
  await query(
    production.url,
    `ALTER TABLE cheese ALTER name TYPE text, ALTER grams TYPE bigint,
       ALTER price TYPE numeric(8,3), ALTER age DROP NOT NULL`,
  );
  await query(
    production.url,
    `UPDATE cheese SET mould = 'blue' WHERE id = 1;
     INSERT INTO cheese VALUES (2, 'roquefort', 5000000000, 12345.678, 'blue', '{blue,none}', NULL);
     CREATE TABLE rennet (id integer PRIMARY KEY, of integer REFERENCES cheese, since timestamptz);
     ALTER PUBLICATION ${PREFIX} ADD TABLE rennet`,
  );
  await query(production.url, `INSERT INTO rennet VALUES (1, 2, '2024-02-29 12:00:00.5+00')`);
  await captured('milk', 8);
  await captured('cheese', 3);
  await captured('rennet', 1);
});

afterAll(async () => {
  await workplace[Symbol.asyncDispose]();
  await (await sharedConnect()).deleteConnector(PREFIX);
  await shadow.stop();
});

it('adds the columns and tables that records have and the trunk lacks, and widens others', async () => {
  await configure('evolves', 'apply');
  const rows = await settled('evolves', () => workplace.json(MATERIALIZE));
  expect(rows).toEqual(await allRows(production.url));
});

it('carries them to a rollout, which keeps what the candidate wrote and captures what it writes', async () => {
  const inside = databaseUrl(shadow.url, rollout.database);
  const base = (): Promise<readonly unknown[]> => allRows(inside, 'public__production');
  expect(await base()).toEqual(await allRows(production.url));
  await query(
    rollout.url,
    `UPDATE milk SET fat = 9.9, brand = 'mine' WHERE id IN (1, 2);
     UPDATE cheese SET name = 'candidate', mould = 'blue' WHERE id = 2; DELETE FROM rennet`,
  );
  expect(await base()).toEqual(await allRows(production.url));
  const [first] = (await milk(inside)) as readonly {
    readonly note: string;
    readonly fat: string;
  }[];
  expect(first).toMatchObject({ note: 'mine', fat: '9.9' });
});

it('adds them while it runs', async () => {
  await configure('runs', 'apply');
  const run = workplace.start(['run']);
  const rows = await settled('runs', () => Promise.resolve());
  expect(rows).toEqual(await allRows(production.url));
  run.kill('SIGTERM');
  expect((await run.ended).status).toBe(0);
  const lines = run.stderr
    .split('\n')
    .filter((line) => /"database":"runs"|database=runs/.test(line));
  expect(lines.filter((line) => /column \w+ added/.test(line))).toHaveLength(3);
  expect(run.stderr).toContain('table is new');
  const letters = await workplace.json<readonly unknown[]>(['dead-letters', 'list']);
  expect(letters).toEqual([]);
});

it('lets a table wait whose key was changed, until it is accepted', async () => {
  await configure('evolves', 'apply');
  await query(production.url, `UPDATE curd SET note = 'c' WHERE id = 2`);
  // The connector asks for the key when a table is first streamed, and takes what it is by then.
  await captured('curd', 3);
  for (const sql of [
    'ALTER TABLE curd DROP CONSTRAINT curd_pkey, ADD PRIMARY KEY (id, batch)',
    `INSERT INTO curd VALUES (1, 2, 'd')`,
    'DELETE FROM curd WHERE id = 1 AND batch = 1',
  ]) {
    await query(production.url, sql);
  }
  // A tombstone comes after the delete.
  await captured('curd', 6);
  const inside = databaseUrl(shadow.url, 'evolves');
  const notes = (url: string): Promise<readonly unknown[]> =>
    query(url, 'SELECT c::text FROM curd c ORDER BY id, batch');
  const waits = async (): Promise<boolean> =>
    (await workplace.json<{ deadLetters: number }>(MATERIALIZE, 2)).deadLetters > 0;
  expect(await waits()).toBe(true);
  expect(await notes(inside)).toEqual([{ c: '(1,1,a)' }, { c: '(2,1,c)' }]);
  expect(await workplace.json(['schema', 'accept', 'public.curd'])).toMatchObject({
    ...{ changes: ['key changed from (id) to (id, batch)'], left: [] },
  });
  expect(await notes(inside)).toEqual(await notes(production.url));
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

it('gives a table the name that production gave it, in a rollout too, where the candidate wrote to it', async () => {
  await configure('evolves', 'apply');
  // In which the table waits whose key was changed.
  await workplace.json(['rollout', 'delete', 'next']);
  await query(
    production.url,
    `CREATE TABLE jar (id integer PRIMARY KEY, v text);
     CREATE TABLE lid (id integer PRIMARY KEY, jar integer REFERENCES jar ON DELETE CASCADE);
     ALTER PUBLICATION ${PREFIX} ADD TABLE jar, lid`,
  );
  await query(production.url, `INSERT INTO jar VALUES (1, 'a'), (2, 'b'), (3, 'c')`);
  await query(production.url, `INSERT INTO lid VALUES (1, 1), (2, 2)`);
  await captured('lid', 2);
  // One where a person is to decide.
  await configure('decides', 'apply', { renameTable: 'hold' });
  await workplace.json(MATERIALIZE);
  await configure('evolves', 'apply');
  await workplace.json(MATERIALIZE);
  const old = await workplace.json<Rollout>(['rollout', 'create', 'named']);
  await query(
    old.url,
    `UPDATE jar SET v = 'mine' WHERE id = 1; DELETE FROM jar WHERE id = 3;
     INSERT INTO jar VALUES (50, 'own')`,
  );
  await query(production.url, `UPDATE jar SET v = 'late' WHERE id = 1`);
  await query(production.url, 'CREATE SCHEMA store');
  await query(production.url, 'ALTER TABLE jar RENAME TO pot');
  await query(production.url, `INSERT INTO pot VALUES (4, 'd')`);
  await query(production.url, `UPDATE pot SET v = 'new' WHERE id = 2`);
  await query(production.url, `DELETE FROM pot WHERE id = 3`);
  await captured('pot', 3);
  const rows = (url: string, table: string): Promise<readonly unknown[]> =>
    query(url, `SELECT t::text FROM ${table} t ORDER BY 1`);
  const inside = databaseUrl(shadow.url, 'evolves');
  await workplace.json(MATERIALIZE);
  expect(await rows(inside, 'pot')).toEqual(await rows(production.url, 'pot'));
  expect(await query(inside, `SELECT to_regclass('jar') AS jar`)).toEqual([{ jar: null }]);
  const at = databaseUrl(shadow.url, old.database);
  const base = async (): Promise<void> => {
    expect(await rows(at, 'public__production.pot')).toEqual(await rows(production.url, 'pot'));
  };
  await base();
  expect(await rows(old.url, 'pot')).toEqual([
    ...[{ t: '(1,mine)' }, { t: '(2,new)' }, { t: '(4,d)' }, { t: '(50,own)' }],
  ]);
  await query(
    old.url,
    `UPDATE pot SET v = 'again' WHERE id IN (1, 2); DELETE FROM pot WHERE id = 4`,
  );
  await base();
  const kinds = `SELECT id || ' ' || understudy_kind AS kind FROM public__difference.pot ORDER BY id`;
  expect(await query(at, kinds)).toEqual([
    ...[{ kind: '1 update' }, { kind: '2 update' }, { kind: '4 delete' }, { kind: '50 insert' }],
  ]);
  // Of `lid` it may not be able to tell: of rows that a cascade deletes nothing is told.
  const checked = JSON.parse((await workplace.run(['drift', 'check', '--json'])).stdout) as {
    readonly tables: readonly { readonly table: string; readonly state: string }[];
  };
  expect(checked.tables.find(({ table }) => table === 'public.pot')?.state).toBe('equal');
  await configure('decides', 'apply', { renameTable: 'hold' });
  expect(await workplace.json(MATERIALIZE, 2)).toMatchObject({ held: ['public.jar'] });
  const decided = databaseUrl(shadow.url, 'decides');
  expect(await rows(decided, 'jar')).toEqual([{ t: '(1,late)' }, { t: '(2,b)' }, { t: '(3,c)' }]);
  expect(await workplace.json(['schema', 'accept', 'public.pot'])).toMatchObject({
    ...{ changes: ['table public.jar renamed to public.pot'], left: [] },
  });
  expect(await rows(decided, 'pot')).toEqual(await rows(production.url, 'pot'));
  await configure('evolves', 'apply');
  // Another table may have the name since, and the old one go on.
  await query(
    production.url,
    `CREATE TABLE jar (id integer PRIMARY KEY, lids integer);
     ALTER PUBLICATION ${PREFIX} ADD TABLE jar`,
  );
  await query(production.url, `INSERT INTO jar VALUES (1, 100)`);
  await query(production.url, `DELETE FROM pot WHERE id = 2`);
  await query(production.url, `INSERT INTO lid VALUES (3, 1)`);
  await captured('pot', 4);
  await captured('lid', 3);
  await workplace.json(MATERIALIZE);
  for (const table of ['pot', 'jar', 'lid']) {
    expect(await rows(inside, table)).toEqual(await rows(production.url, table));
    expect(await rows(at, `public__production.${table}`)).toEqual(
      await rows(production.url, table),
    );
  }
  await workplace.json(['rollout', 'delete', 'named']);
});

it('lets a table wait of which columns were replaced by others of their names and types', async () => {
  await configure('evolves', 'apply');
  await query(
    production.url,
    `CREATE TABLE rind (id integer PRIMARY KEY, thick text, hue text);
     ALTER PUBLICATION ${PREFIX} ADD TABLE rind`,
  );
  await query(production.url, `INSERT INTO rind VALUES (1, 'x', 'y')`);
  await captured('rind', 1);
  await workplace.json(MATERIALIZE);
  // No record tells of it: of the row that is there nothing comes.
  await query(production.url, 'ALTER TABLE rind DROP COLUMN thick');
  await query(production.url, 'ALTER TABLE rind ADD COLUMN thick text');
  await query(production.url, `INSERT INTO rind (id, thick, hue) VALUES (2, 'n', 'm')`);
  await captured('rind', 2);
  const inside = databaseUrl(shadow.url, 'evolves');
  const rows = (url: string): Promise<readonly unknown[]> =>
    query(url, 'SELECT id, thick, hue FROM rind ORDER BY id');
  const mend = async (): Promise<void> => {
    await workplace.json(['schema', 'accept', 'public.rind']);
    await workplace.json(['repair', 'public.rind']);
    await workplace.json(MATERIALIZE);
    expect(await rows(inside)).toEqual(await rows(production.url));
  };
  expect(await workplace.json(MATERIALIZE, 2)).toMatchObject({ held: ['public.rind'] });
  expect(await rows(inside)).toEqual([{ id: 1, thick: 'x', hue: 'y' }]);
  await mend();
  // What is carried here is no such change.
  await configure('evolves', 'apply', { drop: 'apply' });
  await query(production.url, 'ALTER TABLE rind DROP COLUMN hue');
  await query(production.url, `INSERT INTO rind (id, thick) VALUES (3, 'o')`);
  await captured('rind', 3);
  await workplace.json(MATERIALIZE);
  await query(production.url, 'ALTER TABLE rind ADD COLUMN hue text');
  await query(production.url, `INSERT INTO rind (id, thick, hue) VALUES (4, 'p', 'q')`);
  await captured('rind', 4);
  await workplace.json(MATERIALIZE);
  expect(await rows(inside)).toEqual(await rows(production.url));
  // Nor does anything tell while it is followed.
  const run = workplace.start(['run']);
  for (
    const end = Date.now() + 60_000;
    !/"msg":"following"/.test(run.stderr) && Date.now() < end;
  ) {
    await sleep(100);
  }
  await query(
    production.url,
    `ALTER TABLE rind RENAME COLUMN hue TO hew; ALTER TABLE rind RENAME COLUMN thick TO hue;
     ALTER TABLE rind RENAME COLUMN hew TO thick`,
  );
  const held = async (): Promise<string> => {
    interface Status {
      readonly databases: readonly { readonly held: readonly { readonly table: string }[] }[];
    }
    const { databases } = await workplace.json<Status>(['status']);
    return databases.flatMap((database) => database.held.map(({ table }) => table)).join(' ');
  };
  for (const end = Date.now() + 60_000; (await held()) === '' && Date.now() < end;)
    await sleep(500);
  expect(await held()).toBe('public.rind');
  await query(production.url, `UPDATE rind SET hue = 'z' WHERE id = 1`);
  run.kill('SIGTERM');
  expect((await run.ended).status).toBe(0);
  await captured('rind', 5);
  await workplace.json(MATERIALIZE, 2);
  await mend();
});
