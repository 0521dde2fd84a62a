/** Policies that write into rows the candidate owns: production wins, columns are merged, counters add up. */
import { describe, expect, it } from 'vitest';
import { RowShape, type KnownValue } from '../../src/change/value.ts';
import { openApplySession } from '../../src/dialect/postgres/apply/apply.ts';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import { readOverlayConflicts } from '../../src/dialect/postgres/overlay/read.ts';
import { sweepOverlay } from '../../src/dialect/postgres/overlay/release.ts';
import type { NetChange } from '../../src/order/change-batch.ts';
import { OVERLAY_WINS, type ColumnPolicy, type TablePolicy } from '../../src/overlay/policy.ts';
import {
  applier,
  applyUnder,
  content,
  gone,
  rows,
  tables,
  user,
  useShop,
} from './apply.fixture.ts';

useShop();

const T = `CREATE TABLE t (id int PRIMARY KEY, a text, b text, n int CHECK (n < 1000), u text UNIQUE);
  INSERT INTO t VALUES (1, 'a0', 'b0', 100, 'one'), (2, 'a0', 'b0', 100, 'two'), (3, 'a0', 'b0', 100, 'three');`;

const SOURCE_WINS: TablePolicy = { rows: 'source-wins', others: 'source-wins', columns: new Map() };
const MERGE: TablePolicy = { ...OVERLAY_WINS, others: 'merge' };
const of = (columns: Readonly<Record<string, ColumnPolicy>>): TablePolicy => ({
  ...OVERLAY_WINS,
  columns: new Map(Object.entries(columns)),
});

function patch(id: number, columns: Readonly<Record<string, KnownValue>>): NetChange {
  const key = [String(id)];
  const shape = new RowShape(['id', ...Object.keys(columns)]);
  const image = { shape, values: [String(id), ...Object.values(columns)] };
  return { kind: 'upsert', key, from: key, complete: false, image };
}

const put = (id: number, a: string, b: string, n: string, u: string): NetChange =>
  patch(id, { a, b, n, u });

const apply = (policy: TablePolicy, ...changes: readonly NetChange[]): Promise<unknown> =>
  applyUnder(policy, rows('t', ...changes));
const seen = (): Promise<readonly unknown[]> => content('SELECT * FROM shop.t ORDER BY id');
const base = (): Promise<readonly unknown[]> =>
  content('SELECT * FROM shop__production.t ORDER BY id');
const owned = (): Promise<readonly unknown[]> =>
  content('SELECT id FROM understudy."shop.t#journal" ORDER BY id');
const outcomes = (): Promise<readonly unknown[]> =>
  content('SELECT outcome, key FROM understudy.outcome ORDER BY key');
const conflicts = async (): Promise<readonly string[]> =>
  (await readOverlayConflicts(user, 100))
    .map(({ key, kind }) => `${key.join()} ${kind}`)
    .toSorted();

describe('source-wins', () => {
  it('ends what the candidate wrote, changed or deleted, where production’s change comes', async () => {
    await tables(T, true);
    await user.query(`UPDATE t SET a = 'mine', b = 'mine' WHERE id = 1; DELETE FROM t WHERE id = 2;
      INSERT INTO t VALUES (4, 'mine', 'mine', 1, 'four'); UPDATE t SET a = 'mine' WHERE id = 3`);
    await apply(SOURCE_WINS, patch(1, { a: 'theirs' }), put(2, 'x', 'x', '7', 'two'));
    await apply(SOURCE_WINS, put(4, 'theirs', 'theirs', '2', 'vier'));
    expect(await seen()).toEqual([
      [1, 'theirs', 'b0', 100, 'one'],
      [2, 'x', 'x', 7, 'two'],
      [3, 'mine', 'b0', 100, 'three'],
      [4, 'theirs', 'theirs', 2, 'vier'],
    ]);
    expect(await owned()).toEqual([[3]]);
    expect(await outcomes()).toEqual([
      ['theirs', ['1']],
      ['theirs', ['2']],
      ['theirs', ['4']],
    ]);
    await apply(SOURCE_WINS, gone('3'));
    expect(await seen()).toEqual(await base());
    expect(await conflicts()).toEqual([]);
  });

  it('puts rows of the candidate back that keep production’s out', async () => {
    await tables(T, true);
    await user.query(`INSERT INTO t VALUES (9, 'mine', 'mine', 1, 'held');
      UPDATE t SET u = 'held too' WHERE id = 3; DELETE FROM t WHERE id = 2`);
    await apply(
      SOURCE_WINS,
      put(1, 'theirs', 'b0', '1', 'held'),
      put(5, 'new', 'b0', '1', 'held too'),
    );
    expect(await seen()).toEqual([
      [1, 'theirs', 'b0', 1, 'held'],
      [3, 'a0', 'b0', 100, 'three'],
      [5, 'new', 'b0', 1, 'held too'],
    ]);
    expect(await owned()).toEqual([[2]]);
    expect(await outcomes()).toEqual([
      ['theirs', ['3']],
      ['theirs', ['9']],
    ]);
  });

  it('waits for a candidate that is at the row, and wins then', async () => {
    await tables(T, true);
    await user.query(`BEGIN; UPDATE t SET a = 'mine' WHERE id = 1`);
    const change = patch(1, { a: 'theirs' });
    await expect(apply(SOURCE_WINS, change)).rejects.toMatchObject({ code: 'APPLY_BLOCKED' });
    await user.query('COMMIT');
    await apply(SOURCE_WINS, change);
    expect((await seen())[0]).toEqual([1, 'theirs', 'b0', 100, 'one']);
    expect(await owned()).toEqual([]);
  });

  it('of a column takes that one, and leaves the candidate the rest', async () => {
    await tables(T, true);
    await user.query(`UPDATE t SET a = 'mine', b = 'mine' WHERE id = 1`);
    await apply(of({ a: 'source-wins' }), put(1, 'theirs', 'theirs', '100', 'one'));
    expect((await seen())[0]).toEqual([1, 'theirs', 'mine', 100, 'one']);
    expect(await conflicts()).toEqual(['1 update_differs']);
    expect((await readOverlayConflicts(user, 9))[0]?.columns.map(({ column }) => column)).toEqual([
      'b',
    ]);
  });
});

