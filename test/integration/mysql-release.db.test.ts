/**
 * When a row of the candidate's is production's again, on MySQL and MariaDB: the table of decisions cell by
 * cell, what is left alone because somebody is at it, and what the ledger says of it all.
 */
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Swept } from '../../src/dialect/overlay.ts';
import { sweepOverlay } from '../../src/dialect/mysql/overlay/release.ts';
import { transaction } from '../../src/dialect/mysql/session/client.ts';
import type { NetChange } from '../../src/order/change-batch.ts';
import { decide, type OwnedState, type UpstreamChange } from '../../src/overlay/decide.ts';
import { openProduct } from '../support/overlay-binlog-applier.ts';
import {
  ENGINES,
  gone,
  imageOf,
  overlaidRollout,
  put,
  rowsOf,
  rowsStep,
  stageOf,
  type Engine,
  type Overlaid,
  type Row,
  type Stage,
} from './mysql.fixture.ts';

const SCHEMA = [
  `CREATE TABLE t (id INT PRIMARY KEY, n INT, s VARCHAR(9) COLLATE utf8mb4_general_ci)`,
  `CREATE TABLE w (k VARCHAR(9) COLLATE utf8mb4_general_ci, i INT, f DOUBLE, j JSON, d DECIMAL(9,2),
    PRIMARY KEY (k, i))`,
  `CREATE TABLE x (f DOUBLE PRIMARY KEY, n INT)`,
];

type Scene = Overlaid & { readonly stage: Stage };

async function scene(engine: Engine, rows: readonly string[]): Promise<Scene> {
  const stage = await stageOf(engine, ...SCHEMA);
  for (const sql of rows) await stage.client.query(sql);
  return { ...(await overlaidRollout(stage)), stage };
}

async function write({ candidate }: Scene, statements: string): Promise<void> {
  for (const sql of statements.split('; ')) await candidate.query(sql);
}

async function sweep({
  database,
  fence,
}: Scene): Promise<readonly [released: number, parts: number]> {
  let [total, parts] = [0, 0];
  for (let place: string | null = null; ;) {
    const { released, next }: Swept = await database.sweepOverlay(fence, place);
    [total, parts] = [total + released, parts + 1];
    if (next === null) return [total, parts];
    place = next;
  }
}

function entries({ admin, name }: Scene, table = 't', key = 'id'): Promise<readonly Row[]> {
  const sql = `SELECT ${key} FROM \`${name}__understudy\`.\`${table}#journal\` ORDER BY 1`;
  return rowsOf(admin, sql);
}

async function lines({ admin, name }: Scene): Promise<readonly string[]> {
  const sql = `SELECT outcome, row_key AS k FROM \`${name}__understudy\`.outcome ORDER BY id`;
  return (await rowsOf(admin, sql)).map(({ outcome, k }) => `${String(outcome)} ${String(k)}`);
}

/** Null if it was done. */
async function codeOf(done: Promise<unknown>): Promise<string | null> {
  try {
    await done;
    return null;
  } catch (error) {
    return (error as { readonly code: string }).code;
  }
}

const image = (at: Scene): Promise<readonly Row[]> => imageOf(at, 't', 'id, n, s');

