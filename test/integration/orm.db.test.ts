/**
 * A release's ORM, unchanged: its migrations through the migrating account, or where the candidate migrates by
 * itself with its own address, its queries as the candidate. They
 * find in a rollout what they find in a database of their own, and production goes on beside.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import mysql from 'mysql2/promise';
import pg from 'pg';
import { describe, expect, it, onTestFinished } from 'vitest';
import { migrateByOrm, PRODUCTION, queryByOrm } from '../support/orm.ts';
import { createDatabase, databaseUrl, dropDatabase } from '../support/postgres.ts';
import { postgresUrl } from '../support/test-database.ts';
import { assertLetsMigrate, letMigrate } from '../../src/dialect/migrating.ts';
import { put, serverOf } from './mysql.fixture.ts';
import { ALL_ENGINES, anyRollout, type AnyEngine, type AnyRollout } from './rollout.fixture.ts';

const ROWS = [
  ...[1, 2, 3].map((n) => ({
    table: 'customer',
    row: { id: String(n), email: `c${n}@x`, name: `c${n}`, note: `n${n}`, fax: `f${n}` },
  })),
  ...[1, 2, 3, 4].map((n) => ({
    table: 'purchase',
    row: { id: String(n), customer_id: String((n % 3) + 1), total: String(n * 40), state: 'open' },
  })),
];

/** A database that is nobody's but the release's, with production's tables and rows. */
async function plainDatabase(engine: AnyEngine): Promise<string> {
  const name = `orm_${randomBytes(4).toString('hex')}`;
  const inserts = ROWS.map(
    ({ table, row }) =>
      `INSERT INTO ${table} (${Object.keys(row).join(', ')})
        VALUES (${Object.values(row)
          .map((value) => `'${value}'`)
          .join(', ')})`,
  );
  if (engine === 'postgresql') {
    await createDatabase(postgresUrl(), name);
    onTestFinished(() => dropDatabase(postgresUrl(), name));
    const url = databaseUrl(postgresUrl(), name);
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await client.query([...PRODUCTION, ...inserts].join(';'));
    await client.end();
    return url;
  }
  const { url } = await serverOf(engine);
  const client = await mysql.createConnection({ uri: url });
  await client.query(`CREATE DATABASE ${name} CHARACTER SET utf8mb4`);
  await client.query(`USE ${name}`);
  for (const sql of [...PRODUCTION, ...inserts]) await client.query(sql);
  onTestFinished(async () => {
    await client.query(`DROP DATABASE ${name}`);
    await client.end();
  });
  return `${url}${name}`;
}

/** Migrates; what came of it is looked at afterwards. */
type Migrate = (at: AnyRollout, client: 'pg' | 'mysql2') => Promise<readonly string[]>;

async function migratesAndQueries(engine: AnyEngine, migrate: Migrate): Promise<void> {
  const client = engine === 'postgresql' ? 'pg' : 'mysql2';
  const plain = await plainDatabase(engine);
  const at = await anyRollout(engine, ...PRODUCTION);
  const [customer, purchase] = ['customer', 'purchase'].map((table) =>
    ROWS.filter((one) => one.table === table).map(({ row }) => put(['id'], row)),
  );
  await at.apply(
    at.step('customer', ...(customer ?? [])),
    at.step('purchase', ...(purchase ?? [])),
  );
  const images = async () => [
    await at.production('customer', 'id, email, name, note, fax'),
    (await at.production('purchase', 'id, customer_id, total, state')).map((row) =>
      row.map(String),
    ),
  ];
  const before = await images();
  expect(await migrate(at, client)).toEqual(await migrateByOrm(client, plain));
  expect(await images()).toEqual(before);
  const found = await queryByOrm(client, at.url);
  expect(found).toEqual(await queryByOrm(client, plain));
  expect(await images()).toEqual(before);
  // Run again there is nothing to do, and production goes on into what it made.
  await at.apply(
    at.step(
      'customer',
      put(['id'], { id: '3', email: 'c3@x', name: 'later', note: 'l', fax: 'l' }),
    ),
    at.step('purchase', put(['id'], { id: '9', customer_id: '3', total: '1', state: 'new' })),
  );
  expect(await at.rows('SELECT name, full_name FROM customer WHERE id = 3')).toEqual([
    ['later', 'C3'],
  ]);
  expect(await at.rows('SELECT state FROM purchase WHERE id = 9')).toEqual([['new']]);
  expect(await at.production('customer', 'id, fax')).toContainEqual([3, 'l']);
}

describe.each(ALL_ENGINES)('an ORM on %s', (engine) => {
  it('migrates and queries a rollout as it does a database of its own', async () => {
    await migratesAndQueries(engine, async ({ database, fence, role }, client) => {
      const { url } = await database.migrations.begin(fence, { role, renames: [] });
      const run = await migrateByOrm(client, url);
      const outcome = await database.migrations.end(fence);
      expect(outcome.notCaptured).toEqual([]);
      expect(outcome.own.map(({ name }) => name)).toEqual(
        expect.arrayContaining(['tag', 'purchase_tag', 'knex_migrations']) as string[],
      );
      return run;
    });
  });
});

describe('an ORM that migrates by itself', () => {
  it('does so with the rollout’s own address, while production is applied', async () => {
    await migratesAndQueries('postgresql', async (at, client) => {
      await letMigrate(at.database, at.fence, at.role);
      let over = false;
      const follow = async (): Promise<void> => {
        for (; !over; await sleep(30)) {
          const same = at.step('purchase', put(['id'], ROWS.at(-1)?.row ?? {}));
          await at.apply(same).catch((error: unknown) => {
            if ((error as { code?: string }).code !== 'APPLY_BLOCKED') throw error;
          });
        }
      };
      const [run] = await Promise.all([
        migrateByOrm(client, at.url).finally(() => {
          over = true;
        }),
        follow(),
      ]);
      // What was begun last is ended.
      expect(await at.database.watchCapture(at.fence)).toEqual([]);
      return run;
    });
  });

  it('is refused where the engine does not notice it', async () => {
    const at = await anyRollout('mysql', 'CREATE TABLE thing (id INT PRIMARY KEY)');
    await expect(letMigrate(at.database, at.fence, at.role)).rejects.toMatchObject({
      code: 'UNSUPPORTED',
    });
    const error: unknown = await assertLetsMigrate(at.server).catch((e: unknown) => e);
    expect(JSON.stringify(error)).toContain('rollout migrate');
  });
});
