import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Diagnosis, ProductionDatabase } from '../../src/dialect/dialect.ts';
import { connectProduction } from '../../src/dialect/postgres/production/production.ts';
import { ProductionSessions } from '../../src/dialect/postgres/production/production-session.ts';
import { freePort } from '../support/process/ports.ts';
import { testDatabase, type TestDatabase } from '../support/test-database.ts';

const SCHEMA = `
CREATE TYPE mood AS ENUM ('a'); CREATE TYPE pair AS (x int, y int);
CREATE TABLE fine (id int PRIMARY KEY, n numeric(10,2), t text);
CREATE TABLE toasty (id int PRIMARY KEY, n numeric, b bytea, a mood[], t text);
CREATE TABLE full_toasty (id int PRIMARY KEY, n numeric);
ALTER TABLE full_toasty REPLICA IDENTITY FULL;
CREATE TABLE keyless (a int);
CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
CREATE TABLE by_index (id int PRIMARY KEY, u int NOT NULL UNIQUE);
ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_u_key;
CREATE TABLE by_key (id int PRIMARY KEY); ALTER TABLE by_key REPLICA IDENTITY USING INDEX by_key_pkey;
CREATE TABLE odd (id int PRIMARY KEY, p pair, l line, m int4multirange, x xml[], ok int4range);
CREATE UNLOGGED TABLE volatile (id int PRIMARY KEY);
CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE secret (id int PRIMARY KEY);
CREATE TABLE guarded (id int PRIMARY KEY); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE PUBLICATION whole FOR TABLE fine, toasty, full_toasty, keyless, nothing, by_index, by_key,
  odd, secret, guarded;
CREATE PUBLICATION without_truncate FOR TABLE parts WITH (publish = 'insert, update, delete');
`;

