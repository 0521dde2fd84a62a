import { beforeAll, describe, expect, test } from 'vitest';
import type pg from 'pg';
import { prepareTable, rowsByKeySql } from '../../src/dialect/postgres/compare/comparison-sql.ts';
import type { HashedType } from '../../src/dialect/postgres/compare/hash-sql.ts';
import type { Comparison } from '../../src/drift/compare.ts';
import type { TableResult } from '../../src/report/drift-report.ts';
import { collect, compareDatabases, connect, readNow } from '../support/comparison.ts';
import { testDatabase } from '../support/test-database.ts';

let production: { url: string; client: pg.Client };
let shadow: { url: string; client: pg.Client };

async function database(purpose: string): Promise<{ url: string; client: pg.Client }> {
  const { url } = await testDatabase(purpose);
  return { url, client: await connect(url) };
}

beforeAll(async () => {
  production = await database('production');
  shadow = await database('shadow');
  return async () => {
    await production.client.end();
    await shadow.client.end();
  };
});

async function both(sql: string): Promise<void> {
  await production.client.query(sql);
  await shadow.client.query(sql);
}

async function reset(): Promise<void> {
  await both('DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public');
}

function only(comparison: Comparison): TableResult {
  expect(comparison.tables).toHaveLength(1);
  const [table] = comparison.tables;
  if (table === undefined) throw new Error('no table was compared');
  return table;
}

const compare = (): Promise<Comparison> => compareDatabases(production.url, shadow.url);

/** Type, production's value, the shadow's: unlike as stored, whatever `=` says. */
const UNLIKE: readonly (readonly [type: string, production: string, shadow: string])[] = [
  ['numeric', `'1.0'`, `'1.00'`],
  ['numeric', `'1234567890123456789012345.1'`, `'1234567890123456789012345.2'`],
  ['numeric', `'NaN'`, `NULL`],
  ['float8', `'-0'`, `'0'`],
  ['float8', `'1e30'`, `'1.0000000000000001e30'`],
  ['float4', `'0.1'`, `'0.10000001'`],
  ['int8', `1`, `2`],
  ['bool', `false`, `NULL`],
  ['text', `''`, `NULL`],
  ['text', `'a '`, `'a'`],
  ['text', `'NULL'`, `NULL`],
  ['text', `repeat('x', 1000000) || 'a'`, `repeat('x', 1000000) || 'b'`],
  ['varchar(10)', `'Word'`, `'word'`],
  ['text COLLATE shouting', `'Word'`, `'word'`],
  ['char(5)', `'ab'`, `'abc'`],
  ['bpchar', `'ab '`, `'ab'`],
  ['int4[]', `'[0:1]={1,2}'`, `'{1,2}'`],
  ['int4[]', `'{{1,2},{3,4}}'`, `'{1,2,3,4}'`],
  ['text[]', `'{NULL}'`, `'{"NULL"}'`],
  ['json[]', `ARRAY['{"a":1}'::json]`, `ARRAY['{"a": 1}'::json]`],
  ['interval', `'1 mon'`, `'30 days'`],
  ['timestamptz', `'2024-01-01 00:00:00.000001+00'`, `'2024-01-01 00:00:00.000002+00'`],
  ['timetz', `'12:00+00'`, `'13:00+01'`],
  ['json', `'{"a":1}'`, `'{"a": 1}'`],
  ['jsonb', `'{"a":1.0}'`, `'{"a":1.00}'`],
  ['xml', `'<a/>'`, `'<a></a>'`],
  ['bit(3)', `'101'`, `'100'`],
  ['varbit', `'1010'`, `'101'`],
  ['money', `1.01`, `1.02`],
  ['point', `'(1,1)'`, `'(1,1.0000000000000002)'`],
  ['box', `'(1,1),(0,0)'`, `'(2,1),(0,0)'`],
  ['tsvector', `'a:1'`, `'a:2'`],
  ['numrange', `'[1.0,2)'`, `'[1.00,2)'`],
  ['int4multirange', `'{[1,3)}'`, `'{[1,4)}'`],
  ['inet', `'10.0.0.1/8'`, `'10.0.0.1/16'`],
  ['bytea', `'\\x00'`, `'\\x0000'`],
  ['uuid', `'c0ffee00-1234-4000-8000-000000000001'`, `'c0ffee00-1234-4000-8000-000000000002'`],
  ['mood', `'glad'`, `'sad'`],
  ['amount', `'1.0'`, `'1.00'`],
  ['pair', `ROW(1, 'sad')`, `ROW(1, 'glad')`],
  ['hstore', `'a=>1'`, `'a=>NULL'`],
  ['citext', `'Word'`, `'word'`],
];

