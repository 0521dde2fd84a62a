import pg from 'pg';
import { beforeAll, describe, expect, test } from 'vitest';
import type { TableId } from '../../src/change/table-id.ts';
import { runPlan } from '../../src/dialect/postgres/schema/apply-plan.ts';
import { planFromProduction } from '../../src/dialect/postgres/schema/plan-from-production.ts';
import type { ShadowPlan } from '../../src/schema/shadow-plan.ts';
import { databaseUrl } from '../support/postgres.ts';
import { postgresUrl, testDatabase, type TestDatabase } from '../support/test-database.ts';
import { CATALOGUE_QUERIES, NOT_CARRIED_SCHEMA, RICH_SCHEMA } from './introspect.fixture.ts';

async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

const planOf = (url: string, include?: (table: TableId) => boolean): Promise<ShadowPlan> =>
  withClient(url, (client) => planFromProduction(client, include));
const run = (url: string, plan: ShadowPlan): Promise<{ readonly skipped: readonly string[] }> =>
  withClient(url, (client) => runPlan(client, plan));
const sqlOf = (plan: ShadowPlan): readonly string[] => plan.statements.map((one) => one.sql);
const notCarried = (plan: ShadowPlan): readonly string[] =>
  plan.notCarried.map(({ what, why }) => `${what}: ${why}`);

/** The catalogue as other queries than ours tell it. */
async function catalogueOf(url: string): Promise<Record<string, readonly string[]>> {
  return withClient(url, async (client) => {
    const found: Record<string, readonly string[]> = {};
    for (const [name, sql] of Object.entries(CATALOGUE_QUERIES)) {
      const { rows } = await client.query<{ line: string }>(sql);
      found[name] = rows.map((row) => row.line).sort();
    }
    return found;
  });
}

