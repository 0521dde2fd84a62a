/**
 * Rows of production's that the candidate's rows, or its schema, keep out: the stream goes on, production's
 * image stays exact, the visible row stays as it was until it is the candidate's, or nothing is in the way.
 */
import { describe, expect, it } from 'vitest';
import { RowShape, type KnownValue } from '../../src/change/value.ts';
import { readOverlayCounts, readOverlayRows } from '../../src/dialect/postgres/overlay/read.ts';
import { releaseOverlay } from '../../src/dialect/postgres/overlay/release.ts';
import { resolveOverlay } from '../../src/dialect/postgres/overlay/resolve.ts';
import { resetOverlay } from '../../src/dialect/postgres/overlay/reset.ts';
import type { NetChange } from '../../src/order/change-batch.ts';
import { OVERLAY_WINS, type TablePolicy } from '../../src/overlay/policy.ts';
import { connectTo } from '../support/test-database.ts';
import {
  acting,
  apply as applySteps,
  applyUnder,
  content,
  gone,
  rows,
  shop,
  sweep,
  tables,
  url,
  user,
  useShop,
} from './apply.fixture.ts';

useShop();

/** Production has the rows 1 to 3; the candidate's row 70 holds the value that production gives to others. */
const T = `CREATE TABLE t (id int PRIMARY KEY, u text UNIQUE, s text);
  INSERT INTO t VALUES (1, 'one', 'a'), (2, 'two', 'b'), (3, 'three', 'c');`;
const HELD = `INSERT INTO t VALUES (70, 'held', 'mine')`;

const SOURCE_WINS: TablePolicy = { rows: 'source-wins', others: 'source-wins', columns: new Map() };
const SHAPE = new RowShape(['id', 'u', 's']);

function put(id: number, u: string | null, s = 'theirs'): NetChange {
  const key = [String(id)];
  const image = { shape: SHAPE, values: [String(id), u, s] };
  return { kind: 'upsert', key, from: key, complete: true, image };
}

function patch(id: number, columns: Readonly<Record<string, KnownValue>>): NetChange {
  const key = [String(id)];
  const shape = new RowShape(['id', ...Object.keys(columns)]);
  const image = { shape, values: [String(id), ...Object.values(columns)] };
  return { kind: 'upsert', key, from: key, complete: false, image };
}

const apply = (...changes: readonly NetChange[]): Promise<unknown> =>
  applySteps(rows('t', ...changes));

const base = (): Promise<readonly unknown[]> =>
  content('SELECT * FROM shop__production.t ORDER BY id');
const seen = (): Promise<readonly unknown[]> => content('SELECT * FROM shop.t ORDER BY id');
const kinds = (): Promise<readonly unknown[]> =>
  content(`SELECT id, understudy_kind FROM shop__difference.t ORDER BY id`);
const whys = (): Promise<readonly unknown[]> =>
  content(`SELECT id, understudy_refused, understudy_detail FROM understudy."shop.t#journal"
    WHERE understudy_blocked IS NOT NULL ORDER BY id`);

const REST = [
  [2, 'two', 'b'],
  [3, 'three', 'c'],
];