const TYPES = `
  CREATE EXTENSION hstore SCHEMA public;
  CREATE EXTENSION citext SCHEMA public;
  CREATE COLLATION public.shouting
    (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
  CREATE TYPE public.mood AS ENUM ('sad', 'glad');
  CREATE DOMAIN public.amount AS numeric;
  CREATE TYPE public.pair AS (number int, mood public.mood)`;

describe('the strict row hash', () => {
  test('two servers’ self-tests agree', async () => {
    await using a = await readNow(production.url);
    await using b = await readNow(shadow.url);
    expect(await a.selfTest()).toBe(await b.selfTest());
  });

  test('every unlike pair of values is found and its column named; like ones are equal', async () => {
    await reset();
    await both(TYPES);
    for (const [i, [type]] of UNLIKE.entries()) {
      await both(`CREATE TABLE public.t${i} (id int PRIMARY KEY, same ${type}, v ${type})`);
    }
    for (const [i, [type, theirs, ours]] of UNLIKE.entries()) {
      const cast = type.replace(/ COLLATE.*/, '');
      const insert = (v: string): string =>
        `INSERT INTO public.t${i} VALUES (1, (${theirs})::${cast}, (${v})::${cast}),
           (2, (${ours})::${cast}, (${ours})::${cast})`;
      await production.client.query(insert(theirs));
      await shadow.client.query(insert(ours));
    }
    const { tables, differences } = await compare();
    expect(tables.filter((table) => table.state === 'not-compared')).toEqual([]);
    const found = new Map(differences.map((difference) => [difference.table, difference]));
    const missed = UNLIKE.filter((_, i) => {
      const difference = found.get(`public.t${i}`);
      return (
        difference?.kind !== 'changed' ||
        difference.key['id'] !== '1' ||
        difference.columns.map((column) => column.name).join() !== 'v'
      );
    });
    expect(missed).toEqual([]);
    expect(differences).toHaveLength(UNLIKE.length);
  });

  test('a swap of two columns, and two changes that add up to nothing, are found', async () => {
    await reset();
    await both(`CREATE TABLE t (id int PRIMARY KEY, a int, b int)`);
    await both(`INSERT INTO t VALUES (1, 10, 20), (2, 5, 5), (3, 7, 7)`);
    await shadow.client.query(
      `UPDATE t SET a = b, b = a WHERE id = 1; UPDATE t SET a = a + 1 WHERE id = 2;
       UPDATE t SET a = a - 1 WHERE id = 3`,
    );
    expect(only(await compare())).toMatchObject({ state: 'drift', changed: 3 });
  });

  test('two rows that exchange a column are found: a plain sum of record hashes would cancel', async () => {
    await reset();
    await both(`CREATE TABLE t (id int PRIMARY KEY, b int)`);
    await both(`INSERT INTO t VALUES (1, 2), (3, 4)`);
    await shadow.client.query(`UPDATE t SET b = 6 - b`);
    expect(only(await compare())).toMatchObject({ state: 'drift', changed: 2 });
  });
});

