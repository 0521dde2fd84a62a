/**
 * When a row of the candidate's is production's again: the table of decisions cell by cell, what is left
 * alone because somebody is at it, and what the ledger says of it all.
 */
import { describe, expect, it } from 'vitest';
import { RowShape } from '../../src/change/value.ts';
import type { Swept } from '../../src/dialect/overlay.ts';
import { countOutcomes } from '../../src/dialect/postgres/overlay/read.ts';
import {
  forgetOutcomes,
  releaseOverlay,
  sweepOverlay,
} from '../../src/dialect/postgres/overlay/release.ts';
import { resetOverlay } from '../../src/dialect/postgres/overlay/reset.ts';
import { SHADOW_MIGRATIONS } from '../../src/dialect/postgres/shadow/schema-shadow.ts';
import type { BatchStep, NetChange } from '../../src/order/change-batch.ts';
import { decide, type OwnedState, type UpstreamChange } from '../../src/overlay/decide.ts';
import { acting, apply as applySteps, rows, shop, tables, user, useShop } from './apply.fixture.ts';

useShop();

const T = `CREATE TABLE t (id int PRIMARY KEY, n int, s text);
  INSERT INTO t VALUES (1, 10, 'a'), (2, 20, 'b'), (3, 30, 'c');`;

async function values(sql: string): Promise<readonly unknown[]> {
  return (await user.query({ text: sql, rowMode: 'array' })).rows;
}

const SHAPE = new RowShape(['id', 'n', 's']);

function put(id: number, s: string, n = 0): NetChange {
  const key = [`${id}`];
  const image = { shape: SHAPE, values: [`${id}`, `${n}`, s] };
  return { kind: 'upsert', key, from: key, complete: true, image };
}

function gone(id: number): NetChange {
  return { kind: 'delete', key: [`${id}`] };
}

async function apply(...changes: readonly NetChange[]): Promise<void> {
  await applySteps(rows('t', ...changes));
}

/** A whole one. Returns how many were released, and in how many parts it went. */
async function sweep(): Promise<readonly [released: number, parts: number]> {
  let [total, parts] = [0, 0];
  for (let place: string | null = null; ; parts += 1) {
    const from: string | null = place;
    const { released, next }: Swept = await acting((session) => sweepOverlay(session, from));
    total += released;
    if (next === null) return [total, parts];
    place = next;
  }
}

const entries = (): Promise<readonly unknown[]> =>
  values(`SELECT id FROM understudy."shop.t#journal" ORDER BY id`);
const lines = (): Promise<readonly unknown[]> =>
  values(`SELECT outcome, key FROM understudy.outcome ORDER BY id`);

