/**
 * What the capture must get right, statement by statement: after each, the candidate sees what it
 * wrote, the base view is still production's, and the difference is exactly what was done.
 */
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RowShape } from '../../src/change/value.ts';
import type { NetChange } from '../../src/order/change-batch.ts';
import {
  applierSessionSql,
  applyBatch,
  openApplySession,
} from '../../src/dialect/postgres/apply/apply.ts';
import {
  installOverlay,
  type InstalledOverlay,
} from '../../src/dialect/postgres/overlay/capture.ts';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import { readOverlayCounts, readOverlayRows } from '../../src/dialect/postgres/overlay/read.ts';
import { releaseOverlay } from '../../src/dialect/postgres/overlay/release.ts';
import { resetOverlay } from '../../src/dialect/postgres/overlay/reset.ts';
import { createLedgers } from '../support/ledgers.ts';
import { batchOf } from '../support/overlay-applier.ts';
import { connectTo, testDatabase } from '../support/test-database.ts';

let admin: pg.Client;
let applier: pg.Client;
let candidate: pg.Client;
let url: string;
let role: string;

beforeAll(async () => {
  const database = await testDatabase('overlay');
  url = database.url;
  // Roles belong to the whole server, which other runs may use.
  role = `candidate_${database.name}`;
  [admin, applier, candidate] = [await connectTo(url), await connectTo(url), await connectTo(url)];
  await applier.query(applierSessionSql);
  await admin.query(`CREATE ROLE ${role}`);
});

afterAll(async () => {
  // First those that a failed test may have left in a transaction, whose locks the rest waits for.
  await Promise.all([candidate.end(), applier.end()]);
  await admin.query(`ROLLBACK; DROP OWNED BY ${role} CASCADE; DROP ROLE ${role}`);
  await admin.end();
});

/** Fresh tables in `shop` with the overlay over them, and a candidate that may write rows. */
async function rollout(ddl: string): Promise<InstalledOverlay> {
  await candidate.query('ROLLBACK; RESET ROLE; RESET search_path');
  await admin.query(`DROP SCHEMA IF EXISTS understudy, shop, shop__production, shop__difference CASCADE;
    CREATE SCHEMA shop; SET search_path = shop; ${ddl}`);
  await createLedgers(admin);
  await admin.query('BEGIN');
  let installed: InstalledOverlay;
  try {
    installed = await installOverlay(admin);
  } finally {
    await admin.query('END');
  }
  await admin.query(`SET search_path = shop; GRANT USAGE, CREATE ON SCHEMA shop TO ${role};
    GRANT ALL ON ALL TABLES IN SCHEMA shop TO ${role};
    GRANT ALL ON ALL SEQUENCES IN SCHEMA shop TO ${role}`);
  await candidate.query(`SET search_path = shop; SET ROLE ${role}`);
  return installed;
}

async function values(sql: string, client = admin): Promise<readonly unknown[]> {
  return (await client.query({ text: sql, rowMode: 'array' })).rows;
}

/** `key kind` of each difference, e.g. `1 update`. */
async function differences(table = 't'): Promise<readonly string[]> {
  const rows = await readOverlayRows(admin, 100, { table: { schema: 'shop', name: table } });
  return rows.map((row) => `${row.key.join('/')} ${row.kind}`).sort();
}

/** Runs the candidate's statements and checks that production's image did not move. */
async function whileBaseStays(statements: string, ...tables: readonly string[]): Promise<void> {
  const bases = async (): Promise<readonly unknown[]> => {
    const found: unknown[] = [];
    for (const table of tables) {
      found.push(await values(`SELECT * FROM shop__production.${table} ORDER BY 1`));
    }
    return found;
  };
  const before = await bases();
  await candidate.query(statements);
  expect(await bases()).toEqual(before);
}

const T = `CREATE TABLE t (id int PRIMARY KEY, n int, s text);
  INSERT INTO t VALUES (1, 10, 'a'), (2, 20, 'b'), (3, 30, 'c');`;

