/**
 * A candidate that migrates by itself, with its own URL, while production's changes are applied. What it leaves is
 * what the same statements leave by `rollout migrate`, and production's image is production at all times.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { describe, expect, it, onTestFinished } from 'vitest';
import { letMigrate, ownMigrationsOf } from '../../src/dialect/migrating.ts';
import { partitionKey, START } from '../../src/change/position.ts';
import type { HolderNote } from '../../src/dialect/dialect.ts';
import { shareFence, type SharedShadow } from '../../src/dialect/sharing.ts';
import { waitingOf } from '../../src/dialect/waiting.ts';
import { databaseUrl } from '../support/postgres.ts';
import { postgresUrl } from '../support/test-database.ts';
import { expectExact, row, scene } from './migrating.fixture.ts';
import { batchOf, gone, put } from './mysql.fixture.ts';
import { anyRollout, type AnyRollout } from './rollout.fixture.ts';
import { session } from './shadow.fixture.ts';

/** Each with what is looked at of the tables after it. */
const MIGRATIONS = {
  'adds a column': ['ALTER TABLE thing ADD COLUMN extra int NOT NULL DEFAULT 3', 'thing'],
  'drops a column': ['ALTER TABLE thing DROP COLUMN old', 'thing'],
  'renames a column': ['ALTER TABLE thing RENAME COLUMN note TO remark', 'thing'],
  'renames a table': ['ALTER TABLE thing RENAME TO goods', 'goods'],
  'gives a column another type': [
    `ALTER TABLE thing ALTER COLUMN qty TYPE numeric(12, 2) USING qty::numeric * 1`,
    'thing',
  ],
  'demands values': ['ALTER TABLE thing ALTER COLUMN name SET NOT NULL', 'thing'],
  'adds a unique key': ['ALTER TABLE thing ADD CONSTRAINT one_note UNIQUE (note)', 'thing'],
  'adds a unique index': ['CREATE UNIQUE INDEX one_note ON thing (note)', 'thing'],
  'adds a check': ['ALTER TABLE thing ADD CHECK (qty < 1000)', 'thing'],
  'makes a table': [
    `CREATE TABLE coupon (id int PRIMARY KEY, thing int REFERENCES thing); INSERT INTO coupon VALUES (1, 1)`,
    'coupon',
  ],
  'drops a table': ['DROP TABLE other', 'thing'],
  expands: [
    `ALTER TABLE thing ADD COLUMN full_name text; UPDATE thing SET full_name = upper(name)`,
    'thing',
  ],
  'expands and contracts': [
    `ALTER TABLE thing ADD COLUMN amount bigint; UPDATE thing SET amount = qty;
    ALTER TABLE thing DROP COLUMN qty; UPDATE thing SET name = 'both' WHERE id = 5`,
    'thing',
  ],
  'swaps a table': [
    `CREATE TABLE thing_new (LIKE thing INCLUDING ALL); INSERT INTO thing_new SELECT * FROM thing;
    DROP TABLE thing; ALTER TABLE thing_new RENAME TO thing`,
    'thing',
  ],
  'disables what captures': [
    `ALTER TABLE thing DISABLE TRIGGER USER; UPDATE thing SET name = 'unseen' WHERE id IN (4, 5);
    DELETE FROM thing WHERE id = 6`,
    'thing',
  ],
  'drops what captures': [
    `DROP TRIGGER IF EXISTS "!understudy_row" ON thing; UPDATE thing SET name = 'unseen' WHERE id = 4`,
    'thing',
  ],
} as const;

type Scene = Awaited<ReturnType<typeof scene>>;

async function selfScene(): Promise<Scene> {
  const made = await scene('postgresql');
  await letMigrate(made.at.database, made.at.fence, made.at.role);
  return made;
}