describe('an event', () => {
  const STATES: Readonly<Record<OwnedState, string>> = {
    none: '',
    inserted: `DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 5, 'mine')`,
    updated: `UPDATE t SET s = 'mine' WHERE id = 1`,
    deleted: `DELETE FROM t WHERE id = 1`,
    same: `UPDATE t SET s = 'mine' WHERE id = 1; UPDATE t SET s = 'a' WHERE id = 1`,
    void: `INSERT INTO t VALUES (1, 5, 'mine'); DELETE FROM t WHERE id = 1`,
  };
  /** So that production's change meets what the candidate sees. */
  const MEETS: Partial<Record<OwnedState, string>> = {
    inserted: `DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 0, 'theirs')`,
    updated: `UPDATE t SET n = 0, s = 'theirs' WHERE id = 1`,
  };
  const CHANGES: Readonly<Record<UpstreamChange, NetChange>> = {
    upsert: put(1, 'theirs'),
    patch: {
      ...{ kind: 'upsert', key: ['1'], from: ['1'], complete: false },
      image: { shape: new RowShape(['id', 's']), values: ['1', 'theirs'] },
    },
    delete: gone(1),
  };

  async function stateOf(): Promise<OwnedState> {
    const [row] = (await values(`SELECT j.understudy_present, t.id IS NOT NULL,
        (j.n, j.s) IS NOT DISTINCT FROM (t.n, t.s)
      FROM understudy."shop.t#journal" j LEFT JOIN shop.t t USING (id) WHERE id = 1`)) as [
      boolean,
      boolean,
      boolean,
    ][];
    if (row === undefined) return 'none';
    const [base, visible, alike] = row;
    if (base && visible) return alike ? 'same' : 'updated';
    if (base) return 'deleted';
    return visible ? 'inserted' : 'void';
  }

  const ALL = ['none', 'inserted', 'updated', 'same', 'deleted', 'void'] as const;
  const cells = ALL.flatMap((state) =>
    (['upsert', 'patch', 'delete'] as const).flatMap((change) =>
      [false, true]
        .filter((meets) => !meets || (change !== 'delete' && MEETS[state] !== undefined))
        .map((meets) => ({ state, change, meets })),
    ),
  );

  for (const { state, change, meets } of cells) {
    const how = meets ? ' that meets what the candidate sees' : '';
    it(`is decided, ${change}${how} over ${state}, as the table says`, async () => {
      await tables(T, true);
      if (state === 'void') await apply(gone(1));
      const written = (meets ? MEETS[state] : undefined) ?? STATES[state];
      if (written !== '') await user.query(written);
      if (state === 'inserted') await apply(gone(1));
      // A patch keeps production's other column.
      if (meets && change === 'patch') await user.query('UPDATE t SET n = 10 WHERE id = 1');
      expect(await stateOf()).toBe(state);
      const visible = await values('SELECT * FROM shop.t WHERE id = 1');
      const decision = decide(change, state, meets);
      await apply(CHANGES[change]);
      expect(await stateOf()).toBe(decision.next);
      const lacks = decision.kind === 'park' || (state === 'void' && change === 'patch');
      expect(await values(`SELECT key, image->>'s' FROM understudy.parked`)).toEqual(
        lacks ? [[['1'], 'theirs']] : [],
      );
      const base = change === 'delete' || lacks ? [] : [['theirs']];
      expect(await values('SELECT s FROM shop__production.t WHERE id = 1')).toEqual(base);
      const image = await values('SELECT * FROM shop__production.t WHERE id = 1');
      const seen = decision.kind === 'write' ? image : visible;
      expect(await values('SELECT * FROM shop.t WHERE id = 1')).toEqual(seen);
      expect(await lines()).toEqual(decision.kind === 'converge' ? [['converged', ['1']]] : []);
    });
  }

  it('writes a row that the candidate saved as it was, and says nothing of it', async () => {
    await tables(T, true);
    await user.query('UPDATE t SET n = n');
    await apply(put(1, 'x'), put(2, 'y'), gone(3));
    expect(await values('SELECT id, s FROM shop.t ORDER BY id')).toEqual([
      [1, 'x'],
      [2, 'y'],
    ]);
    expect([await entries(), await lines()]).toEqual([[], []]);
  });

  it('waits for a candidate that is at such a row, and follows what it does', async () => {
    for (const end of ['COMMIT', 'ROLLBACK']) {
      await tables(T, true);
      await user.query('UPDATE t SET n = n WHERE id = 1');
      await user.query(`BEGIN; UPDATE t SET s = 'mine' WHERE id = 1`);
      await expect(apply(put(1, 'x'))).rejects.toMatchObject({ code: 'APPLY_BLOCKED' });
      await user.query(end);
      await apply(put(1, 'x'));
      const seen = end === 'COMMIT' ? 'mine' : 'x';
      expect(await values('SELECT s FROM shop.t WHERE id = 1')).toEqual([[seen]]);
      expect(await values('SELECT s FROM shop__production.t WHERE id = 1')).toEqual([['x']]);
      expect(await entries()).toEqual(end === 'COMMIT' ? [[1]] : []);
    }
  });

  it('waits for nobody at a row that differs, and leaves one that it comes to meanwhile', async () => {
    await tables(T, true);
    await user.query(`UPDATE t SET s = 'x', n = 0 WHERE id = 1`);
    await user.query(`BEGIN; UPDATE t SET n = 7 WHERE id = 1`);
    await apply(put(1, 'x'));
    await user.query('ROLLBACK');
    expect(await entries()).toEqual([[1]]);
    expect(await sweep()).toEqual([1, 1]);
    expect(await lines()).toEqual([['converged', ['1']]]);
  });

  it('is a TRUNCATE: rows that were written and changed back go, those that were deleted converge', async () => {
    await tables(T, true);
    await user.query(`UPDATE t SET n = n WHERE id = 1; DELETE FROM t WHERE id = 2;
      UPDATE t SET n = 0 WHERE id = 3`);
    const truncate: BatchStep = { kind: 'truncate', table: shop('t') };
    await applySteps(truncate);
    expect(await values('SELECT id FROM shop.t')).toEqual([[3]]);
    expect(await values('SELECT id FROM shop__production.t')).toEqual([]);
    expect(await entries()).toEqual([[3]]);
    expect(await lines()).toEqual([['converged', ['2']]]);
  });
});

