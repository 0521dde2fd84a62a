/** A candidate's migration where our account is no superuser, with and without the right to bypass triggers. */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { MigratingShadow } from '../../src/dialect/migrating.ts';
import { connectShadow } from '../../src/dialect/postgres/shadow/server.ts';
import { databaseUrl, dropDatabase } from '../support/postgres.ts';
import { postgresUrl } from '../support/test-database.ts';
import { batchOf, openTrunk, put } from './mysql.fixture.ts';
import { freshName, planOf, session } from './shadow.fixture.ts';

const ITEM = `CREATE TABLE item (id int PRIMARY KEY, name text, old text);
  CREATE TABLE part (id int PRIMARY KEY, item int REFERENCES item)`;

async function asAdmin(act: (client: pg.Client) => Promise<void>): Promise<void> {
  const client = new pg.Client({ connectionString: postgresUrl() });
  await client.connect();
  try {
    await act(client);
  } finally {
    await client.end();
  }
}

describe.each([
  ['a plain account', ''],
  [
    'one that may bypass triggers',
    'GRANT SET ON PARAMETER session_replication_role, deadlock_timeout TO',
  ],
])('%s', (_, grant) => {
  const account = `migrates_${randomBytes(4).toString('hex')}`;

  beforeAll(async () => {
    await asAdmin(async (client) => {
      await client.query(
        `CREATE ROLE ${account} NOSUPERUSER CREATEDB CREATEROLE LOGIN PASSWORD 'x'`,
      );
      if (grant !== '') await client.query(`${grant} ${account}`);
    });
  });

  afterAll(async () => {
    await asAdmin(async (client) => {
      const { rows } = await client.query<{ name: string }>(
        `SELECT datname AS name FROM pg_database WHERE pg_get_userbyid(datdba) = '${account}'`,
      );
      for (const { name } of rows) await dropDatabase(postgresUrl(), name);
      await client.query(`DROP OWNED BY ${account}; DROP ROLE ${account}`);
    });
  });

  it('lets the candidate migrate, and has its tables again', async () => {
    const url = new URL(postgresUrl());
    url.username = account;
    url.password = 'x';
    const server = await connectShadow(url.href);
    onTestFinished(() => server[Symbol.asyncDispose]());
    const [trunk, name] = [freshName('trunk'), freshName('rollout')];
    await server.createTrunk({ name: trunk, topicPrefix: 'p', plan: planOf(ITEM) });
    await server.clone({ from: trunk, to: name, rolloutName: 'next' });
    onTestFinished(() => server.drop({ database: name, role: name }));
    const database = (await openTrunk(server, name)) as MigratingShadow;
    const fence = await database.takeFence('test');
    if (fence === null) throw new Error('the fence of a new rollout is taken');
    await database.installOverlay(fence);
    const candidate = await server.createCandidateRole({
      database: name,
      role: name,
      password: 'p',
    });
    const table = { schema: 'public', name: 'item' };
    const apply = (...changes: readonly ReturnType<typeof put>[]) =>
      database.apply(fence, batchOf([{ kind: 'rows', table, changes }]));
    await apply(...['1', '2', '3'].map((id) => put(['id'], { id, name: `n${id}`, old: 'o' })));
    const user = await session(candidate.url);
    await user.query(`UPDATE item SET name = 'mine' WHERE id = 2`);
    await user.end();

    const account2 = await database.migrations.begin(fence, { role: name, renames: [] });
    const migrating = await session(account2.url);
    await migrating.query(
      `ALTER TABLE item DROP COLUMN old; ALTER TABLE item ADD COLUMN n int NOT NULL DEFAULT 5;
      CREATE TABLE own (id serial PRIMARY KEY, v text); INSERT INTO own (v) VALUES ('a');
      CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO own (v) VALUES (NEW.name); RETURN NEW; END $$;
      CREATE TRIGGER notes AFTER INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION noted();
      CREATE VIEW named AS SELECT id, name FROM item`,
    );
    await expect(migrating.query('SELECT * FROM understudy.marker')).rejects.toMatchObject({
      code: '42501',
    });
    const outcome = await database.migrations.end(fence);
    expect(outcome).toMatchObject({
      reshaped: [{ table, without: ['old'], own: ['n'] }],
      own: [{ schema: 'public', name: 'own' }],
    });
    await apply(
      put(['id'], { id: '1', name: 'later', old: 'p' }),
      put(['id'], { id: '4', name: 'n4', old: 'q' }),
    );
    const admin = await session(databaseUrl(postgresUrl(), name));
    const rows = async (sql: string) =>
      (await admin.query<unknown[]>({ text: sql, rowMode: 'array' })).rows;
    expect(await rows('SELECT id, name, old FROM public__production.item ORDER BY id')).toEqual([
      ...[
        [1, 'later', 'p'],
        [2, 'n2', 'o'],
        [3, 'n3', 'o'],
        [4, 'n4', 'q'],
      ],
    ]);
    expect(await rows('SELECT id, name, n FROM item ORDER BY id')).toEqual([
      ...[
        [1, 'later', 5],
        [2, 'mine', 5],
        [3, 'n3', 5],
        [4, 'n4', 5],
      ],
    ]);
    // The candidate's new trigger acts for it, and not on what is applied.
    expect(await rows('SELECT v FROM own')).toEqual([['a']]);
    const again = await session(candidate.url);
    await again.query(`UPDATE item SET name = 'seen' WHERE id = 3`);
    expect((await again.query('SELECT name FROM named WHERE id = 3')).rows).toEqual([
      { name: 'seen' },
    ]);
    expect(await rows('SELECT v FROM own ORDER BY id')).toEqual([['a'], ['seen']]);
    expect(
      await rows(
        `SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relkind = 'r' AND relname IN ('item', 'own')`,
      ),
    ).toEqual([[account], [account]]);
    await again.end();
  });
});
