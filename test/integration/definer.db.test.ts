/** Production's routines that run as their owner give a candidate no rights but its own, and work for it. */
import { expect, it, onTestFinished } from 'vitest';
import { put } from './mysql.fixture.ts';
import { anyRollout, type AnyRollout } from './rollout.fixture.ts';
import { session } from './shadow.fixture.ts';

const DDL = `CREATE TABLE t (id int PRIMARY KEY, v text);
  CREATE TABLE noted (id int PRIMARY KEY, v text);
  CREATE SCHEMA "Own";
  CREATE FUNCTION run(sql text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
    $$ DECLARE r text; BEGIN EXECUTE sql INTO r; RETURN r; END $$;
  CREATE FUNCTION "Own"."As"(OUT who text, n int DEFAULT 1) LANGUAGE sql SECURITY DEFINER
    AS 'SELECT current_user::text';
  CREATE PROCEDURE put(k int) LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO t VALUES (k, ''put'')';
  CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    AS $$ BEGIN INSERT INTO noted VALUES (NEW.id, current_user); RETURN NEW; END $$;
  CREATE TRIGGER notes AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();
  CREATE FUNCTION plain() RETURNS text LANGUAGE sql AS 'SELECT current_user::text'`;

async function candidate(at: AnyRollout) {
  const client = await session(at.url);
  onTestFinished(() => client.end());
  return async (sql: string): Promise<readonly unknown[]> =>
    (await client.query<unknown[]>({ text: sql, rowMode: 'array' })).rows;
}

const FORBIDDEN = [
  `SELECT run('SELECT name FROM understudy.marker')`,
  `SELECT run('DELETE FROM understudy."public.t#journal" RETURNING id')`,
  `SELECT run('SET session_replication_role = replica')`,
  `SELECT run('ALTER TABLE t DISABLE TRIGGER ALL')`,
];

it('they run as the candidate, and what they write is captured', async () => {
  const at = await anyRollout('postgresql', DDL);
  await at.apply(at.step('t', put(['id'], { id: '1', v: 'a' })));
  const as = await candidate(at);
  for (const sql of FORBIDDEN) {
    await expect(as(sql), sql).rejects.toMatchObject({ code: '42501' });
  }
  expect(await as(`SELECT run('SELECT v FROM t WHERE id = 1')`)).toEqual([['a']]);
  expect(await as('SELECT "Own"."As"()')).toEqual([[at.role]]);
  await as('CALL put(5)');
  expect(await as('SELECT * FROM noted')).toEqual([[5, at.role]]);
  const rows = await at.database.overlayRows(9);
  expect(rows.map(({ table, key, kind }) => [table.name, key, kind])).toEqual([
    ['noted', ['5'], 'insert'],
    ['t', ['5'], 'insert'],
  ]);
});

it('those that come later do, too, and those of a migration have the migration’s rights', async () => {
  const at = await anyRollout('postgresql', DDL);
  const as = await candidate(at);
  await at.rows(`CREATE FUNCTION later(sql text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
    $$ DECLARE r text; BEGIN EXECUTE sql INTO r; RETURN r; END $$`);
  await at.database.guardReadOnly(at.fence);
  const read = (name: string) => as(`SELECT ${name}('SELECT name FROM understudy.marker')`);
  await expect(read('later')).rejects.toMatchObject({ code: '42501' });

  const { url } = await at.database.migrations.begin(at.fence, { role: at.role, renames: [] });
  await at.as(
    url,
    `ALTER TABLE t ADD COLUMN n int;
    CREATE FUNCTION own(sql text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
      $$ DECLARE r text; BEGIN EXECUTE sql INTO r; RETURN r; END $$;
    CREATE OR REPLACE FUNCTION run(sql text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
      $$ DECLARE r text; BEGIN EXECUTE sql || ' LIMIT 1' INTO r; RETURN r; END $$`,
  );
  await at.database.migrations.end(at.fence);
  await at.database.guardReadOnly(at.fence);
  for (const name of ['own', 'run', 'later']) {
    await expect(read(name), name).rejects.toMatchObject({ code: '42501' });
    expect(await as(`SELECT ${name}('SELECT count(*) FROM t')`), name).toEqual([['0']]);
  }
  // What it made runs as it, also after the sweep.
  const whom = `SELECT own('SELECT current_user = session_user'), later('SELECT current_user = session_user')`;
  expect(await as(whom)).toEqual([['false', 'true']]);
  await as('CALL put(6)');
  expect(await as('SELECT id, n FROM t')).toEqual([[6, null]]);
});