describe('a sweep', () => {
  it('gives up what is the same to the byte, and only that', async () => {
    await tables(
      `CREATE TABLE t (id int PRIMARY KEY, f float8, n numeric, j json, b jsonb, c char(3), p point);
      INSERT INTO t SELECT i, 'NaN', 1.0, '{"a":1}', '{"a":1}', 'x', '(1,2)' FROM generate_series(1, 9) i;
      UPDATE t SET f = 0 WHERE id = 2`,
      true,
    );
    await user.query(`UPDATE t SET f = 1 WHERE id < 9; UPDATE t SET f = 'NaN' WHERE id <> 2;
      UPDATE t SET f = '-0' WHERE id = 2; UPDATE t SET n = 1.00 WHERE id = 3;
      UPDATE t SET j = '{"a": 1}' WHERE id = 4; UPDATE t SET b = '{"a": 1 }' WHERE id = 5;
      UPDATE t SET c = NULL WHERE id = 6; DELETE FROM t WHERE id = 7; UPDATE t SET id = 70 WHERE id = 8;
      INSERT INTO t VALUES (80); DELETE FROM t WHERE id = 80`);
    expect(await sweep()).toEqual([4, 1]);
    expect(await entries()).toEqual([2, 3, 4, 6, 7, 8, 70].map((id) => [id]));
    // Nobody changed anything in the end.
    expect(await lines()).toEqual([]);
    expect(await sweep()).toEqual([0, 1]);
  });

  it('goes through many entries in parts', async () => {
    await tables(`${T} INSERT INTO t SELECT i, i, 'many' FROM generate_series(10, 20000) i`, true);
    await user.query(`UPDATE t SET n = n; UPDATE t SET s = 'mine' WHERE id IN (1, 9999, 20000)`);
    const [released, parts] = await sweep();
    expect(released).toBe(19_994 - 3);
    expect(parts).toBeGreaterThan(2);
    expect(await entries()).toEqual([[1], [9_999], [20_000]]);
  });

  it('passes over rows that the candidate is at, whatever it does to them', async () => {
    for (const at of [
      `UPDATE t SET s = 'mine' WHERE id = 1`,
      'UPDATE t SET n = n WHERE id = 1',
      'DELETE FROM t WHERE id = 1',
      `DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 10, 'a')`,
      `DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 10, 'mine')`,
      `INSERT INTO t VALUES (9, 9, 'mine')`,
    ]) {
      for (const end of ['COMMIT', 'ROLLBACK']) {
        await tables(T, true);
        await user.query(
          `UPDATE t SET n = n WHERE id = 1; INSERT INTO t VALUES (9); DELETE FROM t WHERE id = 9`,
        );
        await user.query(`BEGIN; ${at}`);
        const key = at.includes('9') ? 9 : 1;
        expect(await sweep(), at).toEqual([1, 1]);
        expect(await entries(), at).toEqual([[key]]);
        await user.query(end);
        const before = await values('SELECT * FROM shop__production.t ORDER BY id');
        await sweep();
        expect(await values('SELECT * FROM shop__production.t ORDER BY id'), at).toEqual(before);
        const isLeft = end === 'COMMIT' && !/n = n|'a'/.test(at);
        expect(await entries(), `${at}; ${end}`).toEqual(isLeft ? [[key]] : []);
      }
    }
  });

  it('lets who comes while it is under way own the row anew', async () => {
    for (const level of ['READ COMMITTED', 'REPEATABLE READ']) {
      for (const write of [
        `UPDATE t SET s = 'mine' WHERE id = 1`,
        'DELETE FROM t WHERE id = 1',
        `INSERT INTO t VALUES (9, 9, 'mine')`,
      ]) {
        await tables(T, true);
        await user.query(
          `UPDATE t SET n = n WHERE id = 1; INSERT INTO t VALUES (9); DELETE FROM t WHERE id = 9`,
        );
        const base = await values('SELECT * FROM shop__production.t ORDER BY id');
        await user.query(`BEGIN ISOLATION LEVEL ${level}; SELECT FROM t`);
        const late = await acting(async (session) => {
          expect(await sweepOverlay(session, null)).toMatchObject({ released: 2 });
          const done = user.query(`${write}; COMMIT`).catch((error: unknown) => error);
          await new Promise((resolve) => setTimeout(resolve, 50));
          return { done };
        });
        const failure = await late.done;
        expect(failure, write).not.toBeInstanceOf(Error);
        expect(await values('SELECT * FROM shop__production.t ORDER BY id'), write).toEqual(base);
        expect(await entries(), write).toHaveLength(1);
      }
    }
  });
});