describe('a plan made from the catalogue', () => {
  let production: TestDatabase;
  let plan: ShadowPlan;
  beforeAll(async () => {
    production = await testDatabase('production');
    await withClient(production.url, (client) => client.query(RICH_SCHEMA));
    plan = await planOf(production.url);
  });

  test('makes the same catalogue again, by its own account and by that of others', async () => {
    const shadow = await testDatabase('shadow');
    const { skipped } = await run(shadow.url, plan);
    expect(skipped).toEqual([]);
    expect(sqlOf(await planOf(shadow.url))).toEqual(sqlOf(plan));
    const made = await catalogueOf(shadow.url);
    const wanted = await catalogueOf(production.url);
    for (const name of Object.keys(CATALOGUE_QUERIES)) {
      expect(made[name], name).toEqual(wanted[name]);
      expect(wanted[name]?.length, name).toBeGreaterThan(0);
    }
    // Triggers that fire for replicated changes would repeat what the event log brings.
    const states = await withClient(shadow.url, (client) =>
      client.query(`SELECT DISTINCT tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1`),
    );
    expect(states.rows).toEqual([{ tgenabled: 'D' }, { tgenabled: 'O' }]);
  });

  test('lists the tables and names every statement', () => {
    expect(plan.tables).toContainEqual({ schema: 'public', name: 'Customers' });
    expect(plan.tables).toContainEqual({ schema: 'public', name: 'event_2026_a' });
    expect(plan.statements.filter((statement) => statement.what === '')).toEqual([]);
  });

  test('reads the same with no more rights than SELECT and USAGE, and writes nothing', async () => {
    const role = `reader_${production.name}`;
    await withClient(production.url, async (client) => {
      await client.query(`CREATE ROLE ${role} LOGIN PASSWORD 'x';
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO ${role};
        GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO ${role};
        ALTER ROLE ${role} SET default_transaction_read_only = on`);
    });
    const url = new URL(production.url);
    url.username = role;
    try {
      expect(sqlOf(await planOf(url.href))).toEqual(sqlOf(plan));
    } finally {
      await withClient(production.url, (client) =>
        client.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`),
      );
    }
  });

  test('reports a sequence whose value may not be read', async () => {
    const role = `blind_${production.name}`;
    await withClient(production.url, (client) =>
      client.query(`CREATE ROLE ${role} LOGIN PASSWORD 'x'`),
    );
    const url = new URL(production.url);
    url.username = role;
    try {
      const blind = await planOf(url.href);
      expect(notCarried(blind)).toContain(
        'value of sequence public.preset: the account may not SELECT from it',
      );
    } finally {
      await withClient(production.url, (client) => client.query(`DROP ROLE ${role}`));
    }
  });

  test('leaves out excluded tables, and says what needed them', async () => {
    const excluded = new Set(['chicken', 'event']);
    const filtered = await planOf(production.url, (table) => !excluded.has(table.name));
    const shadow = await testDatabase('filtered');
    const { skipped } = await run(shadow.url, filtered);
    expect(skipped).toEqual([]);
    const names = filtered.tables.map((table) => table.name);
    expect(names).not.toContain('chicken');
    expect(names).toContain('egg');
    expect(names).not.toContain('event_2025');
    const report = notCarried(filtered);
    expect(report).toContain(
      'table public.event_2025: ' +
        'a partition goes the way of its partitioned table, which is excluded',
    );
    expect(report).toContain(
      'foreign key egg_chicken_fkey of table public.egg: ' +
        'it needs table public.chicken, which is not carried over',
    );
    expect(report.some((line) => line.startsWith('materialized view public.monthly: '))).toBe(true);
    expect(report.some((line) => line.startsWith('trigger off'))).toBe(false);
    const again = await planOf(shadow.url);
    expect(sqlOf(again)).toEqual(sqlOf(filtered));
  });
});

test('what is not carried over is reported, with what depends on it', async () => {
  const production = await testDatabase('partly');
  await withClient(production.url, async (client) => {
    await client.query(RICH_SCHEMA);
    await client.query(NOT_CARRIED_SCHEMA);
  });
  const plan = await planOf(production.url);
  const report = notCarried(plan);
  for (const expected of [
    'rule no_delete of public.chicken: rules are not carried over',
    'publication pub: nothing replicates from the shadow',
    'event trigger watch: it would fire for what understudy itself does',
    'foreign table public.remote: the shadow reaches no other server',
    'view public.on_remote: it needs foreign table public.remote, which is not carried over',
    'view public.on_view_on_remote: it needs view public.on_remote, which is not carried over',
    'cast (public.mood AS integer): casts are not carried over',
    'operator public.<<<(pg_catalog.text,pg_catalog.text): operators are not carried over',
    'row security of table public.egg: roles of the shadow differ from production’s',
    'owners, roles and grants: the shadow has roles of its own',
    'schema understudy with all it holds: understudy uses this name in its own databases',
    'rows of table public.cache: an unlogged table is in no event log; it stays empty',
    '1 large objects: they are in no event log',
  ]) {
    expect(report).toContain(expected);
  }
  expect(report.filter((line) => line.includes('multirange'))).toEqual([]);
  const shadow = await testDatabase('partly_shadow');
  expect((await run(shadow.url, plan)).skipped).toEqual([]);
});

describe('running a plan', () => {
  const statement = (sql: string, what: string, optional: boolean, needs: string[] = []) => ({
    sql,
    what,
    optional,
    needs,
  });

  test('skips what is optional and fails, with what needs it', async () => {
    const shadow = await testDatabase('skips');
    const plan = {
      statements: [
        statement('CREATE TABLE t (id int)', 'table t', false),
        statement('CREATE EXTENSION no_such_extension', 'extension x', true),
        statement('CREATE VIEW v AS SELECT 1', 'view v', true, ['extension x']),
        statement('CREATE VIEW w AS SELECT id FROM t', 'view w', true, ['table t']),
      ],
      notCarried: [],
      tables: [],
    };
    const { skipped } = await run(shadow.url, plan);
    expect(skipped).toHaveLength(2);
    expect(skipped[0]).toMatch(/^extension x: SQLSTATE 0A000 /);
    expect(skipped[1]).toBe('view v: it needs extension x');
  });

  test('leaves nothing behind when a statement that must succeed fails, and names it', async () => {
    const shadow = await testDatabase('fails');
    const plan = {
      statements: [
        statement('CREATE TABLE t (id int)', 'table t', false),
        statement('CREATE EXTENSION no_such_extension', 'extension x', true),
        statement('CREATE TABLE u (g no_such_type)', 'table u', false, ['extension x']),
      ],
      notCarried: [],
      tables: [],
    };
    await expect(run(shadow.url, plan)).rejects.toMatchObject({
      code: 'SCHEMA_FAILED',
      message: 'cannot make table u',
      context: { detail: expect.stringContaining('it needs extension x, which failed') as string },
    });
    expect((await planOf(shadow.url)).tables).toEqual([]);
  });

  test('reports how far it is, and leaves no setting behind', async () => {
    const shadow = await testDatabase('progress');
    await withClient(shadow.url, async (client) => {
      const seen: string[] = [];
      const sql = `SELECT set_config('search_path', '', false)`;
      const plan = { statements: [statement(sql, 'a', false)], notCarried: [], tables: [] };
      await runPlan(client, plan, (done, total) => seen.push(`${done}/${total}`));
      expect(seen).toEqual(['0/1', '1/1']);
      const { rows } = await client.query('SHOW search_path');
      expect(rows).toEqual([{ search_path: '"$user", public' }]);
    });
  });
});

test('a lost connection is not taken for a faulty schema', async () => {
  const shadow = await testDatabase('lost');
  const plan = {
    statements: [
      { sql: 'SELECT pg_terminate_backend(pg_backend_pid())', what: 'end', optional: true },
      { sql: 'CREATE TABLE t ()', what: 'table t', optional: false },
    ],
    notCarried: [],
    tables: [],
  };
  const client = new pg.Client({ connectionString: databaseUrl(postgresUrl(), shadow.name) });
  client.on('error', () => undefined);
  await client.connect();
  await expect(runPlan(client, plan)).rejects.toMatchObject({ code: 'SHADOW_UNREACHABLE' });
  await client.end();
});