describe('merge', () => {
  it('takes columns that production alone changed, and is a conflict where both did', async () => {
    await tables(T, true);
    await user.query(`UPDATE t SET a = 'mine' WHERE id IN (1, 2, 3)`);
    await apply(MERGE, put(1, 'a0', 'theirs', '7', 'eins'), put(2, 'theirs', 'theirs', '7', 'two'));
    await apply(MERGE, patch(3, { b: 'theirs' }));
    expect(await seen()).toEqual([
      [1, 'mine', 'theirs', 7, 'eins'],
      [2, 'mine', 'theirs', 7, 'two'],
      [3, 'mine', 'theirs', 100, 'three'],
    ]);
    expect(await conflicts()).toEqual(['2 update_differs']);
    expect((await base())[1]).toEqual([2, 'theirs', 'theirs', 7, 'two']);
    // Both come to the same: nothing is left.
    await apply(MERGE, put(1, 'mine', 'theirs', '8', 'eins'));
    expect(await owned()).toEqual([[2], [3]]);
    await apply(MERGE, gone('3'));
    expect(await conflicts()).toEqual(['2 update_differs', '3 update_deleted']);
  });

  it('leaves a row as the candidate has it whose merged values the table refuses', async () => {
    await tables(`${T} ALTER TABLE t ADD CHECK (a <> 'mine' OR b <> 'theirs');`, true);
    await user.query(
      `UPDATE t SET a = 'mine' WHERE id = 1; UPDATE t SET a = 'my own' WHERE id = 2`,
    );
    await user.query(
      `INSERT INTO t VALUES (9, 'mine', 'mine', 1, 'held'); UPDATE t SET a = '!' WHERE id = 3`,
    );
    await apply(
      MERGE,
      ...[put(1, 'a0', 'theirs', '100', 'one'), put(2, 'a0', 'theirs', '100', 'two')],
      put(3, 'a0', 'b0', '100', 'held'),
    );
    expect(await seen()).toEqual([
      [1, 'mine', 'b0', 100, 'one'],
      [2, 'my own', 'theirs', 100, 'two'],
      [3, '!', 'b0', 100, 'three'],
      [9, 'mine', 'mine', 1, 'held'],
    ]);
    expect(await base()).toEqual([
      [1, 'a0', 'theirs', 100, 'one'],
      [2, 'a0', 'theirs', 100, 'two'],
      [3, 'a0', 'b0', 100, 'held'],
    ]);
    expect(await conflicts()).toEqual(['1 update_differs', '3 update_differs']);
  });
});

describe('delta', () => {
  it('adds what production added to what the candidate has', async () => {
    await tables(T, true);
    await user.query(`UPDATE t SET n = n - 10; UPDATE t SET a = 'mine' WHERE id = 2`);
    const counter = of({ n: 'delta' });
    await apply(counter, patch(1, { n: '95' }), put(2, 'theirs', 'b0', '130', 'two'));
    await apply(counter, patch(1, { n: '96' }));
    expect(await seen()).toEqual([
      [1, 'a0', 'b0', 86, 'one'],
      [2, 'mine', 'b0', 120, 'two'],
      [3, 'a0', 'b0', 90, 'three'],
    ]);
    // Of a counter both changes count; of the other column one had to give way.
    expect(await conflicts()).toEqual(['2 update_differs']);
    await apply(counter, patch(3, { n: null }));
    expect((await seen())[2]).toEqual([3, 'a0', 'b0', 90, 'three']);
    await user.query('UPDATE t SET n = 1 WHERE id = 1');
    await apply(counter, patch(1, { n: '1200' }));
    // The sum is beyond what the table takes.
    expect((await seen())[0]).toEqual([1, 'a0', 'b0', 1, 'one']);
    expect((await base())[0]).toEqual([1, 'a0', 'b0', 1200, 'one']);
    expect(await conflicts()).toEqual(['1 update_differs', '2 update_differs']);
  });

  it('is for numbers, and no policy is for keys', async () => {
    await tables(T, true);
    for (const [column, policy] of [
      ['a', 'delta'],
      ['id', 'merge'],
    ] as const) {
      await expect(apply(of({ [column]: policy }), put(1, '', '', '1', ''))).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        context: { column },
      });
    }
  });
});

it('under any policy rows that are kept out come in, and those that are the same go', async () => {
  for (const policy of [MERGE, of({ n: 'delta' })]) {
    await tables(T, true);
    await user.query(`INSERT INTO t VALUES (9, 'mine', 'mine', 1, 'held')`);
    await apply(policy, put(1, 'theirs', 'b0', '1', 'held'));
    expect((await seen())[0]).toEqual([1, 'a0', 'b0', 100, 'one']);
    await user.query('DELETE FROM t WHERE id = 9');
    const session = await openApplySession(applier, await readCatalogue(applier), {
      policies: () => policy,
    });
    await applier.query('BEGIN');
    await sweepOverlay(session, null);
    await applier.query('COMMIT');
    expect(await seen()).toEqual(await base());
  }
});