describe('the ledger', () => {
  it('has a line for each row that is given up, but not for those that nobody changed', async () => {
    await tables(T, true);
    await user.query(`SET understudy.trace = 'request-7'; UPDATE t SET n = 1 WHERE id = 1;
      UPDATE t SET n = n WHERE id = 2; RESET understudy.trace; DELETE FROM t WHERE id = 3;
      INSERT INTO t VALUES (9, 9, 'new')`);
    await apply(put(1, 'later'), gone(3));
    expect(await lines()).toEqual([['converged', ['3']]]);
    // The candidate comes to what production has.
    await user.query(`UPDATE t SET n = 0, s = 'later' WHERE id = 1`);
    expect(await acting((session) => releaseOverlay(session, {}))).toEqual({
      ...{ released: 2, kept: 1 },
    });
    expect(await acting((session) => resetOverlay(session, { table: shop('t') }))).toBe(1);
    expect(await lines()).toEqual([
      ['converged', ['3']],
      ['released', ['1']],
      ['reset', ['9']],
    ]);
    expect(
      await values(`SELECT table_schema, table_name, trace, first_at <= decided_at
        FROM understudy.outcome WHERE key = '{1}'`),
    ).toEqual([['shop', 't', 'request-7', true]]);
    const counts = { converged: 1, released: 1, reset: 1, ours: 0, theirs: 0, merged: 0 };
    expect(await countOutcomes(user)).toEqual(counts);
  });

  it('says where the log stood, and forgets what is old', async () => {
    await tables(T, true);
    await user.query(`INSERT INTO understudy.progress (source) VALUES ('{"at": 7}');
      UPDATE t SET n = 0 WHERE id < 3`);
    await acting((session) => resetOverlay(session, { table: shop('t'), key: ['1'] }));
    await user.query(`UPDATE understudy.outcome SET decided_at = decided_at - interval '2 days'`);
    await acting((session) => resetOverlay(session, {}));
    expect(await values(`SELECT key, decided_source->>'at' FROM understudy.outcome`)).toEqual([
      [['1'], '7'],
      [['2'], '7'],
    ]);
    expect(await forgetOutcomes(user, 86_400_000)).toBe(1);
    expect(await lines()).toEqual([['reset', ['2']]]);
  });

  it('of a rollout that an older version made, begins with what is written from now on', async () => {
    await tables(T, true);
    await user.query(`UPDATE t SET n = 7 WHERE id = 1; DROP TABLE understudy.outcome;
      ALTER TABLE understudy."shop.t#journal" DROP COLUMN understudy_moved`);
    await user.query(SHADOW_MIGRATIONS.find(({ version }) => version === 16)?.sql ?? '');
    expect(await entries()).toEqual([[1]]);
    await user.query('UPDATE t SET n = 7 WHERE id = 2');
    await apply(put(2, 'b', 7));
    expect(await acting((session) => resetOverlay(session, {}))).toBe(1);
    expect(await lines()).toEqual([
      ['converged', ['2']],
      ['reset', ['1']],
    ]);
  });
});