describe('production', () => {
  let database: TestDatabase;
  let role: string;
  let production: ProductionDatabase;

  async function asOwner(sql: string): Promise<void> {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    try {
      await client.query(sql);
    } finally {
      await client.end();
    }
  }

  beforeAll(async () => {
    database = await testDatabase('prod');
    role = `reader_${database.name}`;
    await asOwner(`${SCHEMA}; CREATE ROLE ${role} LOGIN PASSWORD 'hush';
      GRANT SELECT ON ALL TABLES IN SCHEMA public TO ${role}; REVOKE SELECT ON secret FROM ${role}`);
    const url = new URL(database.url);
    url.username = role;
    url.password = 'hush';
    production = await connectProduction(url.href);
  });
  afterAll(async () => {
    await production[Symbol.asyncDispose]();
    await asOwner(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  });

  const diagnose = (...names: string[]): Promise<readonly Diagnosis[]> =>
    production.diagnose(
      names.map((name) => ({ schema: 'public', name })),
      null,
    );
  const ofTable = async (name: string): Promise<readonly string[]> =>
    (await diagnose(name))
      .filter(({ id }) => id.startsWith('table.'))
      .map(({ id, level }) => `${id} ${level}`);

  test('tells who it is, with a plain account', async () => {
    const identity = await production.identity();
    expect(identity.systemId).toMatch(/^\d{15,}$/);
    expect(identity.inRecovery).toBe(false);
    // Tests beside this one have slots on the same server.
    await expect
      .poll(async () => {
        const client = new pg.Client({ connectionString: database.url });
        await client.connect();
        const { rows } = await client.query<{ name: string }>(
          `SELECT slot_name AS name FROM pg_replication_slots WHERE slot_type = 'logical' ORDER BY 1`,
        );
        await client.end();
        const { slots } = await production.identity();
        return slots.join() === rows.map(({ name }) => name).join();
      })
      .toBe(true);
    expect(production.address).toBe(`127.0.0.1:${new URL(database.url).port}/${database.name}`);
  });

  test('holds the probe lock until it is disposed', async () => {
    const probe = 9_007_199_254_740_993n;
    const free = async (): Promise<boolean> => {
      const client = new pg.Client({ connectionString: database.url });
      await client.connect();
      const { rows } = await client.query<{ free: boolean }>(
        `SELECT pg_try_advisory_lock($1::bigint) AS free`,
        [probe.toString()],
      );
      await client.end();
      return rows[0]?.free === true;
    };
    const lock = await production.holdProbeLock(probe);
    expect(await free()).toBe(false);
    await lock[Symbol.asyncDispose]();
    expect(await free()).toBe(true);
  });

  test('plans the shadow and pins a snapshot, writing no row', async () => {
    await expect(production.planShadow()).rejects.toMatchObject({
      code: 'TABLE_IDENTITY',
      context: { table: 'public.by_index' },
    });
    const left = new Set(['odd', 'by_index']);
    const plan = await production.planShadow((table) => !left.has(table.name));
    expect(plan.tables.map((table) => table.name)).toContain('toasty');
    expect(plan.tables.map((table) => table.name)).not.toContain('odd');
    const pin = await production.pin();
    expect(pin.marker).toBeGreaterThan(0n);
    expect((await pin.reader.tables()).has('public.fine')).toBe(true);
    await pin[Symbol.asyncDispose]();
    expect((await production.view()).snapshot).toMatch(/^\d+:\d+:/);
  });

  test('cannot be written to, even by an account that may', async () => {
    const client = await new ProductionSessions(database.url).open();
    await expect(client.query('CREATE TABLE oops ()')).rejects.toMatchObject({ code: '25006' });
    await expect(client.query('DELETE FROM fine')).rejects.toMatchObject({ code: '25006' });
    const { rows } = await client.query('SHOW application_name');
    expect(rows).toEqual([{ application_name: 'understudy' }]);
    await client.end();
  });

  test('finds the server’s settings in order', async () => {
    const found = await diagnose();
    expect(found.map(({ id, level }) => `${id} ${level}`)).toEqual([
      'production.version ok',
      'production.wal-level ok',
    ]);
  });

  test('finds a domain over an enum, which stops the connector', async () => {
    await asOwner('CREATE DOMAIN feeling AS mood');
    const found = await diagnose();
    await asOwner('DROP DOMAIN feeling');
    const trap = found.find(({ id }) => id === 'production.enum-domain');
    expect(trap?.level).toBe('error');
    expect(trap?.message).toContain('feeling');
  });

  test.each([
    ['fine', ['table.ready ok']],
    ['toasty', ['table.toast warning', 'table.null-elements warning']],
    ['full_toasty', ['table.ready ok']],
    ['keyless', ['table.key error']],
    ['nothing', ['table.identity error']],
    ['by_index', ['table.identity error']],
    ['by_key', ['table.ready ok']],
    ['odd', ['table.type warning', 'table.array-type warning']],
    ['volatile', ['table.unlogged error', 'table.publication warning']],
    ['parts', ['table.truncate warning', 'table.partitions error']],
    ['parts_1', ['table.truncate warning']],
    ['secret', ['table.select error']],
    ['guarded', ['table.row-security error']],
    ['absent', ['table.missing error']],
  ])('finds the traps of table %s', async (name, expected) => {
    const found = await ofTable(name);
    expect(found).toEqual(expected);
  });

  test('names the columns of a trap and a cure that can be run', async () => {
    const [trap] = (await diagnose('toasty')).filter(({ id }) => id === 'table.toast');
    expect(trap?.message).toContain('n, b, a');
    expect(trap?.cure).toBe('ALTER TABLE "public"."toasty" REPLICA IDENTITY FULL.');
    const [types] = (await diagnose('odd')).filter(({ id }) => id === 'table.type');
    expect(types?.message).toContain('p, l, m');
  });
});

test('an unreachable production is named without its password', async () => {
  const port = await freePort();
  const url = `postgres://someone:topsecret@127.0.0.1:${String(port)}/shop`;
  const failure = await connectProduction(url).catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: 'PRODUCTION_UNREACHABLE' });
  expect(String(failure)).toContain(`127.0.0.1:${String(port)}/shop`);
  expect(JSON.stringify(failure) + String(failure)).not.toContain('topsecret');
  await expect(connectProduction('not a url')).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
});