describe('capture', () => {
  it.each([
    ['an update', 'UPDATE t SET n = 11 WHERE id = 1', ['1 update']],
    ['an update that changes nothing', 'UPDATE t SET n = n', []],
    ['a delete', 'DELETE FROM t WHERE id = 2', ['2 delete']],
    ['an insert', `INSERT INTO t VALUES (9, 9, 'i')`, ['9 insert']],
    ['insert and delete', `INSERT INTO t VALUES (9); DELETE FROM t WHERE id = 9`, []],
    [
      'delete and insert',
      `DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 5, 'x')`,
      ['1 update'],
    ],
    ['a changed key', 'UPDATE t SET id = 7 WHERE id = 1', ['1 delete', '7 insert']],
    [
      'keys that move along',
      'UPDATE t SET id = id + 10; UPDATE t SET id = id - 9',
      ['1 delete', '2 update', '3 update', '4 insert'],
    ],
    [
      'ON CONFLICT DO UPDATE',
      `INSERT INTO t VALUES (1, 1, 'x'), (8, 8, 'y') ON CONFLICT (id) DO UPDATE SET n = excluded.n`,
      ['1 update', '8 insert'],
    ],
    ['ON CONFLICT DO NOTHING', 'INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING', []],
    [
      'MERGE',
      `MERGE INTO t USING (VALUES (1), (2), (5)) v(id) ON t.id = v.id
       WHEN MATCHED AND t.id = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET n = 0
       WHEN NOT MATCHED THEN INSERT VALUES (v.id, 0, 'm')`,
      ['1 delete', '2 update', '5 insert'],
    ],
    [
      'a writable CTE',
      `WITH d AS (DELETE FROM t WHERE id = 3 RETURNING *), u AS (UPDATE t SET n = 0 WHERE id = 2)
       INSERT INTO t SELECT 30, n, s FROM d`,
      ['2 update', '3 delete', '30 insert'],
    ],
    [
      'savepoints released and rolled back',
      `BEGIN; SAVEPOINT a; INSERT INTO t VALUES (9); UPDATE t SET n = 1 WHERE id = 9; RELEASE a;
       SAVEPOINT b; UPDATE t SET n = 1 WHERE id = 1; ROLLBACK TO b;
       UPDATE t SET n = 2 WHERE id = 9; DELETE FROM t WHERE id = 2; COMMIT`,
      ['2 delete', '9 insert'],
    ],
    ['a rollback', 'BEGIN; UPDATE t SET n = 0; DELETE FROM t; ROLLBACK', []],
    ['TRUNCATE', 'TRUNCATE t', ['1 delete', '2 delete', '3 delete']],
    [
      'TRUNCATE after own writes',
      'BEGIN; INSERT INTO t VALUES (9); UPDATE t SET n = 0 WHERE id = 1; TRUNCATE t; COMMIT',
      ['1 delete', '2 delete', '3 delete'],
    ],
  ])('sees %s', async (_, statements, expected) => {
    for (const level of ['read committed', 'repeatable read', 'serializable']) {
      await rollout(T);
      await candidate.query(`SET default_transaction_isolation = '${level}'`);
      await whileBaseStays(statements, 't');
      await candidate.query('RESET default_transaction_isolation');
      expect([level, await differences()]).toEqual([level, expected]);
    }
  });

  it('keeps the image of rows that a trigger of the user writes in the same statement', async () => {
    await rollout(`${T}
      CREATE FUNCTION sibling() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        UPDATE shop.t SET s = s || '!' WHERE id <> NEW.id AND pg_trigger_depth() = 1;
        RETURN NEW; END $$;
      CREATE TRIGGER " first" AFTER UPDATE OR INSERT ON t FOR EACH ROW EXECUTE FUNCTION sibling()`);
    await whileBaseStays('UPDATE t SET n = n + 1', 't');
    expect(await differences()).toEqual(['1 update', '2 update', '3 update']);
  });

  it('knows that rows of one INSERT that its triggers write again are not production’s', async () => {
    await rollout(`${T}
      CREATE FUNCTION sibling() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        UPDATE shop.t SET n = n + 1 WHERE id >= 8; RETURN NEW; END $$;
      CREATE TRIGGER " first" AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION sibling()`);
    await whileBaseStays(`INSERT INTO t VALUES (8, 0, 'x'), (9, 0, 'y')`, 't');
    expect(await differences()).toEqual(['8 insert', '9 insert']);
    // A savepoint has a transaction id of its own.
    await whileBaseStays(
      `BEGIN; UPDATE t SET n = 0 WHERE id = 1; SAVEPOINT a;
       INSERT INTO t VALUES (10, 0, 'x'), (11, 0, 'y'); COMMIT; DELETE FROM t WHERE id > 9`,
      't',
    );
    expect(await differences()).toEqual(['1 update', '8 insert', '9 insert']);
  });

  it('follows cascades three tables deep', async () => {
    await rollout(`CREATE TABLE a (id int PRIMARY KEY);
      CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE ON UPDATE CASCADE);
      CREATE TABLE c (id int PRIMARY KEY, b int REFERENCES b ON DELETE CASCADE);
      INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1, 1), (2, 2); INSERT INTO c VALUES (1, 1)`);
    await whileBaseStays(
      'DELETE FROM a WHERE id = 1; UPDATE a SET id = 5 WHERE id = 2',
      'a',
      'b',
      'c',
    );
    expect(await differences('a')).toEqual(['1 delete', '2 delete', '5 insert']);
    expect(await differences('b')).toEqual(['1 delete', '2 update']);
    expect(await differences('c')).toEqual(['1 delete']);
    await whileBaseStays('INSERT INTO c VALUES (7, 2); TRUNCATE a CASCADE', 'a', 'b', 'c');
    expect(await differences('c')).toEqual(['1 delete']);
  });

  it('sees a deferrable key swapped', async () => {
    await rollout(
      `CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, n int); INSERT INTO t VALUES (1, 1), (2, 2)`,
    );
    await whileBaseStays('UPDATE t SET id = 3 - id', 't');
    expect(await differences()).toEqual(['1 update', '2 update']);
  });

  it('sees a deferrable key that rows have by turns within a transaction', async () => {
    await rollout(
      `CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, n int);
      INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)`,
    );
    await whileBaseStays(
      `BEGIN; SET CONSTRAINTS ALL DEFERRED; UPDATE t SET id = 2 WHERE id = 1;
      UPDATE t SET id = 1 WHERE id = 2 AND n = 2; COMMIT`,
      't',
    );
    expect(await differences()).toEqual(['1 update', '2 update']);
    await whileBaseStays(
      `BEGIN; SET CONSTRAINTS ALL DEFERRED; INSERT INTO t VALUES (3, 100), (4, 4);
      DELETE FROM t WHERE id = 3 AND n = 3; COMMIT`,
      't',
    );
    expect(await differences()).toEqual(['1 update', '2 update', '3 update', '4 insert']);
  });

  it('leaves generated columns to the server, in the base image too', async () => {
    await rollout(`CREATE DOMAIN even AS int NOT NULL CHECK (VALUE % 2 = 0);
      CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int,
        twice even GENERATED ALWAYS AS (n * 2) STORED, thrice int GENERATED ALWAYS AS (n * 3) VIRTUAL);
      INSERT INTO t (n) VALUES (1), (2)`);
    await whileBaseStays('UPDATE t SET n = 5 WHERE id = 1; INSERT INTO t (n) VALUES (7)', 't');
    expect(await differences()).toEqual(['1 update', '1610612736 insert']);
    expect(await values('SELECT twice, thrice FROM shop__production.t WHERE id = 1')).toEqual([
      [2, 3],
    ]);
  });

  it('covers partitions: rows that move, writes to a leaf, TRUNCATE of a leaf and of the root', async () => {
    await rollout(`CREATE TABLE t (id int, k int, v text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
      CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);
      CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2, 3) PARTITION BY LIST (k);
      CREATE TABLE t22 PARTITION OF t2 FOR VALUES IN (2);
      CREATE TABLE t23 PARTITION OF t2 FOR VALUES IN (3);
      INSERT INTO t VALUES (1, 1, 'a'), (2, 1, 'b'), (3, 2, 'c'), (4, 2, 'd'), (5, 3, 'e')`);
    await whileBaseStays('UPDATE t SET k = 2 WHERE id = 1; INSERT INTO t1 VALUES (9, 1)', 't');
    expect(await differences()).toEqual(['1/1 delete', '1/2 insert', '9/1 insert']);
    await whileBaseStays('DELETE FROM t22 WHERE id = 3; TRUNCATE t1', 't');
    expect(await differences()).toEqual(['1/1 delete', '1/2 insert', '2/1 delete', '3/2 delete']);
    await whileBaseStays('TRUNCATE t', 't');
    expect(await differences()).toHaveLength(5);
  });

  it('notes the trace the candidate names, and when', async () => {
    await rollout(T);
    await candidate.query(`SET understudy.trace = 'request-7'; UPDATE t SET n = 0 WHERE id = 1`);
    await candidate.query(`RESET understudy.trace`);
    expect(
      await values(
        `SELECT understudy_trace, understudy_at <= now() FROM understudy."shop.t#journal"`,
      ),
    ).toEqual([['request-7', true]]);
  });

  it('makes a TRUNCATE with an old snapshot fail rather than lose an image', async () => {
    await rollout(T);
    await candidate.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM t');
    await apply(put(4, 'new'));
    await expect(candidate.query('TRUNCATE t')).rejects.toMatchObject({ code: '40001' });
    await candidate.query('ROLLBACK');
    await whileBaseStays('TRUNCATE t', 't');
    expect(await differences()).toHaveLength(4);
  });

  it('owns a row again that was released after the snapshot of a REPEATABLE READ writer', async () => {
    await rollout(T);
    await candidate.query('UPDATE t SET n = 0 WHERE id = 1');
    await reset({});
    const other = await connectTo(url);
    await other.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM shop.t');
    await candidate.query('UPDATE t SET n = n WHERE id = 2');
    const session = await openApplySession(applier, await readCatalogue(applier));
    await applier.query('BEGIN');
    expect(await releaseOverlay(session, {})).toEqual({ released: 1, kept: 0 });
    await applier.query('COMMIT');
    await other.query(`UPDATE shop.t SET s = 'rr' WHERE id = 1; COMMIT`);
    await other.end();
    expect(await differences()).toEqual(['1 update']);
  });

  it('cannot be used to gain rights', async () => {
    await rollout(T);
    await candidate.query(`
      CREATE TABLE shop.hijack (who text);
      CREATE FUNCTION shop.evil(a text, b text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO shop.hijack VALUES (current_user); RETURN a OPERATOR(pg_catalog.=) b; END $$;
      CREATE FUNCTION shop.evil(a int, b int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO shop.hijack VALUES (current_user); RETURN a OPERATOR(pg_catalog.<=) b; END $$;
      CREATE OPERATOR shop.= (FUNCTION = shop.evil, LEFTARG = text, RIGHTARG = text);
      CREATE OPERATOR shop.= (FUNCTION = shop.evil, LEFTARG = int, RIGHTARG = int);
      CREATE OPERATOR shop.<= (FUNCTION = shop.evil, LEFTARG = int, RIGHTARG = int);
      CREATE TABLE shop.understudy_new (id int);
      SET search_path = shop, pg_catalog`);
    for (const level of ['READ COMMITTED', 'REPEATABLE READ']) {
      await candidate.query(`BEGIN ISOLATION LEVEL ${level};
        INSERT INTO t VALUES (50, 1, 'x'); UPDATE t SET id = 51 WHERE t.id OPERATOR(pg_catalog.=) 50;
        UPDATE t SET n = 1; DELETE FROM t; TRUNCATE t; ROLLBACK`);
      await candidate.query(`INSERT INTO t VALUES (50, 1, 'x'); UPDATE t SET n = 3;
        DELETE FROM t WHERE t.id OPERATOR(pg_catalog.=) 50; TRUNCATE t`);
    }
    expect(await values(`SELECT DISTINCT who FROM shop.hijack`)).toEqual([]);
    for (const forbidden of [
      'SELECT * FROM understudy."shop.t#journal"',
      'SELECT understudy.mine(NULL)',
      'SET session_replication_role = replica',
      'ALTER TABLE t DISABLE TRIGGER ALL',
      'SELECT * FROM shop__production.t',
    ]) {
      await expect(candidate.query(forbidden)).rejects.toMatchObject({ code: '42501' });
    }
  });
});