describe('leaves', () => {
  const KEYS: readonly (readonly [name: string, columns: string, key: string, row: string])[] = [
    ['int', 'id int', 'id', 'g'],
    ['numeric', 'id numeric', 'id', 'g / 7.0'],
    ['text', 'id text', 'id', `chr(65 + g % 60) || g`],
    ['text with a collation', 'id text COLLATE "unicode"', 'id', `chr(65 + g % 60) || g`],
    ['uuid', 'id uuid', 'id', `md5(g::text)::uuid`],
    ['composite', 'a int, b text', 'a, b', `g % 3, 'k' || g`],
    ['composite of ids', 'a int, b int8', 'b, a', `g % 3, g`],
    ['mixed case', `"Order Id" int, "it's" text`, `"it's", "Order Id"`, `g, 'x''' || g`],
    ['domain', 'id small', 'id', 'g'],
    ['enum and date', `m mood, d date`, 'm, d', `'sad', '2024-01-01'::date + g`],
    [
      'timestamptz',
      'id timestamptz',
      'id',
      `'2024-01-01 00:00Z'::timestamptz + g * interval '1us'`,
    ],
    ['char', 'id char(8)', 'id', `'c' || g`],
    ['bytea', 'id bytea', 'id', `decode(md5(g::text), 'hex')`],
  ];

  test.each(KEYS)('of a key of type %s cover all rows, and find each kind', async (...key) => {
    const [, columns, keyColumns, row] = key;
    await reset();
    await both(`CREATE DOMAIN small AS int8; CREATE TYPE mood AS ENUM ('sad', 'glad')`);
    await both(`CREATE TABLE t (${columns}, value text, PRIMARY KEY (${keyColumns}))`);
    await both(`INSERT INTO t SELECT ${row}, 'v' || g FROM generate_series(1, 400) g`);
    expect(only(await compare())).toMatchObject({ state: 'equal', rows: 400, reason: null });
    await shadow.client.query(`UPDATE t SET value = 'other' WHERE value IN ('v17', 'v399')`);
    await shadow.client.query(`DELETE FROM t WHERE value IN ('v1', 'v200', 'v400')`);
    await production.client.query(`DELETE FROM t WHERE value IN ('v2')`);
    const comparison = await compare();
    expect(only(comparison)).toMatchObject({
      state: 'drift',
      rows: 399,
      missing: 3,
      extra: 1,
      changed: 2,
      complete: true,
    });
    const changed = comparison.differences.filter((row) => row.kind === 'changed');
    for (const row of changed) {
      expect(row.columns).toHaveLength(1);
      expect(row.columns[0]).toMatchObject({ name: 'value', shadow: 'other' });
    }
  });

  test('cross pages: 50 leaves to a statement, and nothing is read twice or lost', async () => {
    await reset();
    await both(`CREATE TABLE t (a int, b int, PRIMARY KEY (a, b))`);
    await both(`INSERT INTO t SELECT g / 9, g FROM generate_series(1, 1400) g`);
    for (const rows of [1_399, 1_400, 1_401, 700, 701]) {
      await both(`DELETE FROM t; INSERT INTO t SELECT g / 9, g FROM generate_series(1, ${rows}) g`);
      await using reader = await readNow(production.url);
      const table = {
        table: { schema: 'public', name: 't' },
        key: ['a', 'b'],
        columns: ['a', 'b'],
      };
      const leaves = (await collect(reader.cutLeaves(table, 7))).flat();
      expect(leaves.reduce((sum, leaf) => sum + leaf.rows, 0)).toBe(rows);
      expect(leaves.length).toBe(Math.ceil(rows / 7));
      expect(leaves[0]?.from).toBeNull();
      expect(leaves.at(-1)?.to).toBeNull();
      leaves.slice(1).forEach((leaf, i) => {
        expect(leaf.from).toEqual(leaves[i]?.to);
      });
      expect(only(await compare()).state).toBe('equal');
    }
  });

  test('rows outside production’s range, and in an empty table, are found as extra', async () => {
    await reset();
    await both(`CREATE TABLE empty (id int PRIMARY KEY); CREATE TABLE full_ (id int PRIMARY KEY)`);
    await both(`INSERT INTO full_ SELECT generate_series(10, 20)`);
    await shadow.client.query(`INSERT INTO empty VALUES (5)`);
    await shadow.client.query(`INSERT INTO full_ VALUES (-1), (99)`);
    const { tables } = await compare();
    expect(tables.map((table) => [table.table, table.extra])).toEqual([
      ['public.empty', 1],
      ['public.full_', 2],
    ]);
  });

  test('a table without key is compared as a bag: duplicates count', async () => {
    await reset();
    await both(`CREATE TABLE t (a int, b text)`);
    await both(`INSERT INTO t VALUES (1, 'x'), (1, 'x'), (2, NULL), (2, '')`);
    expect(only(await compare())).toMatchObject({ state: 'equal', rows: 4, leaves: 1 });
    await production.client.query(`INSERT INTO t VALUES (3, 'y'), (3, 'y')`);
    await shadow.client.query(`INSERT INTO t VALUES (1, 'x'), (1, 'x')`);
    expect(only(await compare())).toMatchObject({ state: 'drift', missing: 2, extra: 2 });
  });
});