/** What anybody can see of it: but for times. */
async function whole({ at }: Scene, table: string): Promise<unknown> {
  const rows = (await at.database.overlayRows(1000)).map(
    ({ table: of, key, kind, columns }) =>
      `${of.name} ${key.join('/')} ${kind} ${JSON.stringify(columns)}`,
  );
  return {
    visible: await at.rows(`SELECT t::text FROM ${table} t ORDER BY 1`),
    thing: await at.production('thing', 'id, name, qty, note, old'),
    other: await at.production('other', 'id, v'),
    rows: rows.toSorted(),
    counts: await at.database.overlayCounts(),
    shapes: await at.rows('SELECT schema, name, shape FROM understudy.reshaped ORDER BY 1, 2'),
    own: await at.rows('SELECT schema, name FROM understudy.own_table ORDER BY 1, 2'),
    kept: await at.rows(
      `SELECT relname FROM pg_class WHERE relnamespace = 'understudy'::regnamespace AND relkind = 'r' ORDER BY 1`,
    ),
    triggers: await at.rows(
      `SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2`,
    ),
  };
}

async function goOn({ at, production }: Scene): Promise<void> {
  await production.put(1, { name: 'later', qty: '77' });
  await production.put(2, { note: 'later' });
  await production.put(3, { name: 'later' });
  await production.put(50, row(50));
  await production.delete(6);
  await at.apply(at.step('other', put(['id'], { id: '3', v: 'c' }), gone('1')));
}

/** A key that the candidate is at waits after a while. */
async function despiteLocks(act: () => Promise<void>): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    try {
      await act();
      return;
    } catch (error) {
      if (tries === 50 || (error as { code?: string }).code !== 'APPLY_BLOCKED') throw error;
      await sleep(50);
    }
  }
}

/** Whether one is begun and not ended. */
async function isBegun(at: AnyRollout): Promise<boolean> {
  return (await at.rows('SELECT FROM understudy.migrating')).length > 0;
}