describe.each(ENGINES)('an event on %s', (engine) => {
  const STATES: Readonly<Record<OwnedState, string>> = {
    none: '',
    inserted: `DELETE FROM t WHERE id = #; INSERT INTO t VALUES (#, 5, 'mine')`,
    updated: `UPDATE t SET s = 'mine' WHERE id = #`,
    deleted: `DELETE FROM t WHERE id = #`,
    same: `UPDATE t SET s = 'A' WHERE id = #; UPDATE t SET s = 'a' WHERE id = #`,
    void: `INSERT INTO t VALUES (#, 5, 'mine'); DELETE FROM t WHERE id = #`,
  };
  const MEETS: Partial<Record<OwnedState, string>> = {
    inserted: `DELETE FROM t WHERE id = #; INSERT INTO t VALUES (#, 0, 'theirs')`,
    updated: `UPDATE t SET n = 0, s = 'theirs' WHERE id = #`,
  };
  const CHANGES: Readonly<Record<UpstreamChange, (id: string) => NetChange>> = {
    upsert: (id) => put(['id'], { id, n: '0', s: 'theirs' }),
    patch: (id) => put(['id'], { id, s: 'theirs' }, { complete: false }),
    delete: (id) => gone(id),
  };

  async function stateOf({ admin, name }: Scene, id: string): Promise<OwnedState> {
    const [row] = await rowsOf(
      admin,
      `SELECT j.understudy_present AS base, t.id IS NOT NULL AS visible,
          j.n <=> t.n AND BINARY j.s <=> BINARY t.s AS alike
        FROM \`${name}__understudy\`.\`t#journal\` j LEFT JOIN t USING (id) WHERE j.id = ${id}`,
    );
    if (row === undefined) return 'none';
    const [base, visible, alike] = ['base', 'visible', 'alike'].map((is) => Number(row[is]) === 1);
    if (base === true && visible === true) return alike === true ? 'same' : 'updated';
    if (base === true) return 'deleted';
    return visible === true ? 'inserted' : 'void';
  }

  it('is decided as the table says', async () => {
    const states = Object.keys(STATES) as OwnedState[];
    const cells = states.flatMap((state) =>
      (['upsert', 'patch', 'delete'] as const).flatMap((change) =>
        [false, true]
          .filter((meets) => !meets || (change !== 'delete' && MEETS[state] !== undefined))
          .map((meets) => ({ state, change, meets })),
      ),
    );
    const at = await scene(engine, [
      `INSERT INTO t VALUES ${cells.map((_, i) => `(${String(i)}, 10, 'a')`).join(', ')}`,
    ]);
    let told: readonly string[] = [];
    for (const [i, { state, change, meets }] of cells.entries()) {
      const id = String(i);
      const cell = `${change} over ${state}${meets ? ', meeting' : ''}`;
      const apply = (one: NetChange): Promise<unknown> => at.apply(rowsStep(at.stage, 't', one));
      if (state === 'void') await apply(gone(id));
      const written = (meets ? MEETS[state] : undefined) ?? STATES[state];
      if (written !== '') await write(at, written.replaceAll('#', id));
      if (state === 'inserted') await apply(gone(id));
      // A patch keeps production's other column.
      if (meets && change === 'patch') await write(at, `UPDATE t SET n = 10 WHERE id = ${id}`);
      expect(await stateOf(at, id), cell).toBe(state);
      const here = (rows: readonly Row[]) => rows.filter((row) => String(row['id']) === id);
      const visible = here(await rowsOf(at.admin, 'SELECT * FROM t'));
      const decision = decide(change, state, meets);
      // These servers send whole rows: a patch of none is told, and nothing is written.
      const isRefused = change === 'patch' && (state === 'inserted' || state === 'void');
      const code = await codeOf(apply(CHANGES[change](id)));
      expect(code, cell).toBe(isRefused ? 'ROW_INCOMPLETE' : null);
      expect(await stateOf(at, id), cell).toBe(isRefused ? state : decision.next);
      const now = here(await image(at));
      const isGone = change === 'delete' || isRefused;
      expect(now, cell).toMatchObject(isGone ? [] : [{ s: 'theirs' }]);
      const seen = here(await rowsOf(at.admin, 'SELECT * FROM t'));
      expect(seen, cell).toEqual(decision.kind === 'write' && !isRefused ? now : visible);
      if (decision.kind === 'converge') told = [...told, `converged ["${id}"]`];
      expect(await lines(at), cell).toEqual(told);
    }
  });

  it('is a TRUNCATE: rows that were changed back go, those that were deleted converge', async () => {
    const at = await scene(engine, [`INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')`]);
    await write(
      at,
      `UPDATE t SET n = 7 WHERE id = 1; UPDATE t SET n = 1 WHERE id = 1; DELETE FROM t WHERE id = 2; UPDATE t SET n = 0 WHERE id = 3`,
    );
    await at.apply({ kind: 'truncate', table: { schema: at.stage.source, name: 't' } });
    expect(await rowsOf(at.admin, 'SELECT id FROM t')).toEqual([{ id: 3 }]);
    expect(await image(at)).toEqual([]);
    expect(await entries(at)).toEqual([{ id: 3 }]);
    expect(await lines(at)).toEqual(['converged ["2"]']);
  });
});

