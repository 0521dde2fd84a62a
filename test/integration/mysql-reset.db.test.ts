/** Rows that are given back to production, on MySQL and MariaDB. */
import { describe, expect, it } from 'vitest';
import {
  ENGINES,
  gone,
  imageOf,
  overlaidRollout,
  put,
  rowsOf,
  rowsStep,
  stageOf,
  type Overlaid,
  type Stage,
} from './mysql.fixture.ts';

const SCHEMA = [
  `CREATE TABLE p (id INT PRIMARY KEY, n INT UNIQUE, v VARCHAR(9), en ENUM('a'), twice INT AS (n * 2) STORED)`,
  'CREATE TABLE c (id INT PRIMARY KEY, pid INT, FOREIGN KEY (pid) REFERENCES p (id) ON DELETE CASCADE)',
];

async function scene(
  engine: (typeof ENGINES)[number],
): Promise<Overlaid & { readonly stage: Stage }> {
  const stage = await stageOf(engine, ...SCHEMA);
  // An enum may hold what is none of its labels.
  await stage.client.query(`SET SESSION sql_mode = ''`);
  for (const id of [1, 2, 3, 4].map(String)) {
    await stage.client.query(`INSERT INTO p (id, n, v, en) VALUES (${id}, ${id}, 'ours', 'none')`);
    await stage.client.query(`INSERT INTO c VALUES (${id}, ${id})`);
  }
  return { ...(await overlaidRollout(stage)), stage };
}

const P = 'SELECT id, n, v, en + 0 AS en, twice FROM p ORDER BY id';
const C = 'SELECT id, pid FROM c ORDER BY id';

/** What is seen is production's, and nothing is owned. */
async function expectReset(at: Overlaid & { readonly stage: Stage }): Promise<void> {
  for (const sql of [P, C]) expect(await rowsOf(at.admin, sql)).toEqual(await at.stage.rows(sql));
  for (const { equal, inserted, updated, deleted } of await at.database.overlayCounts()) {
    expect([equal, inserted, updated, deleted]).toEqual([0, 0, 0, 0]);
  }
}

describe.each(ENGINES)('on %s', (engine) => {
  it('a row, a table, and all are production’s again, as it is by then', async () => {
    const at = await scene(engine);
    const { database, fence, candidate, stage } = at;
    const table = (name: string) => ({ schema: stage.source, name });
    await candidate.query(
      `UPDATE p SET n = CASE id WHEN 1 THEN 90 WHEN 2 THEN 1 END WHERE id < 3 ORDER BY id`,
    );
    await candidate.query(`UPDATE p SET n = 2 WHERE id = 1`);
    await candidate.query('DELETE FROM p WHERE id = 3');
    await candidate.query(`INSERT INTO p (id, n, v) VALUES (9, 9, 'new')`);
    await candidate.query(`INSERT INTO c VALUES (9, 9)`);
    await candidate.query('UPDATE c SET pid = 4 WHERE id = 2');
    // Production goes on.
    for (const to of [stage, at]) {
      await to.apply(
        rowsStep(stage, 'p', put(['id'], { id: '1', n: '1', v: 'later', en: 'a' }), gone('2')),
      );
    }
    const image = await imageOf(at, 'p', 'id, n, v, en + 0 AS en');
    expect(await database.resetOverlay(fence, { table: table('p'), key: ['9'] })).toBe(1);
    expect(await database.resetOverlay(fence, { table: table('p'), key: ['77'] })).toBe(0);
    expect(await database.resetOverlay(fence, { table: table('p'), key: ['no number'] })).toBe(0);
    expect(await rowsOf(at.admin, 'SELECT id FROM p ORDER BY id')).toEqual([
      ...[{ id: 1 }, { id: 2 }, { id: 4 }],
    ]);
    expect(await database.resetOverlay(fence, { table: table('p') })).toBe(3);
    expect(await imageOf(at, 'p', 'id, n, v, en + 0 AS en')).toEqual(image);
    expect(await rowsOf(at.admin, P)).toEqual(await stage.rows(P));
    expect(await rowsOf(at.admin, C)).not.toEqual(await stage.rows(C));
    expect(await database.resetOverlay(fence, {})).toBe(3);
    await expectReset(at);
    // The candidate's session goes on, and owns again what it writes.
    await candidate.query(`UPDATE p SET v = 'again' WHERE id = 1`);
    expect(await database.overlayRows(9)).toMatchObject([{ key: ['1'], kind: 'update' }]);
    await expect(database.resetOverlay(fence, { key: ['1'] })).rejects.toMatchObject({
      code: 'USAGE',
    });
    await expect(database.resetOverlay(fence, { table: table('none') })).rejects.toMatchObject({
      code: 'TABLE_UNKNOWN',
    });
  });

  it('a unique value that the candidate gave to a row that stays blocks, and changes nothing', async () => {
    const at = await scene(engine);
    await at.candidate.query('UPDATE p SET n = 50 WHERE id = 1');
    await at.candidate.query(`INSERT INTO p (id, n, v) VALUES (9, 1, 'new')`);
    const only = { table: { schema: at.stage.source, name: 'p' }, key: ['1'] };
    await expect(at.database.resetOverlay(at.fence, only)).rejects.toMatchObject({
      code: 'APPLY_BLOCKED',
    });
    expect(await rowsOf(at.admin, 'SELECT n FROM p WHERE id = 1')).toEqual([{ n: 50 }]);
    expect(await at.database.resetOverlay(at.fence, {})).toBe(2);
    await expectReset(at);
  });

  it('a row that the candidate makes again meanwhile is its own, or production’s', async () => {
    const at = await scene(engine);
    await at.candidate.query('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
    await at.candidate.query('DELETE FROM p WHERE id = 1');
    await at.candidate.query('START TRANSACTION');
    await at.candidate.query(`INSERT INTO p (id, n, v) VALUES (1, 1, 'mine')`);
    const reset = at.database.resetOverlay(at.fence, {});
    await new Promise((resolve) => setTimeout(resolve, 300));
    await at.candidate.query('COMMIT');
    // The row, and the child that went with it.
    expect(await reset).toBe(2);
    await expectReset(at);
  });
});