describe('a candidate that migrates by itself', () => {
  it.each(Object.entries(MIGRATIONS))('%s', async (_, [sql, table]) => {
    const own = await selfScene();
    const led = await scene('postgresql');
    await own.at.run(sql);
    await led.migrate(sql);
    expect(await isBegun(own.at)).toBe(true);
    await goOn(own);
    expect(await isBegun(own.at)).toBe(false);
    await goOn(led);
    await expectExact(own.production);
    expect(await whole(own, table)).toEqual(await whole(led, table));
    expect(await own.at.database.watchCapture(own.at.fence)).toEqual([]);
    // And it is captured again.
    for (const { at } of [own, led]) {
      if (table === 'thing') await at.run(`UPDATE thing SET name = 'after' WHERE id IN (1, 50)`);
    }
    await goOn(own);
    await goOn(led);
    await expectExact(own.production);
    expect(await whole(own, table)).toEqual(await whole(led, table));
  });

  it('leaves between its ends what a led one leaves', async () => {
    const own = await selfScene();
    const led = await scene('postgresql');
    for (const one of [own, led]) await one.production.put(2, { note: 'moved' });
    await own.at.run('ALTER TABLE thing ADD COLUMN extra int');
    const { url } = await led.at.database.migrations.begin(led.at.fence, {
      ...{ role: led.at.role, renames: [] },
    });
    await led.at.as(url, 'ALTER TABLE thing ADD COLUMN extra int');
    const between = async ({ at }: Scene) => ({
      kept: [
        await at.rows('SELECT * FROM understudy."public.thing#kept" ORDER BY 1'),
        await at.rows('SELECT * FROM understudy."public.other#kept" ORDER BY 1'),
      ],
      shapes: await at.rows('SELECT * FROM understudy.reshaped ORDER BY 1, 2'),
      triggers: await at.rows('SELECT tgname FROM pg_trigger WHERE NOT tgisinternal'),
      views: await at.rows(
        `SELECT count(*) FROM pg_views WHERE schemaname ~ '__(production|difference)$'`,
      ),
    });
    expect(await between(own)).toEqual(await between(led));
    await led.at.database.migrations.end(led.at.fence);
    await goOn(own);
    await goOn(led);
    expect(await whole(own, 'thing')).toEqual(await whole(led, 'thing'));
  });

  it('that rolls back leaves everything as it was', async () => {
    const made = await selfScene();
    const { at, production } = made;
    const before = await whole(made, 'thing');
    const candidate = await session(at.url);
    await candidate.query(`BEGIN; UPDATE thing SET name = 'x' WHERE id = 1`);
    await candidate.query('ALTER TABLE thing DROP COLUMN old');
    await candidate.query(`UPDATE thing SET name = 'y' WHERE id = 4`);
    await candidate.query('ROLLBACK');
    await candidate.query('BEGIN; SAVEPOINT a');
    await candidate.query('ALTER TABLE thing ADD COLUMN extra int');
    await candidate.query('ROLLBACK TO a; COMMIT');
    expect(await whole(made, 'thing')).toEqual(before);
    expect(await isBegun(at)).toBe(false);
    await at.run(`UPDATE thing SET name = 'mine' WHERE id = 1`);
    await goOn(made);
    await expectExact(production);
    expect(await at.rows('SELECT name FROM thing WHERE id = 1')).toEqual([['mine']]);
  });

  it('changes rows and tables in one transaction, which is waited for', async () => {
    const made = await selfScene();
    const { at, production, kinds } = made;
    const candidate = await session(at.url);
    await candidate.query(`BEGIN; UPDATE thing SET name = 'before' WHERE id = 4`);
    await production.put(5, { note: 'beside' });
    await candidate.query('ALTER TABLE thing ADD COLUMN extra int DEFAULT 1');
    await candidate.query(`UPDATE thing SET name = 'after' WHERE id = 5`);
    await candidate.query('UPDATE thing SET extra = 2 WHERE id = 1');
    const model = { ...production.rows.get(1) };
    await expect(production.put(1, { note: 'too early' })).rejects.toMatchObject({
      code: 'APPLY_BLOCKED',
    });
    production.rows.set(1, model);
    // Whoever only reads is not kept waiting.
    expect((await at.database.fenceState()).free).toBe(false);
    await at.database.renewFence(at.fence, {
      state: 'following',
      oldestTransactionMs: null,
      degraded: 0,
    });
    await candidate.query('COMMIT');
    await production.put(1, { note: 'then' });
    await production.put(4, { note: 'then' });
    await production.put(5, { note: 'then' });
    await expectExact(production);
    expect(
      await at.rows('SELECT id, name, note, extra FROM thing WHERE id IN (1, 4, 5) ORDER BY 1'),
    ).toEqual([
      [1, 'n1', 'then', 2],
      [4, 'before', 'note4', 1],
      [5, 'after', 'beside', 1],
    ]);
    expect(await kinds()).toEqual(expect.arrayContaining(['thing 4 update', 'thing 5 update']));
  });

  it('migrates in several transactions, with applied batches and writes between, from two sessions', async () => {
    const made = await selfScene();
    const { at, production } = made;
    const [one, two] = [await session(at.url), await session(at.url)];
    await one.query('ALTER TABLE thing ADD COLUMN a int');
    await two.query('ALTER TABLE thing ADD COLUMN b int');
    await one.query(`UPDATE thing SET name = 'between' WHERE id = 4`);
    await goOn(made);
    await two.query('ALTER TABLE thing DROP COLUMN old');
    await one.query(`UPDATE thing SET note = 'between' WHERE id = 5`);
    await goOn(made);
    await one.query('CREATE TABLE more (id int PRIMARY KEY)');
    await goOn(made);
    await two.query('ALTER TABLE thing DROP COLUMN a, DROP COLUMN b, ADD COLUMN old varchar(9)');
    await goOn(made);
    await expectExact(production);
    expect(await at.rows('SELECT name, note FROM thing WHERE id IN (4, 5) ORDER BY id')).toEqual([
      ['between', 'note4'],
      ['n5', 'between'],
    ]);
    expect(await at.database.watchCapture(at.fence)).toEqual([]);
  });

  it('is ended by who takes the fence when the applier died before', async () => {
    const { at, production } = await selfScene();
    await at.database.releaseFence(at.fence);
    await at.run('ALTER TABLE thing ADD COLUMN extra int');
    const other = await at.server.open(at.name);
    if (other === null) throw new Error('the rollout is gone');
    onTestFinished(() => other[Symbol.asyncDispose]());
    const fence = await other.takeFence('another');
    expect(fence).not.toBeNull();
    expect(await isBegun(at)).toBe(false);
    await expectExact(production);
  });

  it('keeps nobody from leaving, taking or deleting the rollout while it is at it', async () => {
    const { at, production } = await selfScene();
    const candidate = await session(at.url);
    candidate.on('error', () => undefined);
    await candidate.query('BEGIN; ALTER TABLE thing ADD COLUMN extra int');
    await at.database.releaseFence(at.fence);
    const other = (await at.server.open(at.name)) as AnyRollout['database'] | null;
    if (other === null) throw new Error('the rollout is gone');
    onTestFinished(() => other[Symbol.asyncDispose]());
    const fence = await other.takeFence('another');
    if (fence === null) throw new Error('the fence is not free');
    const acts = () => other.watchCapture(fence);
    await expect(acts()).rejects.toMatchObject({ code: 'APPLY_BLOCKED' });
    await candidate.query('COMMIT');
    expect(await acts()).toEqual([]);
    expect(await isBegun(at)).toBe(false);
    await expectExact(production);
    await candidate.query('BEGIN; ALTER TABLE thing DROP COLUMN extra');
    await other.releaseFence(fence);
    await at.server.drop({ database: at.name, role: at.role });
    expect(await at.server.open(at.name)).toBeNull();
  });

  it('is ended by who leads, before any member writes', async () => {
    const { at, production } = await selfScene();
    const leader = at.database as SharedShadow & AnyRollout['database'];
    const member = (await at.server.open(at.name)) as SharedShadow | null;
    if (member === null) throw new Error('the rollout is gone');
    onTestFinished(() => member[Symbol.asyncDispose]());
    const number = await member.sharing.join('m');
    await leader.sharing.assign(at.fence, new Map([[partitionKey('t', 0), number]]));
    const note: HolderNote = { state: 'following', oldestTransactionMs: null, degraded: 0 };
    const grants = await member.sharing.visit(number, note);
    if (grants === null) throw new Error('it is no member');
    const fence = shareFence({ number, name: 'm' }, grants);
    const write = (offset: bigint, name: string) => {
      const step = at.step('thing', put(['id'], { ...production.rows.get(1), id: '1', name }));
      const offsets = new Map([[partitionKey('t', 0), offset]]);
      return member.apply(fence, { ...batchOf([step]), position: { ...START, offsets } });
    };
    await write(1n, 'before');
    await at.run('ALTER TABLE thing RENAME COLUMN name TO title');
    await expect(write(2n, 'after')).rejects.toMatchObject({ code: 'APPLY_BLOCKED' });
    expect(await isBegun(at)).toBe(true);
    expect(await ownMigrationsOf(leader)?.end(at.fence)).toBe(true);
    expect(await isBegun(at)).toBe(false);
    expect(await ownMigrationsOf(leader)?.end(at.fence)).toBe(false);
    // What it knew of the tables does not hold any more.
    await write(2n, 'after');
    expect(await at.rows('SELECT title FROM thing WHERE id = 1')).toEqual([['after']]);
    expect(await at.production('thing', 'name')).toContainEqual(['after']);
  });

  it('covers partitions, keyless tables and generated columns', async () => {
    const at = await anyRollout(
      'postgresql',
      `CREATE TABLE visit (id int PRIMARY KEY, page text, long text GENERATED ALWAYS AS (page || '!') STORED)
        PARTITION BY RANGE (id)`,
      'CREATE TABLE visit_1 PARTITION OF visit FOR VALUES FROM (0) TO (100)',
      'CREATE TABLE plain (v int)',
      "CREATE TYPE mood AS ENUM ('good')",
      'CREATE TABLE felt (id int PRIMARY KEY, how mood)',
    );
    await letMigrate(at.database, at.fence, at.role);
    const visits = async (...rows: readonly (readonly [number, string])[]) => {
      await at.apply(
        at.step('visit', ...rows.map(([id, page]) => put(['id'], { id: String(id), page }))),
      );
    };
    await visits([1, 'a'], [2, 'b']);
    await at.apply(at.step('felt', put(['id'], { id: '1', how: 'good' })));
    await at.run(`UPDATE visit SET page = 'mine' WHERE id = 2`);
    for (const sql of [
      'CREATE TABLE visit_2 PARTITION OF visit FOR VALUES FROM (100) TO (200)',
      'ALTER TABLE visit DETACH PARTITION visit_2',
      'ALTER TABLE visit ATTACH PARTITION visit_2 FOR VALUES FROM (100) TO (300)',
      `ALTER TYPE mood ADD VALUE 'bad'`,
      `CREATE TYPE taste AS ENUM ('a'); ALTER TYPE taste RENAME VALUE 'a' TO 'b'`,
      'ALTER TYPE mood RENAME TO temper',
      `UPDATE felt SET how = 'bad'; ALTER TABLE visit ADD COLUMN seen boolean DEFAULT false`,
      'ALTER TABLE plain ADD COLUMN w int',
      'TRUNCATE visit_2; DROP TABLE plain',
    ]) {
      await at.run(sql);
      await visits([1, sql], [2, sql]);
      expect(await at.production('visit', 'id, page, long'), sql).toEqual([
        [1, sql, `${sql}!`],
        [2, sql, `${sql}!`],
      ]);
      expect(await at.rows('SELECT id, page FROM visit ORDER BY 1'), sql).toEqual([
        [1, sql],
        [2, 'mine'],
      ]);
      expect(await at.database.watchCapture(at.fence), sql).toEqual([]);
    }
    await expect(at.run(`ALTER TYPE temper RENAME VALUE 'good' TO 'fine'`)).rejects.toMatchObject({
      code: '0A000',
    });
    // It would go with production's image of the column.
    await expect(at.run('DROP TYPE temper CASCADE')).rejects.toMatchObject({ code: '2BP01' });
    await at.run('ALTER TABLE felt DROP COLUMN how');
    await visits([3, 'c']);
    await expect(at.run('DROP TYPE temper CASCADE')).rejects.toMatchObject({ code: '2BP01' });
    expect(await isBegun(at)).toBe(false);
    expect(await at.production('felt', 'id, how::text')).toEqual([[1, 'good']]);
  });

  it('begins nothing with what changes no table', async () => {
    const { at, production } = await selfScene();
    const candidate = await session(at.url);
    await candidate.query('CREATE TEMPORARY TABLE scratch (id int PRIMARY KEY)');
    await candidate.query('CREATE VIEW things AS SELECT id FROM thing');
    await candidate.query('CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1');
    await candidate.query('CREATE TABLE IF NOT EXISTS thing (id int)');
    await candidate.query(`COMMENT ON TABLE thing IS 'things'`);
    expect(await isBegun(at)).toBe(false);
    await candidate.query('CREATE INDEX CONCURRENTLY by_note ON thing (note)');
    expect(await isBegun(at)).toBe(true);
    await production.put(1, { note: 'x' });
    await candidate.query('DROP INDEX CONCURRENTLY by_note');
    expect(await isBegun(at)).toBe(true);
    await production.put(1, { note: 'y' });
    await expectExact(production);
  });

  it('keeps up with production’s changes of the schema, and with migrations that are led', async () => {
    const made = await selfScene();
    const { at, production } = made;
    const table = { schema: 'public', name: 'other' };
    const note = (await at.database.catalogue())
      .get('public.thing')
      ?.columns.find(({ name }) => name === 'note');
    if (note === undefined) throw new Error('there is no such column');
    const add = (relation: string) => `ALTER TABLE ${relation} ADD COLUMN note varchar(40)`;
    await at.database.evolving.carry(at.fence, [
      {
        change: { kind: 'add', table, column: note },
        statements: [{ what: 'column note', sql: add('public.other'), optional: false }],
        beside: (relation) => [add(relation)],
      },
    ]);
    await at.apply(at.step('other', put(['id'], { id: '1', v: 'a', note: 'new' })));
    await at.run('ALTER TABLE other DROP COLUMN note');
    await at.apply(at.step('other', put(['id'], { id: '2', v: 'b', note: 'newer' })));
    expect(await at.production('other', 'id, v, note')).toEqual([
      [1, 'a', 'new'],
      [2, 'b', 'newer'],
    ]);
    await made.migrate('CREATE TABLE led (id int PRIMARY KEY); ALTER TABLE thing ADD COLUMN l int');
    await at.run('ALTER TABLE led ADD COLUMN x int; ALTER TABLE thing DROP COLUMN l');
    await goOn(made);
    await expectExact(production);
  });

  it('has keys that wait in production’s image, or does not begin', async () => {
    const made = await selfScene();
    const { at, production } = made;
    const [one, two] = [await session(at.url), await session(at.url)];
    await one.query(`BEGIN; UPDATE thing SET name = 'held' WHERE id = 4`);
    await despiteLocks(() => production.put(4, { note: 'waits' }));
    expect(await at.rows('SELECT id FROM understudy."public.thing#waiting"')).toEqual([[4]]);
    // The same transaction owns the row.
    await one.query('ALTER TABLE thing ADD COLUMN extra int');
    await one.query('COMMIT');
    await production.put(1, { note: 'then' });
    await expectExact(production);
    expect(await at.rows('SELECT name, note FROM thing WHERE id = 4')).toEqual([['held', 'note4']]);
    // Of this one nobody owns a row.
    await two.query('BEGIN; SELECT FROM thing WHERE id = 5 FOR UPDATE');
    await despiteLocks(() => production.put(5, { note: 'waits' }));
    await expect(two.query('ALTER TABLE thing DROP COLUMN old')).rejects.toMatchObject({
      code: '55P03',
    });
    await two.query('ROLLBACK');
    await waitingOf(at.database)?.write(at.fence);
    await two.query('ALTER TABLE thing DROP COLUMN old');
    await goOn(made);
    await expectExact(production);
    expect(await at.rows('SELECT note FROM thing WHERE id = 5')).toEqual([['waits']]);
  });

  it('reaches nothing of ours', async () => {
    const { at } = await selfScene();
    const refused = [
      'SELECT * FROM understudy."public.thing#journal"',
      'DELETE FROM understudy.migrating',
      'SELECT understudy.begin_migration()',
      'DROP EVENT TRIGGER understudy_ddl_command_start',
      'ALTER EVENT TRIGGER understudy_ddl_command_start DISABLE',
      'DROP FUNCTION understudy.notice_migration() CASCADE',
      'CREATE TABLE understudy.mine (id int)',
      'DROP SCHEMA understudy CASCADE',
      'DROP SCHEMA public__production CASCADE',
      'SET session_replication_role = replica',
      'SET event_triggers = off',
      'SET SESSION AUTHORIZATION postgres',
      'BEGIN ISOLATION LEVEL REPEATABLE READ; ALTER TABLE thing ADD COLUMN x int',
    ];
    for (const sql of refused) {
      await expect(at.run(sql), sql).rejects.toThrow(
        /permission denied|must be owner|READ COMMITTED|unrecognized/,
      );
    }
    expect(await isBegun(at)).toBe(false);
  });

  it('leaves no role when the rollout goes', async () => {
    const { at } = await selfScene();
    await at.run(
      'ALTER TABLE thing ADD COLUMN extra int; CREATE SCHEMA more; CREATE TABLE more.x (id int)',
    );
    await at.database[Symbol.asyncDispose]();
    await at.server.drop({ database: at.name, role: at.role });
    const client = new pg.Client({ connectionString: databaseUrl(postgresUrl(), 'postgres') });
    await client.connect();
    const { rows } = await client.query('SELECT FROM pg_roles WHERE rolname LIKE $1', [
      `${at.name}%`,
    ]);
    await client.end();
    expect(rows).toEqual([]);
  });
});