describe.each(ENGINES)('a sweep on %s', (engine) => {
  it('gives up what is the same to the byte, and only that, by keys of every kind', async () => {
    const at = await scene(engine, [
      `INSERT INTO w VALUES ('a', 1, 0e0, '{"a":1}', 1.00), ('a', 2, 1.5e0, 'null', NULL), ('b', 1, 0.1e0, '1', 2)`,
      `INSERT INTO x VALUES (0.1e0, 1), (0.3e0, 3)`,
    ]);
    await write(
      at,
      `UPDATE w SET d = 7, f = 7e0; UPDATE w SET d = 1, f = -0e0 WHERE k = 'a' AND i = 1`,
    );
    await write(
      at,
      `UPDATE w SET d = NULL, f = 1.5e0 WHERE i = 2; UPDATE w SET d = 2.00, f = 0.1e0 WHERE k = 'b'`,
    );
    await write(at, `UPDATE w SET k = 'B' WHERE k = 'b'; INSERT INTO w (k, i) VALUES ('c', 1)`);
    await write(
      at,
      `DELETE FROM w WHERE k = 'c'; UPDATE x SET n = 7; UPDATE x SET n = 3 WHERE n = 7 AND f > 0.2`,
    );
    // MariaDB has no zero with a sign.
    const signed = engine === 'mysql' ? [{ e: 'a1' }] : [];
    expect((await sweep(at))[0]).toBe(4 - signed.length);
    const key = `CONCAT(k, i) AS e`;
    expect(await entries(at, 'w', key)).toEqual([...signed, { e: 'b1' }]);
    expect(await entries(at, 'x', 'n')).toEqual([{ n: 1 }]);
    // Nobody changed anything in the end.
    expect(await lines(at)).toEqual([]);
  });

  it('goes through many entries in parts', async () => {
    const at = await scene(engine, [
      `INSERT INTO w (k, i) WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 900)
        SELECT SUBSTR(y.k, 1, 9), r.i FROM r JOIN (SELECT 'a' AS k UNION SELECT 'ä b' UNION SELECT 'c' UNION
          SELECT 'D' UNION SELECT 'e''' ) y`,
    ]);
    await write(at, `UPDATE w SET d = 7; UPDATE w SET d = NULL; UPDATE w SET d = 1 WHERE i = 77`);
    const [released, parts] = await sweep(at);
    expect(released).toBe(5 * 899);
    expect(parts).toBeGreaterThan(2);
    expect(await entries(at, 'w', 'k')).toHaveLength(5);
  });

  it('passes over rows that the candidate is at, whatever it does to them', async () => {
    const at = await scene(engine, [`INSERT INTO t VALUES (1, 10, 'a')`]);
    for (const level of ['READ COMMITTED', 'REPEATABLE READ']) {
      await write(at, `SET SESSION TRANSACTION ISOLATION LEVEL ${level}`);
      for (const own of [
        `UPDATE t SET s = 'mine' WHERE id = 1`,
        'DELETE FROM t WHERE id = 1',
        `DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 10, 'a')`,
        `DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 10, 'mine')`,
        `REPLACE INTO t VALUES (1, 10, 'A')`,
        `INSERT INTO t VALUES (9, 9, 'mine')`,
      ]) {
        for (const end of ['COMMIT', 'ROLLBACK']) {
          const what = `${level}: ${own}; ${end}`;
          await at.database.resetOverlay(at.fence, {});
          await write(at, `UPDATE t SET n = 7 WHERE id = 1; UPDATE t SET n = 10 WHERE id = 1`);
          await write(at, `INSERT INTO t VALUES (9, 9, 'x'); DELETE FROM t WHERE id = 9`);
          await write(at, `START TRANSACTION; ${own}`);
          const key = own.includes('9') ? 9 : 1;
          expect((await sweep(at))[0], what).toBe(1);
          expect(await entries(at), what).toEqual([{ id: key }]);
          await write(at, end);
          await sweep(at);
          expect(await image(at), what).toEqual([{ id: 1, n: 10, s: 'a' }]);
          const isLeft = end === 'COMMIT' && !own.includes(`'a'`);
          expect(await entries(at), what).toEqual(isLeft ? [{ id: key }] : []);
        }
      }
    }
  });

  it('lets who comes while it is under way own the row anew', async () => {
    const at = await scene(engine, [`INSERT INTO t VALUES (1, 10, 'a')`]);
    const { client, session } = await openProduct({ url: at.stage.url, database: at.name });
    onTestFinished(() => client.end());
    for (const level of ['READ COMMITTED', 'REPEATABLE READ']) {
      await write(at, `SET SESSION TRANSACTION ISOLATION LEVEL ${level}`);
      for (const own of [
        `UPDATE t SET s = 'mine' WHERE id = 1`,
        'DELETE FROM t WHERE id = 1',
        `INSERT INTO t VALUES (9, 9, 'mine')`,
      ]) {
        await at.database.resetOverlay(at.fence, {});
        await write(at, `UPDATE t SET n = 7 WHERE id = 1; UPDATE t SET n = 10 WHERE id = 1`);
        await write(at, `INSERT INTO t VALUES (9, 9, 'x'); DELETE FROM t WHERE id = 9`);
        await write(at, `START TRANSACTION; SELECT COUNT(*) FROM t`);
        const late = await transaction(client, async () => {
          expect(await sweepOverlay(session, null)).toMatchObject({ released: 2 });
          const done = write(at, `${own}; COMMIT`);
          await new Promise((resolve) => setTimeout(resolve, 100));
          return { done };
        });
        await late.done;
        expect(await image(at), own).toEqual([{ id: 1, n: 10, s: 'a' }]);
        expect(await entries(at), own).toHaveLength(1);
      }
    }
  });
});

