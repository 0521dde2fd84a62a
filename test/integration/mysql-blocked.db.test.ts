/**
 * Rows of production's that are kept out, since the candidate's rows or its schema refuse them, on MySQL and
 * MariaDB: production's image stands in the journal, all else goes on, and they come in when nothing is in
 * their way.
 */
import { describe, expect, it } from 'vitest';
import type { NetChange } from '../../src/order/change-batch.ts';
import { decide, type UpstreamChange } from '../../src/overlay/decide.ts';
import {
  batchOf,
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
  `CREATE TABLE t (id INT PRIMARY KEY, n INT, s VARCHAR(20), UNIQUE KEY by_n (n), UNIQUE KEY by_s (s(3)))`,
];

type Scene = Overlaid & { readonly stage: Stage };

async function scene(engine: Engine, rows: readonly string[], schema = SCHEMA): Promise<Scene> {
  const stage = await stageOf(engine, ...schema);
  for (const sql of rows) await stage.client.query(sql);
  return { ...(await overlaidRollout(stage)), stage };
}

const row = (id: number, n: number | null, s: string | null = null): NetChange =>
  put(['id'], { id: String(id), n: n === null ? null : String(n), s });

const apply = (at: Scene, ...changes: readonly NetChange[]) =>
  at.apply(rowsStep(at.stage, 't', ...changes));

async function write({ candidate }: Scene, statements: string): Promise<void> {
  for (const sql of statements.split('; ')) await candidate.query(sql);
}

async function sweep({ database, fence }: Scene): Promise<void> {
  for (let place: string | null = null; ;) {
    const { next } = await database.sweepOverlay(fence, place);
    if (next === null) return;
    place = next;
  }
}

const visible = (at: Scene): Promise<readonly Row[]> => rowsOf(at.admin, 'SELECT * FROM t');
const image = (at: Scene): Promise<readonly Row[]> => imageOf(at, 't', 'id, n, s');

/** Keys of what is kept out, with why. */
async function keptOut({ admin, name }: Scene): Promise<readonly string[]> {
  const rows = await rowsOf(
    admin,
    `SELECT id, understudy_blocked AS why, understudy_conflict_detail AS detail
      FROM \`${name}__understudy\`.\`t#journal\` WHERE understudy_blocked IS NOT NULL ORDER BY id`,
  );
  return rows.map(({ id, why, detail }) => `${String(id)} ${String(why)} ${String(detail)}`);
}

async function owned({ admin, name }: Scene): Promise<readonly unknown[]> {
  const rows = await rowsOf(
    admin,
    `SELECT id FROM \`${name}__understudy\`.\`t#journal\` WHERE understudy_blocked IS NULL ORDER BY id`,
  );
  return rows.map(({ id }) => id);
}