describe('a row that is kept out', () => {
  it('is in production’s image alone, and the stream goes on', async () => {
    await tables(T, true);
    await user.query(HELD);
    await apply(put(1, 'held'), put(4, 'four'), put(2, 'two', 'later'));
    expect(await base()).toEqual([
      [1, 'held', 'theirs'],
      [2, 'two', 'later'],
      [3, 'three', 'c'],
      [4, 'four', 'theirs'],
    ]);
    expect(await seen()).toEqual([
      [1, 'one', 'a'],
      [2, 'two', 'later'],
      [3, 'three', 'c'],
      [4, 'four', 'theirs'],
      [70, 'held', 'mine'],
    ]);
    expect(await kinds()).toEqual([
      [1, 'blocked'],
      [70, 'insert'],
    ]);
    expect(await whys()).toEqual([[1, 'multiple_unique', 't_u_key']]);
    expect(await readOverlayCounts(user)).toMatchObject([{ blocked: 1, inserted: 1, updated: 0 }]);
    const [row] = await readOverlayRows(user, 10, { table: shop('t'), key: ['1'] });
    expect(row).toMatchObject({
      kind: 'blocked',
      columns: [
        { column: 'u', production: 'held', candidate: 'one' },
        { column: 's', production: 'theirs', candidate: 'a' },
      ],
    });
  });

  it('is a new one that nobody sees', async () => {
    await tables(T, true);
    await user.query(HELD);
    await apply(put(9, 'held'));
    expect(await seen()).toEqual([[1, 'one', 'a'], ...REST, [70, 'held', 'mine']]);
    expect(await base()).toEqual([[1, 'one', 'a'], ...REST, [9, 'held', 'theirs']]);
    expect(await kinds()).toEqual([
      [9, 'blocked'],
      [70, 'insert'],
    ]);
  });

  it('moves on with production, is completed from its image, and comes in or goes', async () => {
    await tables(T, true);
    await user.query(HELD);
    await apply(put(1, 'held', 'x'));
    await apply(patch(1, { s: 'y' }));
    expect(await base()).toEqual([[1, 'held', 'y'], ...REST]);
    expect(await whys()).toEqual([[1, 'multiple_unique', 't_u_key']]);
    await apply(patch(1, { u: 'free' }));
    expect(await seen()).toEqual([[1, 'free', 'y'], ...REST, [70, 'held', 'mine']]);
    expect(await kinds()).toEqual([[70, 'insert']]);
    await apply(put(1, 'held', 'z'), put(9, 'held-9'));
    await apply(gone('1'), gone('9'));
    expect(await base()).toEqual(REST);
    expect(await seen()).toEqual([...REST, [70, 'held', 'mine']]);
    expect(await content('SELECT outcome FROM understudy.outcome')).toEqual([]);
  });

  it('is one of the candidate’s once it writes it, whatever it does', async () => {
    for (const [write, kind, left] of [
      [`UPDATE t SET s = 'mine' WHERE id = 1`, 'update', [[1, 'one', 'mine']]],
      ['UPDATE t SET s = s WHERE id = 1', 'update', [[1, 'one', 'a']]],
      ['DELETE FROM t WHERE id = 1', 'delete', []],
      [
        `DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 'one', 'a')`,
        'update',
        [[1, 'one', 'a']],
      ],
    ] as const) {
      await tables(T, true);
      await user.query(HELD);
      await apply(put(1, 'held'));
      await user.query(write);
      expect(await kinds(), write).toEqual([
        [1, kind],
        [70, 'insert'],
      ]);
      await user.query('DELETE FROM t WHERE id = 70');
      await sweep();
      await apply(put(1, 'other'));
      expect(await seen(), write).toEqual([...left, ...REST]);
      expect(await base(), write).toEqual([[1, 'other', 'theirs'], ...REST]);
      expect(await whys()).toEqual([]);
    }
  });

  it('that nobody sees is the candidate’s once it makes one', async () => {
    await tables(T, true);
    await user.query(HELD);
    await apply(put(9, 'held'));
    await user.query(`INSERT INTO t VALUES (9, 'nine', 'mine')`);
    expect(await kinds()).toEqual([
      [9, 'update'],
      [70, 'insert'],
    ]);
    await user.query('DELETE FROM t WHERE id IN (9, 70)');
    await sweep();
    expect(await kinds()).toEqual([[9, 'delete']]);
    expect(await seen()).toEqual([[1, 'one', 'a'], ...REST]);
  });

  it('has the moment and the trace of the candidate’s first write, and is reset by it', async () => {
    const entry = async (id: number): Promise<readonly unknown[]> => {
      const sql = `SELECT understudy_at, understudy_trace FROM understudy."shop.t#journal"`;
      return ((await content(`${sql} WHERE id = ${String(id)}`))[0] ?? []) as readonly unknown[];
    };
    const update = `UPDATE t SET s = 'mine' WHERE id = 1`;
    for (const [write, id = 1] of [
      [update],
      ['DELETE FROM t WHERE id = 1'],
      ['UPDATE t SET id = 7 WHERE id = 1'],
      [`INSERT INTO t VALUES (9, 'nine', 'mine')`, 9],
      [`INSERT INTO t VALUES (1, 'x', 'y') ON CONFLICT (id) DO UPDATE SET s = 'mine'`],
      ['TRUNCATE t'],
      [`BEGIN ISOLATION LEVEL REPEATABLE READ; ${update}; COMMIT`],
      [`BEGIN ISOLATION LEVEL REPEATABLE READ; TRUNCATE t; COMMIT`],
    ] as const) {
      await tables(T, true);
      await user.query(`${HELD}; INSERT INTO t VALUES (71, 'held too', 'mine')`);
      await apply(put(1, 'held'), put(9, 'held too'));
      const [before] = await entry(id);
      const [other] = await entry(10 - id);
      await user.query(`SET understudy.trace = 'first'; ${write}`);
      const [at, trace] = await entry(id);
      expect(trace, write).toBe('first');
      expect(Number(at), write).toBeGreaterThan(Number(before));
      // Who writes it again is not the first, and who does not see it owns it not.
      await user.query(`SET understudy.trace = 'second'; ${write.replace('INSERT', '--')}`);
      await user.query('RESET understudy.trace');
      expect(await entry(10 - id), write).toEqual([other, null]);
      await sweep();
      expect(await entry(id), write).toEqual([at, 'first']);
      const told = await readOverlayRows(user, 9, { trace: 'first' });
      expect(
        told.map(({ key }) => key),
        write,
      ).toContainEqual([String(id)]);
      await user.query('DELETE FROM t WHERE id >= 70');
      expect(
        await acting((session) => resetOverlay(session, { trace: 'first' })),
        write,
      ).toBeGreaterThan(0);
      const reset = (await seen()).filter((row) => (row as readonly unknown[])[0] === id);
      expect(reset, write).toEqual([[id, id === 1 ? 'held' : 'held too', 'theirs']]);
    }
    // Where nothing tells who was first, it is not said to have been before.
    await tables(T, true);
    await user.query(HELD);
    await apply(put(1, 'held'));
    const [before] = await entry(1);
    await user.query(`BEGIN ISOLATION LEVEL SERIALIZABLE; ${update}; COMMIT`);
    await sweep();
    const [at] = await entry(1);
    expect(Number(at)).toBeGreaterThan(Number(before));
  });

  it('is passed over while the candidate is at it, and not lost', async () => {
    for (const end of ['COMMIT', 'ROLLBACK']) {
      await tables(T, true);
      await user.query(HELD);
      await apply(put(1, 'held'));
      await user.query('DELETE FROM t WHERE id = 70');
      await user.query(`BEGIN; UPDATE t SET s = 'mine' WHERE id = 1`);
      await sweep();
      await user.query(end);
      await sweep();
      const mine = [1, 'one', 'mine'];
      expect((await seen())[0]).toEqual(end === 'COMMIT' ? mine : [1, 'held', 'theirs']);
    }
  });

  it('comes in when the blocker goes: by itself, by reset, and others after it', async () => {
    await tables(T, true);
    await user.query(HELD);
    // 2 takes the value that 1 has left: as it was, it would be in the way.
    await apply(put(1, 'held'), put(2, 'one', 'b'));
    expect(await whys()).toEqual([[1, 'multiple_unique', 't_u_key']]);
    expect(await seen()).toEqual([
      [2, 'one', 'b'],
      [3, 'three', 'c'],
      [70, 'held', 'mine'],
    ]);
    // As it was, 3 is in nobody's way yet; then it gives way to 4.
    await user.query(`INSERT INTO t VALUES (71, 'held too', 'mine')`);
    await apply(put(3, 'held too'));
    expect((await seen())[1]).toEqual([3, 'three', 'c']);
    await apply(put(4, 'three'));
    expect(await whys()).toHaveLength(2);
    await sweep();
    expect(await whys()).toHaveLength(2);
    expect(await seen()).toEqual([
      [2, 'one', 'b'],
      [4, 'three', 'theirs'],
      [70, 'held', 'mine'],
      [71, 'held too', 'mine'],
    ]);
    await apply(put(4, 'four'), put(3, 'three', 'c'));
    await user.query('DELETE FROM t WHERE id = 71');
    await user.query(`UPDATE t SET u = 'elsewhere' WHERE id = 70`);
    await sweep();
    expect(await seen()).toEqual([
      [1, 'held', 'theirs'],
      [2, 'one', 'b'],
      [3, 'three', 'c'],
      [4, 'four', 'theirs'],
      [70, 'elsewhere', 'mine'],
    ]);
    await user.query(`UPDATE t SET u = 'wanted' WHERE id = 3`);
    await apply(put(1, 'wanted'), put(3, 'held', 'c'));
    expect(await acting((session) => resetOverlay(session, { table: shop('t') }))).toBe(2);
    expect(await seen()).toEqual([
      [1, 'wanted', 'theirs'],
      [2, 'one', 'b'],
      [3, 'held', 'c'],
      [4, 'four', 'theirs'],
    ]);
    expect(await kinds()).toEqual([]);
  });

  it('is found among values that a batch moves about', async () => {
    await tables(T, true);
    await user.query(HELD);
    await apply(put(1, 'two'), put(2, 'three'), put(3, 'held'), put(4, 'one'));
    expect(await base()).toEqual([
      [1, 'two', 'theirs'],
      [2, 'three', 'theirs'],
      [3, 'held', 'theirs'],
      [4, 'one', 'theirs'],
    ]);
    await user.query('DELETE FROM t WHERE id = 70');
    await sweep();
    expect(await seen()).toEqual(await base());
    expect(await kinds()).toEqual([]);
  });

  it('is found by constraints that no look finds: on expressions, of a part, of exclusion, deferred', async () => {
    for (const constraint of [
      'CREATE UNIQUE INDEX kept ON t (lower(u))',
      `CREATE UNIQUE INDEX kept ON t (u) WHERE s <> ''`,
      'ALTER TABLE t ADD CONSTRAINT kept EXCLUDE USING btree (u WITH =)',
      'ALTER TABLE t ADD CONSTRAINT kept UNIQUE (u) DEFERRABLE',
      'ALTER TABLE t ADD CONSTRAINT kept UNIQUE NULLS NOT DISTINCT (u)',
    ]) {
      await tables(`${T.replace(' UNIQUE', '')} ${constraint};`, true);
      await user.query(HELD);
      await apply(put(1, 'held'), put(2, 'three'), put(3, 'two'), put(8, 'held-8'));
      expect(await whys(), constraint).toEqual([[1, 'multiple_unique', 'kept']]);
      expect(await base(), constraint).toEqual([
        [1, 'held', 'theirs'],
        [2, 'three', 'theirs'],
        [3, 'two', 'theirs'],
        [8, 'held-8', 'theirs'],
      ]);
      await user.query('DELETE FROM t WHERE id = 70');
      await sweep();
      expect(await seen(), constraint).toEqual(await base());
    }
  });

  it('is refused by the candidate’s schema, until that takes it', async () => {
    for (const [change, back] of [
      [`ADD CONSTRAINT kept CHECK (s <> 'theirs') NOT VALID`, 'DROP CONSTRAINT kept'],
      ['ALTER u SET NOT NULL', 'ALTER u DROP NOT NULL'],
    ] as const) {
      await tables(T, true);
      await user.query(`ALTER TABLE t ${change}`);
      await apply(put(1, null), put(3, 'three', 'fine'));
      expect(await whys()).toMatchObject([[1, 'schema', expect.any(String)]]);
      expect(await base()).toEqual([
        [1, null, 'theirs'],
        [2, 'two', 'b'],
        [3, 'three', 'fine'],
      ]);
      expect((await seen())[0]).toEqual([1, 'one', 'a']);
      await sweep();
      expect(await whys()).toHaveLength(1);
      await user.query(`ALTER TABLE t ${back}`);
      await acting((session) => releaseOverlay(session, {}));
      expect(await seen()).toEqual(await base());
    }
  });

  it('goes with a TRUNCATE', async () => {
    await tables(T, true);
    await user.query(HELD);
    await apply(put(1, 'held'));
    await applySteps({ kind: 'truncate', table: shop('t') });
    expect(await base()).toEqual([]);
    expect(await seen()).toEqual([[70, 'held', 'mine']]);
    expect(await kinds()).toEqual([[70, 'insert']]);
  });

  it('is no other’s hindrance: values that went round come in together', async () => {
    await tables(T, true);
    await user.query(`INSERT INTO t VALUES (70, 'aside', 'mine')`);
    // Production exchanges two values by way of a third, which the candidate has taken.
    await apply(put(1, 'aside'));
    await apply(put(2, 'one'));
    await apply(put(1, 'two'));
    await user.query('DELETE FROM t WHERE id = 70');
    await sweep();
    expect(await seen()).toEqual(await base());
    expect(await kinds()).toEqual([]);
  });

  it('that comes in is not lost to a TRUNCATE that did not see it', async () => {
    await tables(T, true);
    await user.query(HELD);
    await apply(put(5, 'held'));
    await user.query(`UPDATE t SET u = 'elsewhere' WHERE id = 70`);
    const other = await connectTo(url);
    await other.query(
      `SET search_path = shop; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM t`,
    );
    await sweep();
    await expect(other.query('TRUNCATE t')).rejects.toMatchObject({ code: '40001' });
    await other.end();
    expect(await base()).toEqual([[1, 'one', 'a'], ...REST, [5, 'held', 'theirs']]);
  });

  it('waits for no lock of the candidate’s when it is tried again', async () => {
    for (const constraint of ['', 'ALTER TABLE t ADD UNIQUE (s) DEFERRABLE;']) {
      await tables(`${T} ${constraint}`, true);
      await user.query(HELD);
      await apply(put(5, 'held'));
      await user.query('DELETE FROM t WHERE id = 70');
      await user.query(`BEGIN; INSERT INTO t VALUES (80, 'held', 'mine too')`);
      await sweep();
      await user.query('ROLLBACK');
      await sweep();
      expect(await seen()).toEqual(await base());
    }
  });

  it('keeps what was decided about it while it is tried again', async () => {
    await tables(`${T.replace(' UNIQUE', '')} CREATE UNIQUE INDEX kept ON t (lower(u));`, true);
    await user.query(HELD);
    await apply(put(1, 'held'), put(5, 'five'));
    const facts = (): Promise<readonly unknown[]> =>
      content(`SELECT understudy_conflict, understudy_at, understudy_conflict_at,
        understudy_conflict_base->>'u' FROM understudy."shop.t#journal" WHERE id = 1`);
    const before = await facts();
    await sweep();
    expect(await facts()).toEqual(before);
    expect(await acting((session) => resolveOverlay(session, {}, 'ours'))).toEqual({
      ...{ resolved: 1, kept: 0 },
    });
    await sweep();
    expect(await facts()).toMatchObject([[null, expect.any(Date), null, 'one']]);
    expect(await acting((session) => resolveOverlay(session, {}, 'theirs'))).toEqual({
      ...{ resolved: 0, kept: 0 },
    });
  });

  it('is told by what it is once the candidate came to it', async () => {
    for (const [write, kind] of [
      [`UPDATE t SET u = 'my own' WHERE id = 1`, 'update_differs'],
      [`UPDATE t SET s = s WHERE id = 1`, null],
      ['DELETE FROM t WHERE id = 1', 'delete_updated'],
      [`INSERT INTO t VALUES (9, 'nine', 'mine')`, 'insert_exists'],
    ] as const) {
      await tables(T, true);
      await user.query(`${HELD}; INSERT INTO t VALUES (71, 'held too', 'mine')`);
      await apply(put(1, 'held', 'a'), put(9, 'held too'));
      await user.query(write);
      await sweep();
      const id = write.startsWith('INSERT') ? 9 : 1;
      expect(
        await content(
          `SELECT understudy_conflict FROM understudy."shop.t#journal" WHERE id = ${id}`,
        ),
        write,
      ).toEqual([[kind]]);
    }
  });

  it('may be of a table whose columns have any names', async () => {
    const names = ['t', 's', 'j', 'u', 'k', 'key', 'trace', 'blocked', 'moved', 'first_at', 'at'];
    const columns = names.map((name) => `${name} text`).join(', ');
    for (const policy of [OVERLAY_WINS, SOURCE_WINS]) {
      await tables(
        `CREATE TABLE t (id int PRIMARY KEY, ${columns}, UNIQUE (key)); INSERT INTO t (id, key) VALUES (1, 'one')`,
        true,
      );
      await user.query(`INSERT INTO t (id, key) VALUES (70, 'held')`);
      const image = { ...Object.fromEntries(names.map((name) => [name, 'x'])), key: 'held' };
      await applyUnder(policy, rows('t', patch(1, image), patch(2, { ...image, key: 'two' })));
      expect(await content('SELECT id, key, t FROM shop__production.t ORDER BY id')).toEqual([
        [1, 'held', 'x'],
        [2, 'two', 'x'],
      ]);
    }
  });

  it('is looked for in a large batch in good time', async () => {
    await tables(T, true);
    await user.query(HELD);
    const many = Array.from({ length: 20_000 }, (_, i) => put(1000 + i, `v${String(i)}`));
    const start = performance.now();
    await apply(...many, put(1, 'held'));
    expect(performance.now() - start).toBeLessThan(20_000);
    expect(await whys()).toEqual([[1, 'multiple_unique', 't_u_key']]);
    expect(await content('SELECT count(*)::int FROM shop.t')).toEqual([[20_004]]);
  });
});