describe.each(ENGINES)('the ledger on %s', (engine) => {
  it('has a line for each row that is given up, but not for those that nobody changed', async () => {
    const at = await scene(engine, [`INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')`]);
    const { database, fence, stage, admin, name } = at;
    await write(
      at,
      `UPDATE t SET n = 7; UPDATE t SET n = 2 WHERE id = 2; DELETE FROM t WHERE id = 3`,
    );
    await write(at, `INSERT INTO t VALUES (9, 9, 'new')`);
    await at.apply(rowsStep(stage, 't', put(['id'], { id: '1', n: '0', s: 'later' }), gone('3')));
    expect(await lines(at)).toEqual(['converged ["3"]']);
    // The candidate comes to what production has.
    await write(at, `UPDATE t SET n = 0, s = 'later' WHERE id = 1`);
    const table = { schema: stage.source, name: 't' };
    expect(await database.releaseOverlay(fence, {})).toEqual({ released: 2, kept: 1 });
    expect(await database.releaseOverlay(fence, { table, key: ['9'] })).toEqual({
      ...{ released: 0, kept: 1 },
    });
    expect(await database.resetOverlay(fence, { table })).toBe(1);
    expect(await lines(at)).toEqual(['converged ["3"]', 'released ["1"]', 'reset ["9"]']);
    const counts = { converged: 1, released: 1, reset: 1, ours: 0, theirs: 0, merged: 0 };
    expect(await database.outcomes()).toEqual(counts);
    const ledger = `\`${name}__understudy\`.outcome`;
    const [whole] = await rowsOf(
      admin,
      `SELECT COUNT(*) AS n FROM ${ledger} WHERE table_schema = '${stage.source}' AND table_name = 't'
        AND first_at_us <= decided_at_us AND first_at_us > decided_at_us - 60000000`,
    );
    expect(Number(whole?.['n'])).toBe(3);
    await admin.query(
      `UPDATE ${ledger} SET decided_at_us = decided_at_us - 172800000000 WHERE outcome <> 'reset'`,
    );
    expect(await database.forgetOutcomes(fence, 86_400_000)).toBe(2);
    expect(await lines(at)).toEqual(['reset ["9"]']);
  });

  it('of a rollout that an older version made, begins with what is written from now on', async () => {
    const at = await scene(engine, [`INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b')`]);
    await write(at, `UPDATE t SET n = 7 WHERE id = 1`);
    const { admin, name, database, fence, stage } = at;
    await database.releaseFence(fence);
    await admin.query(`DELETE FROM \`${name}__understudy\`.migration WHERE version > 13`);
    await admin.query(`DROP TABLE \`${name}__understudy\`.outcome`);
    for (const { id: journal } of await rowsOf(
      admin,
      `SELECT TABLE_NAME AS id FROM information_schema.TABLES
        WHERE TABLE_SCHEMA = '${name}__understudy' AND TABLE_NAME LIKE '%#journal'`,
    )) {
      await admin.query(
        `ALTER TABLE \`${name}__understudy\`.\`${String(journal)}\` DROP COLUMN understudy_moved,
          DROP COLUMN understudy_trace, DROP COLUMN understudy_blocked, DROP COLUMN understudy_conflict,
          DROP COLUMN understudy_conflict_base, DROP COLUMN understudy_conflict_at,
          DROP COLUMN understudy_conflict_source, DROP COLUMN understudy_conflict_detail, COMMENT ''`,
      );
    }
    const opened = await stage.server.open(name);
    if (opened === null) throw new Error('there is no such rollout');
    onTestFinished(() => opened[Symbol.asyncDispose]());
    const next = await opened.takeFence('next');
    if (next === null) throw new Error('it is held');
    expect(await entries(at)).toEqual([{ id: 1 }]);
    await write(at, `UPDATE t SET n = 7 WHERE id = 2`);
    expect(await opened.resetOverlay(next, {})).toBe(2);
    expect(await lines(at)).toEqual(['reset ["1"]', 'reset ["2"]']);
  });
});