describe('installing', () => {
  it('lists tables without a key, and moves sequences far above production’s', async () => {
    const installed = await rollout(`CREATE TABLE heap (a int);
      CREATE TABLE t (id bigserial PRIMARY KEY, small smallserial, i serial);
      CREATE SEQUENCE down INCREMENT -1; CREATE SEQUENCE fifty INCREMENT 50;
      CREATE TABLE narrow (id int PRIMARY KEY DEFAULT nextval('fifty'))`);
    expect(installed.notCaptured).toEqual([{ schema: 'shop', name: 'heap' }]);
    expect(installed.captured).toHaveLength(2);
    expect(
      await values(
        `SELECT nextval('t_id_seq'), nextval('t_small_seq'), nextval('t_i_seq'),
        nextval('down'), nextval('fifty')`,
        candidate,
      ),
    ).toEqual([['4503599627370496', '24576', '1610612736', '-4503599627370496', '1610612701']]);
  });

  it('shortens names that PostgreSQL would cut, and keeps them apart', async () => {
    const long = 'x'.repeat(62);
    await rollout(`CREATE TABLE ${long}1 (id int PRIMARY KEY, ${long}2 int);
      CREATE TABLE ${long}2 (id int PRIMARY KEY, ${long}2 int)`);
    await candidate.query(`INSERT INTO ${long}1 VALUES (1, 2)`);
    expect(await differences(`${long}1`)).toEqual(['1 insert']);
    expect(await differences(`${long}2`)).toEqual([]);
  });

  it('works for any type, by image and not by equality', async () => {
    await rollout(`CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TYPE pair AS (x int, y text);
      CREATE DOMAIN mail AS text NOT NULL CHECK (VALUE <> '');
      CREATE TABLE t (id uuid PRIMARY KEY, j json, p point, x xml, m mood, c pair, r int4range, d mail,
        n numeric, f float8);
      INSERT INTO t VALUES ('00000000-0000-0000-0000-000000000001', '{"a":1}', '(1,2)', '<a/>', 'a',
        '(1,x)', '[1,2)', 'm', 1.0, 0)`);
    await whileBaseStays(`UPDATE t SET n = 1.00, j = '{"a": 1}'`, 't');
    const rows = await readOverlayRows(admin, 10);
    expect(rows.map((row) => row.columns)).toEqual([
      [
        { column: 'j', production: '{"a":1}', candidate: '{"a": 1}' },
        { column: 'n', production: '1.0', candidate: '1.00' },
      ],
    ]);
    expect(
      await values('SELECT understudy_kind, understudy_columns FROM shop__difference.t'),
    ).toEqual([['update', ['j', 'n']]]);
  });
});