describe('what cannot be compared', () => {
  test('tables and columns of one side only are drift, other types are inconclusive', async () => {
    await reset();
    await production.client.query(`
      CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, gone text);
      CREATE TABLE d (id int PRIMARY KEY, v int); CREATE TABLE e (id int PRIMARY KEY, o int)`);
    await shadow.client.query(`
      CREATE TABLE b (id int PRIMARY KEY, fresh text); CREATE TABLE c (id int PRIMARY KEY);
      CREATE TABLE d (id int PRIMARY KEY, v text); CREATE TABLE e (o int PRIMARY KEY, id int)`);
    const { tables } = await compare();
    expect(tables.map((table) => [table.table, table.state, table.reason?.code])).toEqual([
      ['public.a', 'drift', 'table-missing'],
      ['public.b', 'drift', 'column-missing'],
      ['public.d', 'not-compared', 'types-differ'],
      ['public.e', 'not-compared', 'key-differs'],
      ['public.c', 'drift', 'table-extra'],
    ]);
  });

  test('a table truncated after the snapshot is not compared, and no false drift', async () => {
    await reset();
    await both(`CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)`);
    await both(`INSERT INTO t VALUES (1), (2); INSERT INTO u VALUES (1)`);
    await using reader = await readNow(production.url);
    await production.client.query(`TRUNCATE t`);
    const table = { table: { schema: 'public', name: 't' }, key: ['id'], columns: ['id'] };
    await expect(collect(reader.cutLeaves(table, 5))).rejects.toMatchObject({
      code: 'TABLE_REWRITTEN',
    });
    const other = { ...table, table: { schema: 'public', name: 'u' } };
    expect((await collect(reader.cutLeaves(other, 5))).flat()).toHaveLength(1);
  });

  test('a table that may not be read spoils itself only', async () => {
    await reset();
    await both(`CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)`);
    await production.client.query(`
      DROP ROLE IF EXISTS half_reader; CREATE ROLE half_reader LOGIN;
      GRANT USAGE ON SCHEMA public TO half_reader; GRANT SELECT ON u TO half_reader`);
    const url = new URL(production.url);
    url.username = 'half_reader';
    const { tables } = await compareDatabases(url.href, shadow.url);
    expect(tables.map((table) => [table.table, table.state, table.reason?.code])).toEqual([
      ['public.t', 'not-compared', 'table-unreadable'],
      ['public.u', 'equal', undefined],
    ]);
    await production.client.query(`DROP OWNED BY half_reader; DROP ROLE half_reader`);
  });

  test('an abort stops between two statements with its reason', async () => {
    await reset();
    await both(`CREATE TABLE t (id int PRIMARY KEY)`);
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(compareDatabases(production.url, shadow.url, { signal })).rejects.toThrow(
      'enough',
    );
  });
});

