/** Production's functions and procedures come to the trunk and to rollouts, on MySQL and MariaDB. */
import { describe, expect, it } from 'vitest';
import {
  ENGINES,
  overlaidRollout,
  put,
  rowsOf,
  rowsStep,
  sessionOn,
  stageOf,
} from './mysql.fixture.ts';

describe.each(ENGINES)('production’s routines on %s', (engine) => {
  it('come along, name the copy, and what they write is the candidate’s', async () => {
    const stage = await stageOf(
      engine,
      'CREATE TABLE t (id INT PRIMARY KEY, up INT, v VARCHAR(9))',
      'CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN 2 * n',
      'CREATE FUNCTION total() RETURNS INT READS SQL DATA RETURN (SELECT SUM(up) FROM {db}.t)',
      'CREATE VIEW doubled AS SELECT id, twice(up) AS up, total() AS total FROM t',
      `CREATE PROCEDURE add_one(IN at INT) BEGIN INSERT INTO {db}.t VALUES (at, twice(at), 'ü'); END`,
      `SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES'`,
      `CREATE PROCEDURE "drop one"(IN at INT) DELETE FROM "{db}"."t" WHERE "id" = at`,
      `SET SESSION sql_mode = 'STRICT_ALL_TABLES'`,
      `CREATE PROCEDURE text_run() BEGIN
        PREPARE p FROM 'DELETE FROM {db}.t'; EXECUTE p; END`,
      'CREATE EVENT sweep ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM {db}.t',
    );
    expect((await stage.plan()).notCarried).toEqual([
      {
        what: `event ${stage.source}.sweep`,
        why: 'this version carries no events on MySQL and MariaDB',
      },
      {
        what: `procedure ${stage.source}.text_run`,
        why: 'it cannot be told for sure what its text names',
      },
    ]);
    await stage.apply(rowsStep(stage, 't', put(['id'], { id: '1', up: '5', v: 'a' })));
    expect(await stage.rows('SELECT * FROM doubled')).toEqual([{ id: 1, up: 10, total: 5 }]);
    const at = await overlaidRollout(stage);
    const { name } = at;
    const account = { database: name, role: name, password: 'pass' };
    const candidate = await sessionOn((await stage.server.createCandidateRole(account)).url);
    await candidate.query('CALL add_one(3)');
    await candidate.query('CALL `drop one`(1)');
    expect(await rowsOf(candidate, 'SELECT * FROM doubled')).toEqual([{ id: 3, up: 12, total: 6 }]);
    expect(await rowsOf(candidate, 'SELECT * FROM t')).toEqual([{ id: 3, up: 6, v: 'ü' }]);
    expect((await at.database.overlayRows(9)).map(({ key, kind }) => [key, kind])).toEqual([
      [['3'], 'insert'],
      [['1'], 'delete'],
    ]);
    // Neither the trunk nor production was written to.
    expect(await stage.rows('SELECT id FROM t')).toEqual([{ id: 1 }]);
    expect(await rowsOf(at.admin, `SELECT id FROM \`${stage.source}\`.t`)).toEqual([]);
    await expect(candidate.query('CALL text_run()')).rejects.toMatchObject({ errno: 1305 });
  });
});