describe.each(ENGINES)('a row that is kept out on %s', (engine) => {
  const CHANGES: Readonly<Record<UpstreamChange, (id: number, n: number) => NetChange>> = {
    upsert: (id, n) => row(id, n, `u${String(id)}`),
    patch: (id, n) => put(['id'], { id: String(id), n: String(n) }, { complete: false }),
    delete: (id) => gone(String(id)),
  };

  it('is decided as the table says, with every change, beside a row or none, in the way of it or not', async () => {
    const cells = (['upsert', 'patch', 'delete'] as const).flatMap((change) =>
      [false, true].flatMap((isStale) =>
        (['in the way', 'of another value', 'gone'] as const).map((blocker) => ({
          ...{ change, isStale, blocker },
        })),
      ),
    );
    const at = await scene(engine, [
      `INSERT INTO t VALUES ${cells.flatMap(({ isStale }, i) => (isStale ? [`(${String(i)}, ${String(1000 + i)}, 'a${String(i)}')`] : [])).join(', ')}`,
    ]);
    for (const [i, { change, isStale, blocker }] of cells.entries()) {
      const cell = `${change} over ${isStale ? 'a row' : 'none'}, ${blocker}`;
      const [held, other] = [2000 + i, 3000 + i];
      await write(at, `INSERT INTO t VALUES (${String(500 + i)}, ${String(held)}, NULL)`);
      const before = (await visible(at)).filter(({ id }) => id === i);
      expect(before, cell).toHaveLength(isStale ? 1 : 0);
      expect(await apply(at, row(i, held, `b${String(i)}`)), cell).toMatchObject({ owned: 0 });
      expect(await keptOut(at), cell).toEqual([`${String(i)} multiple_unique by_n`]);
      expect(
        (await visible(at)).filter(({ id }) => id === i),
        cell,
      ).toEqual(before);
      const here = (await image(at)).filter(({ id }) => Number(id) === i);
      expect(here, cell).toEqual([{ id: i, n: held, s: `b${String(i)}` }]);
      const moves = blocker === 'of another value';
      if (blocker === 'gone') await write(at, `DELETE FROM t WHERE id = ${String(500 + i)}`);
      expect(decide(change, 'blocked', false).kind, cell).toBe('write');
      await apply(at, CHANGES[change](i, moves ? other : held));
      const isOut = blocker === 'in the way' && change !== 'delete';
      expect(await keptOut(at), cell).toEqual(isOut ? [`${String(i)} multiple_unique by_n`] : []);
      const now = (await image(at)).filter(({ id }) => Number(id) === i);
      const s = change === 'upsert' ? `u${String(i)}` : `b${String(i)}`;
      const is = { id: i, n: moves ? other : held, s };
      expect(now, cell).toEqual(change === 'delete' ? [] : [is]);
      const seen = (await visible(at)).filter(({ id }) => id === i);
      expect(seen, cell).toEqual(isOut ? before : now);
      expect(await owned(at), cell).not.toContain(i);
      await at.database.resetOverlay(at.fence, {});
      expect(await keptOut(at), cell).toEqual([]);
      expect(
        (await visible(at)).filter(({ id }) => id === i),
        cell,
      ).toEqual(now);
    }
    // Nothing of it was the candidate's.
    const ended = await rowsOf(
      at.admin,
      `SELECT JSON_UNQUOTE(JSON_EXTRACT(row_key, '$[0]')) AS k FROM \`${at.name}__understudy\`.outcome`,
    );
    expect(ended.filter(({ k }) => Number(k) < 500)).toEqual([]);
  });

  it('leaves all others of the batch to follow, also those that swap with each other', async () => {
    const at = await scene(engine, [
      `INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c'), (4, 4, 'd'), (5, 5, 'e')`,
    ]);
    await write(at, `INSERT INTO t VALUES (90, 50, NULL); UPDATE t SET s = 'mine' WHERE id = 5`);
    // 1 and 2 swap, 3 comes to what the candidate holds, 4 to what 3 had, and 6 to what 4 had.
    const batch = [row(1, 2, 'a'), row(2, 1, 'b'), row(3, 50, 'c'), row(4, 3, 'd'), row(6, 4, 'f')];
    expect(await apply(at, ...batch)).toMatchObject({ rows: 5, owned: 0 });
    const out = ['3', '4', '6'].map((id) => `${id} multiple_unique by_n`);
    const expected = { 1: 2, 2: 1, 3: 3, 4: 4, 5: 5, 90: 50 };
    const check = async (): Promise<void> => {
      expect(await keptOut(at)).toEqual(out);
      expect(Object.fromEntries((await visible(at)).map(({ id, n }) => [id, n]))).toEqual(expected);
      expect((await image(at)).map(({ id, n }) => [id, n])).toEqual([
        ...[
          [1, 2],
          [2, 1],
          [3, 50],
          [4, 3],
          [5, 5],
          [6, 4],
        ],
      ]);
    };
    await check();
    // The same again, and a sweep, change nothing.
    await apply(at, ...batch);
    await check();
    await sweep(at);
    await check();
    await write(at, 'UPDATE t SET n = NULL WHERE id = 90');
    await sweep(at);
    expect(await keptOut(at)).toEqual([]);
    expect(await owned(at)).toEqual([5, 90]);
    expect(Object.fromEntries((await visible(at)).map(({ id, n }) => [id, n]))).toEqual({
      ...{ 1: 2, 2: 1, 3: 50, 4: 3, 5: 5, 6: 4, 90: null },
    });
  });

  it('is in the way of another by what it was, in a circle, and both come in', async () => {
    const at = await scene(engine, [`INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b')`]);
    await write(at, 'INSERT INTO t VALUES (90, 50, NULL)');
    await apply(at, row(1, 50, 'a'));
    await apply(at, row(2, 1, 'b'));
    await write(at, 'DELETE FROM t WHERE id = 90');
    await apply(at, row(1, 2, 'a'));
    expect(await keptOut(at)).toEqual(['1 multiple_unique by_n', '2 multiple_unique by_n']);
    await sweep(at);
    expect(await keptOut(at)).toEqual([]);
    expect(await visible(at)).toEqual([
      { id: 1, n: 2, s: 'a' },
      { id: 2, n: 1, s: 'b' },
    ]);
  });

  it('by a key over a part of a column is found by trying', async () => {
    const at = await scene(engine, [`INSERT INTO t VALUES (1, 1, 'aaa1')`]);
    await write(at, `INSERT INTO t VALUES (90, 90, 'xyz-mine')`);
    const many = Array.from({ length: 20 }, (_, i) => row(10 + i, 10 + i, `${String(10 + i)}_`));
    await apply(at, ...many, row(1, 1, 'xyz-theirs'), row(2, 90, 'bbb'), row(3, 3, 'XYZ'));
    // A collation that tells no case apart: two rows of production's, one of which is nobody's.
    expect(await keptOut(at)).toEqual([
      ...['1 multiple_unique by_s', '2 multiple_unique by_n', '3 multiple_unique by_s'],
    ]);
    expect(await visible(at)).toHaveLength(22);
    await write(at, `UPDATE t SET s = NULL WHERE id = 90`);
    await apply(at, row(3, 3, 'ccc'));
    await at.database.releaseOverlay(at.fence, {});
    expect(await keptOut(at)).toEqual(['2 multiple_unique by_n']);
  });

  it('was the candidate’s, who changed it back, beside one that still is', async () => {
    const at = await scene(engine, [`INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b')`]);
    await write(at, `INSERT INTO t VALUES (90, 50, NULL); UPDATE t SET s = 'mine' WHERE id = 2`);
    await write(at, `UPDATE t SET s = 'x' WHERE id = 1; UPDATE t SET s = 'a' WHERE id = 1`);
    expect(await apply(at, row(1, 50, 'c'), row(2, 3, 'd'))).toMatchObject({ owned: 1 });
    expect(await keptOut(at)).toEqual(['1 multiple_unique by_n']);
    expect((await image(at)).map(({ n }) => n)).toEqual([50, 3]);
    expect(await owned(at)).toEqual([2, 90]);
  });

  it('becomes the candidate’s with its first write, whatever that is', async () => {
    const writes: Readonly<Record<string, string>> = {
      update: `UPDATE t SET s = 'mine' WHERE id = 1`,
      'an update as it was': `UPDATE t SET s = s WHERE id = 1`,
      delete: `DELETE FROM t WHERE id = 1`,
      move: `UPDATE t SET id = 7 WHERE id = 1`,
      'an insert of the key': `INSERT INTO t VALUES (2, 22, 'new')`,
      replace: `REPLACE INTO t VALUES (1, 11, 'new')`,
    };
    for (const [what, sql] of Object.entries(writes)) {
      const at = await scene(engine, [`INSERT INTO t VALUES (1, 1, 'a')`]);
      await write(at, 'INSERT INTO t VALUES (90, 50, NULL), (91, 51, NULL)');
      await apply(at, row(1, 50, 'late'), row(2, 51, 'two'));
      expect(await keptOut(at), what).toHaveLength(2);
      await write(at, `SET @understudy_trace = 'later'; ${sql}`);
      const before = await visible(at);
      const key = what.startsWith('an insert') ? 2 : 1;
      const isWritten = what !== 'an update as it was';
      expect(await keptOut(at), what).toHaveLength(isWritten ? 1 : 2);
      if (!isWritten) continue;
      expect(await owned(at), what).toContain(key);
      const [entry] = await rowsOf(
        at.admin,
        `SELECT understudy_trace AS trace, understudy_conflict_detail AS detail, n
          FROM \`${at.name}__understudy\`.\`t#journal\` WHERE id = ${String(key)}`,
      );
      expect(String(entry?.['trace']), what).toBe('later');
      expect(entry, what).toMatchObject({ detail: null, n: key === 1 ? 50 : 51 });
      // It stays, with production's image beside it.
      await write(at, 'DELETE FROM t WHERE id >= 90');
      await sweep(at);
      const others = (await visible(at)).filter(({ id }) => id !== 3 - key);
      expect(others, what).toEqual(before.filter(({ id }) => id !== 3 - key && Number(id) < 90));
      expect(
        (await image(at)).map(({ id, n }) => [id, n]),
        what,
      ).toEqual([
        ...[
          [1, 50],
          [2, 51],
        ],
      ]);
    }
  });

  it('is told apart from what the candidate changed', async () => {
    const at = await scene(engine, [`INSERT INTO t VALUES (1, 1, 'a')`]);
    const { database, fence, stage } = at;
    await write(at, 'INSERT INTO t VALUES (90, 50, NULL), (91, 51, NULL)');
    await apply(at, row(1, 50, 'a'), row(2, 51, 'b'));
    expect(await database.overlayCounts()).toMatchObject([{ blocked: 2, inserted: 2, updated: 0 }]);
    const rows = await database.overlayRows(9, { table: { schema: stage.source, name: 't' } });
    expect(rows.filter(({ kind }) => kind === 'blocked')).toMatchObject([
      { key: ['1'], columns: [{ column: 'n', production: '50', candidate: '1' }] },
      {
        key: ['2'],
        columns: [{ column: 'id' }, { column: 'n', production: '51' }, { column: 's' }],
      },
    ]);
    const view = await rowsOf(
      at.admin,
      `SELECT id, understudy_kind AS kind FROM \`${at.name}__difference\`.t ORDER BY id`,
    );
    expect(view.map(({ kind }) => kind)).toEqual(['blocked', 'blocked', 'insert', 'insert']);
    const production = await rowsOf(at.admin, `SELECT n FROM \`${at.name}__production\`.t`);
    expect(production.map(({ n }) => n)).toEqual([50, 51]);
    expect(await database.releaseOverlay(fence, {})).toEqual({ released: 0, kept: 2 });
    expect(
      await database.resetOverlay(fence, {
        key: ['1'],
        table: { schema: stage.source, name: 't' },
      }),
    ).toBe(0);
    expect(await keptOut(at)).toHaveLength(2);
    expect(
      await database.resetOverlay(fence, {
        key: ['90'],
        table: { schema: stage.source, name: 't' },
      }),
    ).toBe(1);
    expect(await keptOut(at)).toEqual(['2 multiple_unique by_n']);
    expect((await visible(at)).find(({ id }) => id === 1)).toMatchObject({ n: 50 });
  });

  it('goes with a TRUNCATE of production’s, and what was there of it too', async () => {
    const at = await scene(engine, [`INSERT INTO t VALUES (1, 1, 'a')`]);
    await write(at, 'INSERT INTO t VALUES (90, 50, NULL), (91, 51, NULL)');
    await apply(at, row(1, 50, 'a'), row(2, 51, 'b'));
    await at.apply({ kind: 'truncate', table: { schema: at.stage.source, name: 't' } });
    expect(await keptOut(at)).toEqual([]);
    expect((await visible(at)).map(({ id }) => id)).toEqual([90, 91]);
    expect(await image(at)).toEqual([]);
  });

  it('that is refused by what the candidate’s schema asks waits, and comes in when that is gone', async () => {
    const at = await scene(engine, [`INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b')`]);
    const { admin, database, fence } = at;
    await admin.query(
      `ALTER TABLE t ADD CONSTRAINT small CHECK (n < 100), MODIFY s VARCHAR(20) NOT NULL`,
    );
    const reopened = await at.stage.server.open(at.name);
    if (reopened === null) throw new Error('there is no such rollout');
    await using next = reopened;
    await database.releaseFence(fence);
    const taken = await next.takeFence('next');
    if (taken === null) throw new Error('it is held');
    const step = rowsStep(at.stage, 't', row(1, 500, 'late'), row(2, 3, null), row(3, 30, 'c'));
    expect(await next.apply(taken, batchOf([step]))).toMatchObject({ rows: 3 });
    const out = await keptOut(at);
    expect(out).toEqual(['1 schema small', '2 schema s']);
    expect(await visible(at)).toEqual([
      ...[
        { id: 1, n: 1, s: 'a' },
        { id: 2, n: 2, s: 'b' },
        { id: 3, n: 30, s: 'c' },
      ],
    ]);
    expect(await image(at)).toMatchObject([{ n: 500 }, { n: 3, s: null }, { n: 30 }]);
    await next.sweepOverlay(taken, null);
    expect(await keptOut(at)).toEqual(out);
    await admin.query(`ALTER TABLE t DROP CONSTRAINT small, MODIFY s VARCHAR(20) NULL`);
    await next.sweepOverlay(taken, null);
    expect(await keptOut(at)).toEqual([]);
    expect(await visible(at)).toEqual(await image(at));
  });

  it('waits for a candidate that is at it, which then owns it, or does not', async () => {
    for (const level of ['READ COMMITTED', 'REPEATABLE READ']) {
      for (const [own, key] of [
        [`UPDATE t SET s = 'mine' WHERE id = 1`, 1],
        ['DELETE FROM t WHERE id = 1', 1],
        [`INSERT INTO t VALUES (2, 22, 'new')`, 2],
      ] as const) {
        for (const end of ['COMMIT', 'ROLLBACK']) {
          const what = `${level}: ${own}; ${end}`;
          const at = await scene(engine, [`INSERT INTO t VALUES (1, 1, 'a')`]);
          await write(at, `SET SESSION TRANSACTION ISOLATION LEVEL ${level}`);
          await write(at, 'INSERT INTO t VALUES (90, 50, NULL), (91, 51, NULL)');
          await apply(at, row(1, 50, 'late'), row(2, 51, 'two'));
          await write(at, `DELETE FROM t WHERE id >= 90; START TRANSACTION; ${own}`);
          // Nobody waits in a sweep; the other one comes in.
          await sweep(at);
          expect((await keptOut(at)).join(), what).toMatch(`${String(key)} multiple_unique`);
          expect(await keptOut(at), what).toHaveLength(1);
          const applied = apply(at, row(1, 60, 'later'), row(2, 61, 'too'));
          await new Promise((resolve) => setTimeout(resolve, 200));
          await write(at, end);
          await applied;
          expect(await owned(at), what).toEqual(end === 'COMMIT' ? [key] : []);
          expect(await keptOut(at), what).toEqual([]);
          expect(
            (await image(at)).map(({ n }) => n),
            what,
          ).toEqual([60, 61]);
        }
      }
    }
  });
});