/** Type, what a person writes, how the column spells it; null is no value of the type. */
const SPELLED: readonly (readonly [type: string, written: string, spelled: string | null])[] = [
  ['int4', ' 007 ', '7'],
  ['int4', 'x', null],
  ['int4', '99999999999', null],
  ['numeric(6,2)', '1.5', '1.50'],
  ['uuid', '{C0FFEE00-1234-4000-8000-000000000001}', 'c0ffee00-1234-4000-8000-000000000001'],
  ['uuid', 'c0ffee', null],
  ['timestamptz', '2024-01-01T01:00+01', '2024-01-01 00:00:00+00'],
  ['date', '2024-02-30', null],
  ['text', `it's \\ "ü" `, `it's \\ "ü" `],
  ['text', '', ''],
  ['numeric(6,2)', '1.555', null],
  ['varchar(3)', 'abc', 'abc'],
  ['varchar(3)', 'abcd', null],
  ['char(5)', 'ab', 'ab   '],
  ['char(5)', 'abcdef', null],
  ['bit(5)', '10110', '10110'],
  ['bit(5)', '101', null],
  ['timestamp(0)', '2024-01-01 00:00:00.6', null],
  ['short', 'ab', 'ab'],
  ['short', 'abc', null],
  ['bytea', '\\xC0', '\\xc0'],
  ['mood', 'glad', 'glad'],
  ['mood', 'angry', null],
  ['even', '2', '2'],
  ['even', '3', null],
  ['citext', 'Word', 'Word'],
];

describe('rows by their keys', () => {
  test('a person’s words become the key as the column spells it, and find the row', async () => {
    await reset();
    await both(`CREATE EXTENSION citext SCHEMA public;
      CREATE TYPE public.mood AS ENUM ('sad', 'glad');
      CREATE DOMAIN public.short AS varchar(2);
      CREATE DOMAIN public.even AS int CHECK (VALUE % 2 = 0)`);
    for (const [i, [type, written, spelled]] of SPELLED.entries()) {
      await production.client.query(`CREATE TABLE public.t${i} (k ${type} PRIMARY KEY, v int)`);
      if (spelled === null) continue;
      await production.client.query(`INSERT INTO public.t${i} VALUES ($1, ${i})`, [written]);
    }
    await using reader = await readNow(production.url);
    for (const [i, [type, written, spelled]] of SPELLED.entries()) {
      const table = { table: { schema: 'public', name: `t${i}` }, key: ['k'], columns: ['v'] };
      const key = await reader.spellKey(table, [written]);
      expect(key, `${type} ${written}`).toEqual(spelled === null ? null : [spelled]);
      if (key === null) continue;
      const rows = await reader.rows(table, [key]);
      expect(rows, `${type} ${written}`).toEqual([{ key, values: [String(i)] }]);
    }
  });

  test('texts are found by the key’s index, exactly', async () => {
    await reset();
    await production.client.query(`
      CREATE COLLATION public.shouting
        (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
      CREATE TABLE public.t (a text COLLATE public.shouting, b char(6), c int, v int,
        PRIMARY KEY (a, b, c));
      INSERT INTO public.t SELECT 'Word' || g, 'b', g % 3, g FROM generate_series(1, 20000) g;
      ANALYZE public.t`);
    const { client } = production;
    const table = { table: { schema: 'public', name: 't' }, key: ['a', 'b', 'c'], columns: ['v'] };
    const wanted = [
      ['Word7', 'b     ', '1'],
      ['word8', 'b     ', '2'],
      ['Word9', 'b     ', '0'],
    ];
    await using reader = await readNow(production.url);
    const found = new Set((await reader.rows(table, wanted)).map(({ values: [v] }) => v));
    expect(found).toEqual(new Set(['7', '9']));
    const type = (name: string): HashedType => ({ name, builtIn: true, domain: false });
    const prepared = prepareTable(
      table,
      'public.t',
      new Map([
        ...[['a', type('text')] as const, ['b', type('bpchar')] as const],
        ...[['c', type('int4')] as const, ['v', type('int4')] as const],
      ]),
    );
    const plan = await client.query({
      text: `EXPLAIN ${rowsByKeySql(prepared, wanted)}`,
      rowMode: 'array',
    });
    expect(plan.rows.join('\n')).toMatch(/Index (Only )?Scan/);
  });
});