const SHAPE = new RowShape(['id', 'n', 's']);

function put(id: number, s: string): NetChange {
  const key = [`${id}`];
  return {
    kind: 'upsert',
    key,
    from: key,
    complete: true,
    image: { shape: SHAPE, values: [`${id}`, '0', s] },
  };
}

async function apply(...changes: readonly NetChange[]): Promise<void> {
  const session = await openApplySession(applier, await readCatalogue(applier));
  await applier.query('BEGIN');
  try {
    await applyBatch(
      session,
      batchOf({ kind: 'rows', table: { schema: 'shop', name: 't' }, changes }),
    );
    await applier.query('COMMIT');
  } catch (error) {
    await applier.query('ROLLBACK');
    throw error;
  }
}

async function reset(only: Parameters<typeof resetOverlay>[1]): Promise<number> {
  const session = await openApplySession(applier, await readCatalogue(applier));
  await applier.query('BEGIN');
  try {
    const owned = await resetOverlay(session, only);
    await applier.query('COMMIT');
    return owned;
  } catch (error) {
    await applier.query('ROLLBACK');
    throw error;
  }
}

describe('following production', () => {
  it('resets by key, by table, or everything, and counts what is left', async () => {
    await rollout(`${T} CREATE TABLE o (id int PRIMARY KEY); INSERT INTO o VALUES (1)`);
    await candidate.query(`UPDATE t SET n = 0; INSERT INTO t VALUES (9); UPDATE t SET n = 30 WHERE id = 3;
      DELETE FROM o`);
    const counts = await readOverlayCounts(admin);
    expect(counts).toEqual([
      {
        table: { schema: 'shop', name: 'o' },
        inserted: 0,
        updated: 0,
        deleted: 1,
        blocked: 0,
        equal: 0,
        pairs: 0,
        paired: 0,
        rows: 0,
      },
      {
        table: { schema: 'shop', name: 't' },
        inserted: 1,
        updated: 2,
        deleted: 0,
        blocked: 0,
        equal: 1,
        pairs: 0,
        paired: 0,
        rows: 4,
      },
    ]);
    const table = { schema: 'shop', name: 't' };
    expect(await reset({ table, key: ['1'] })).toBe(1);
    expect(await differences()).toEqual(['2 update', '9 insert']);
    expect(await reset({ table })).toBe(3);
    expect(await values('SELECT * FROM shop.t ORDER BY id')).toEqual([
      [1, 10, 'a'],
      [2, 20, 'b'],
      [3, 30, 'c'],
    ]);
    expect(await reset({})).toBe(1);
    expect(await differences('o')).toEqual([]);
    await expect(reset({ key: ['1'] })).rejects.toMatchObject({ code: 'USAGE' });
    await expect(reset({ table, key: ['1', '2'] })).rejects.toMatchObject({ code: 'USAGE' });
  });

  it('gives way to a lock of the candidate, and says so', async () => {
    await rollout(T);
    await candidate.query('BEGIN; SELECT 1 FROM t WHERE id = 2 FOR UPDATE');
    await expect(apply(put(1, 'x'), put(2, 'x'))).rejects.toMatchObject({
      code: 'APPLY_BLOCKED',
      context: { table: 'shop.t' },
    });
    await candidate.query('COMMIT');
    await apply(put(1, 'x'), put(2, 'x'));
    expect(await values(`SELECT id FROM shop.t WHERE s = 'x' ORDER BY id`)).toEqual([[1], [2]]);
  });
});