it('a key over an expression keeps a row out', async () => {
  const schema = [
    'CREATE TABLE t (id INT PRIMARY KEY, n INT, s VARCHAR(20), UNIQUE KEY low ((LOWER(s))))',
  ];
  const at = await scene('mysql', [`INSERT INTO t VALUES (1, 1, 'a')`], schema);
  await write(at, `INSERT INTO t VALUES (90, 90, 'Mine')`);
  await apply(at, row(1, 2, 'mine'), row(2, 3, 'b'));
  expect(await keptOut(at)).toEqual(['1 multiple_unique low']);
  expect((await visible(at)).map(({ n }) => n)).toEqual([1, 3, 90]);
  await write(at, `DELETE FROM t WHERE id = 90`);
  await sweep(at);
  expect(await visible(at)).toEqual(await image(at));
});

describe.each(ENGINES)('on %s', (engine) => {
  it('production’s rows that do not keep to a key that is the candidate’s are kept out', async () => {
    const at = await scene(engine, [`INSERT INTO t VALUES (1, 1, 'a')`]);
    await apply(at, row(2, 1, 'b'), row(3, 3, 'c'));
    expect(await keptOut(at)).toEqual(['2 schema by_n']);
    expect((await visible(at)).map(({ id }) => id)).toEqual([1, 3]);
    await apply(at, row(1, 4, 'a'));
    await sweep(at);
    expect(await keptOut(at)).toEqual([]);
    expect(await visible(at)).toEqual(await image(at));
  });

  it('foreign keys reach a row that is kept out, of both sides', async () => {
    const schema = [
      'CREATE TABLE p (id INT PRIMARY KEY)',
      `CREATE TABLE t (id INT PRIMARY KEY, n INT, s VARCHAR(20), pid INT, UNIQUE KEY by_n (n),
        FOREIGN KEY (pid) REFERENCES p (id) ON DELETE CASCADE)`,
    ];
    const at = await scene(
      engine,
      ['INSERT INTO p VALUES (1), (2)', `INSERT INTO t VALUES (1, 1, 'a', 1), (2, 2, 'b', 2)`],
      schema,
    );
    const child = (id: number, n: number, pid: number): NetChange =>
      put(['id'], { id: String(id), n: String(n), s: null, pid: String(pid) });
    await write(at, `INSERT INTO t VALUES (90, 50, NULL, NULL), (91, 51, NULL, NULL)`);
    await apply(at, child(1, 50, 1), child(2, 51, 2), child(3, 50, 2));
    expect(await keptOut(at)).toHaveLength(3);
    // The candidate's delete reaches what it sees; production's what it has.
    await write(at, 'DELETE FROM p WHERE id = 1');
    expect(await owned(at)).toEqual([1, 90, 91]);
    expect((await image(at)).map(({ id, n }) => [id, n])).toEqual([
      ...[
        [1, 50],
        [2, 51],
        [3, 50],
      ],
    ]);
    await at.apply({
      ...{ kind: 'cascade', table: { schema: at.stage.source, name: 'p' } },
      changes: [{ kind: 'delete', key: ['2'] }],
    });
    expect((await image(at)).map(({ id }) => id)).toEqual([1]);
    expect(await keptOut(at)).toEqual([]);
    expect((await visible(at)).map(({ id }) => id)).toEqual([90, 91]);
  });

  it('what is kept out is so still when the journal is made anew', async () => {
    const at = await scene(engine, [`INSERT INTO t VALUES (1, 1, 'a')`]);
    await write(at, `INSERT INTO t VALUES (90, 50, NULL)`);
    await apply(at, row(1, 50, 'b'));
    await at.admin.query(
      `ALTER TABLE \`${at.name}__understudy\`.\`t#journal\` DROP COLUMN understudy_trace, COMMENT ''`,
    );
    await at.database.releaseFence(at.fence);
    const opened = await at.stage.server.open(at.name);
    if (opened === null) throw new Error('there is no such rollout');
    await using next = opened;
    const fence = await next.takeFence('next');
    if (fence === null) throw new Error('it is held');
    expect(await keptOut(at)).toEqual(['1 multiple_unique by_n']);
    await write(at, 'DELETE FROM t WHERE id = 90');
    await next.sweepOverlay(fence, null);
    expect(await visible(at)).toEqual([{ id: 1, n: 50, s: 'b' }]);
  });

  it('a row that is reset goes in beside what was kept out by it, but not over another’s value', async () => {
    const at = await scene(engine, [`INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b')`]);
    const only = (key: string) => ({ table: { schema: at.stage.source, name: 't' }, key: [key] });
    await write(at, `UPDATE t SET n = 9 WHERE id = 1`);
    // Production moves 2 to what the candidate has there, and 1 to what 2 had.
    await apply(at, row(2, 9, 'b'));
    await apply(at, row(1, 2, 'a'));
    expect(await keptOut(at)).toEqual(['2 multiple_unique by_n']);
    expect(await at.database.resetOverlay(at.fence, only('1'))).toBe(1);
    expect(await visible(at)).toEqual(await image(at));
    await write(at, `UPDATE t SET n = 77 WHERE id = 1; INSERT INTO t VALUES (90, 2, NULL)`);
    await expect(at.database.resetOverlay(at.fence, only('1'))).rejects.toMatchObject({
      code: 'APPLY_BLOCKED',
    });
  });
});
