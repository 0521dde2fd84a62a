/** What policies do to rows the candidate owns, as tests that are the same on each engine. */
import { isUnderstudyError } from '../../src/errors/understudy-error.ts';
import { describe, expect, it } from 'vitest';
import { RowShape, type KnownValue } from '../../src/change/value.ts';
import type { NetChange } from '../../src/order/change-batch.ts';
import { OVERLAY_WINS, type ColumnPolicy, type TablePolicy } from '../../src/overlay/policy.ts';

/** A table `t` with its overlay, and rows in it. */
export interface PolicyScene {
  /** As the candidate. */
  write(...statements: readonly string[]): Promise<unknown>;
  apply(policy: TablePolicy, ...changes: readonly NetChange[]): Promise<unknown>;
  /** Production empties it. */
  truncate(policy: TablePolicy): Promise<unknown>;
  sweep(policy: TablePolicy): Promise<unknown>;
  /** Settles all conflicts. */
  merge(): Promise<unknown>;
  /** `id, a, b, n, u` of the rows that the candidate sees, by their key. */
  seen(): Promise<readonly unknown[]>;
  /** The same of production's image. */
  base(): Promise<readonly unknown[]>;
  /** Keys of entries. */
  owned(): Promise<readonly unknown[]>;
  /** `theirs 1`: how entries ended, by their key. */
  outcomes(): Promise<readonly string[]>;
  /** `1 update_differs a`: the kind, and columns that differ. */
  conflicts(): Promise<readonly string[]>;
}

/** Makes the table anew, with these statements on it; see `TABLE` and `ROWS`. */
export type OpenScene = (...more: readonly string[]) => Promise<PolicyScene>;

export const TABLE = `CREATE TABLE t (id int PRIMARY KEY, a varchar(40), b varchar(40), n int CHECK (n < 1000),
  u varchar(40) UNIQUE)`;
export const ROWS = `INSERT INTO t VALUES (1, 'a0', 'b0', 100, 'one'), (2, 'a0', 'b0', 100, 'two'), (3, 'a0', 'b0', 100, 'three')`;

export const SOURCE_WINS: TablePolicy = {
  ...{ rows: 'source-wins', others: 'source-wins', columns: new Map() },
};
const MERGE: TablePolicy = { ...OVERLAY_WINS, others: 'merge' };
const of = (columns: Readonly<Record<string, ColumnPolicy>>): TablePolicy => ({
  ...OVERLAY_WINS,
  columns: new Map(Object.entries(columns)),
});

export function patch(id: number, columns: Readonly<Record<string, KnownValue>>): NetChange {
  const key = [String(id)];
  const shape = new RowShape(['id', ...Object.keys(columns)]);
  const image = { shape, values: [String(id), ...Object.values(columns)] };
  return { kind: 'upsert', key, from: key, complete: false, image };
}

export const row = (id: number, a: string, b: string, n: string, u: string): NetChange =>
  patch(id, { a, b, n, u });

const gone = (id: string): NetChange => ({ kind: 'delete', key: [id] });

/** `refusing`: makes the table refuse a `b` of `theirs` beside another, by what rows cannot be looked up by. */
export function policyTests(open: OpenScene, refusing: string): void {
  describe('source-wins', () => {
    it('ends what the candidate wrote, changed or deleted, where production’s change comes', async () => {
      const at = await open();
      await at.write(
        `UPDATE t SET a = 'mine', b = 'mine' WHERE id = 1`,
        'DELETE FROM t WHERE id = 2',
        `INSERT INTO t VALUES (4, 'mine', 'mine', 1, 'four')`,
        `UPDATE t SET a = 'mine' WHERE id = 3`,
      );
      await at.apply(SOURCE_WINS, patch(1, { a: 'theirs' }), row(2, 'x', 'x', '7', 'two'));
      await at.apply(SOURCE_WINS, row(4, 'theirs', 'theirs', '2', 'vier'));
      expect(await at.seen()).toEqual([
        [1, 'theirs', 'b0', 100, 'one'],
        [2, 'x', 'x', 7, 'two'],
        [3, 'mine', 'b0', 100, 'three'],
        [4, 'theirs', 'theirs', 2, 'vier'],
      ]);
      expect(await at.owned()).toEqual([3]);
      expect(await at.outcomes()).toEqual(['theirs 1', 'theirs 2', 'theirs 4']);
      await at.apply(SOURCE_WINS, gone('3'));
      expect(await at.seen()).toEqual(await at.base());
      expect(await at.conflicts()).toEqual([]);
    });

    it('puts rows of the candidate back that keep production’s out', async () => {
      const at = await open();
      await at.write(
        `INSERT INTO t VALUES (9, 'mine', 'mine', 1, 'held')`,
        `UPDATE t SET u = 'held too' WHERE id = 3`,
        'DELETE FROM t WHERE id = 2',
      );
      await at.apply(
        SOURCE_WINS,
        row(1, 'theirs', 'b0', '1', 'held'),
        row(5, 'new', 'b0', '1', 'held too'),
      );
      expect(await at.seen()).toEqual([
        [1, 'theirs', 'b0', 1, 'held'],
        [3, 'a0', 'b0', 100, 'three'],
        [5, 'new', 'b0', 1, 'held too'],
      ]);
      expect(await at.owned()).toEqual([2]);
      expect(await at.outcomes()).toEqual(['theirs 3', 'theirs 9']);
    });

    it('puts those back as well that keep out what was put back, and lets in what was kept out', async () => {
      const at = await open();
      await at.write(
        `INSERT INTO t VALUES (9, 'mine', 'mine', 1, 'held')`,
        `UPDATE t SET u = 'elsewhere' WHERE id = 2`,
        `UPDATE t SET u = 'two' WHERE id = 3`,
      );
      await at.apply(OVERLAY_WINS, row(1, 'theirs', 'b0', '1', 'held'));
      expect(await at.conflicts()).toEqual(['1 multiple_unique a,n,u']);
      // 2 is in the way of 5, and then 3 of 2; and 1, as it was, of 6.
      await at.apply(
        SOURCE_WINS,
        row(5, 'new', 'b0', '1', 'elsewhere'),
        row(6, 'new', 'b0', '1', 'held'),
      );
      await at.apply(SOURCE_WINS, row(1, 'theirs', 'b0', '2', 'free'));
      expect(await at.seen()).toEqual(await at.base());
      expect(await at.owned()).toEqual([]);
      expect(await at.outcomes()).toEqual(['theirs 2', 'theirs 3', 'theirs 9']);
    });

    it('keeps out what the table refuses all the same, and goes on', async () => {
      for (const constraint of [`ALTER TABLE t ADD CHECK (b <> 'theirs')`, refusing]) {
        const at = await open(constraint, `INSERT INTO t VALUES (8, 'x', 'x', 1, 'eight')`);
        await at.write(`INSERT INTO t VALUES (9, 'mine', 'theirs', 1, 'nine')`).catch(() => null);
        await at.apply(
          SOURCE_WINS,
          row(1, 'a1', 'theirs', '1', 'one'),
          row(2, 'a1', 'b', '1', 'two'),
        );
        expect((await at.base()).slice(0, 2)).toEqual([
          [1, 'a1', 'theirs', 1, 'one'],
          [2, 'a1', 'b', 1, 'two'],
        ]);
        await at.apply(SOURCE_WINS, row(1, 'a2', 'fine', '1', 'one'));
        expect((await at.seen())[0]).toEqual([1, 'a2', 'fine', 1, 'one']);
      }
    });

    it('wins with a TRUNCATE too; else what the candidate had changed is a conflict', async () => {
      for (const policy of [SOURCE_WINS, OVERLAY_WINS]) {
        const at = await open();
        await at.write(
          `UPDATE t SET a = 'mine' WHERE id = 1`,
          `INSERT INTO t VALUES (9, 'm', 'm', 1, 'n')`,
        );
        await at.truncate(policy);
        const left = [
          [1, 'mine', 'b0', 100, 'one'],
          [9, 'm', 'm', 1, 'n'],
        ];
        expect(await at.seen()).toEqual(policy === SOURCE_WINS ? [] : left);
        expect(await at.base()).toEqual([]);
        const kinds = (await at.conflicts()).map((text) => text.split(' ')[1]);
        expect(kinds).toEqual(policy === SOURCE_WINS ? [] : ['update_deleted']);
      }
    });

    it('waits for a candidate that is at the row, and wins then', async () => {
      const at = await open();
      await at.write('BEGIN', `UPDATE t SET a = 'mine' WHERE id = 1`);
      const change = patch(1, { a: 'theirs' });
      // Refused, to be tried again, or the row alone waits.
      await at.apply(SOURCE_WINS, change).catch((error: unknown) => {
        if (!isUnderstudyError(error, 'APPLY_BLOCKED')) throw error;
      });
      await at.write('COMMIT');
      await at.apply(SOURCE_WINS, change);
      await at.sweep(SOURCE_WINS);
      expect((await at.seen())[0]).toEqual([1, 'theirs', 'b0', 100, 'one']);
      expect(await at.owned()).toEqual([]);
    });

    it('of a column takes that one, and leaves the candidate the rest', async () => {
      const at = await open();
      await at.write(`UPDATE t SET a = 'mine', b = 'mine' WHERE id = 1`);
      await at.apply(of({ a: 'source-wins' }), row(1, 'theirs', 'theirs', '100', 'one'));
      expect((await at.seen())[0]).toEqual([1, 'theirs', 'mine', 100, 'one']);
      expect(await at.conflicts()).toEqual(['1 update_differs b']);
    });

    it('of a column leaves what production did not change, whatever it changes beside', async () => {
      const at = await open();
      await at.write(`UPDATE t SET a = 'mine' WHERE id = 1`);
      const policy = of({ a: 'source-wins', n: 'delta', u: 'merge' });
      await at.apply(policy, row(1, 'a0', 'b0', '103', 'eins'));
      await at.apply(policy, patch(1, { b: 'theirs', n: '104' }));
      expect((await at.seen())[0]).toEqual([1, 'mine', 'b0', 104, 'eins']);
    });
  });

  describe('merge', () => {
    it('takes columns that production alone changed, and is a conflict where both did', async () => {
      const at = await open();
      await at.write(`UPDATE t SET a = 'mine' WHERE id IN (1, 2, 3)`);
      await at.apply(
        MERGE,
        row(1, 'a0', 'theirs', '7', 'eins'),
        row(2, 'theirs', 'theirs', '7', 'two'),
      );
      await at.apply(MERGE, patch(3, { b: 'theirs' }));
      expect(await at.seen()).toEqual([
        [1, 'mine', 'theirs', 7, 'eins'],
        [2, 'mine', 'theirs', 7, 'two'],
        [3, 'mine', 'theirs', 100, 'three'],
      ]);
      expect(await at.conflicts()).toEqual(['2 update_differs a']);
      expect((await at.base())[1]).toEqual([2, 'theirs', 'theirs', 7, 'two']);
      // Both come to the same: nothing is left.
      await at.apply(MERGE, row(1, 'mine', 'theirs', '8', 'eins'));
      expect(await at.owned()).toEqual([2, 3]);
      await at.apply(MERGE, gone('3'));
      expect((await at.conflicts()).map((text) => text.split(' ', 2).join(' '))).toEqual([
        '2 update_differs',
        '3 update_deleted',
      ]);
    });

    it('tells by each change what the candidate changed, however often production’s go on', async () => {
      const at = await open();
      await at.write(`UPDATE t SET a = 'mine' WHERE id = 1`);
      for (const b of ['b1', 'b2', 'b3']) await at.apply(MERGE, row(1, 'a0', b, '100', 'one'));
      expect((await at.seen())[0]).toEqual([1, 'mine', 'b3', 100, 'one']);
      expect(await at.conflicts()).toEqual([]);
      await at.write(`UPDATE t SET b = 'mine' WHERE id = 1`);
      await at.apply(MERGE, row(1, 'a0', 'b4', '100', 'one'));
      expect(await at.conflicts()).toEqual(['1 update_differs a,b']);
    });

    it('leaves a row as the candidate has it whose merged values the table refuses', async () => {
      const at = await open(`ALTER TABLE t ADD CHECK (a <> 'mine' OR b <> 'theirs')`);
      await at.write(
        `UPDATE t SET a = 'mine' WHERE id = 1`,
        `UPDATE t SET a = 'my own' WHERE id = 2`,
        `INSERT INTO t VALUES (9, 'mine', 'mine', 1, 'held')`,
        `UPDATE t SET a = '!' WHERE id = 3`,
      );
      await at.apply(
        MERGE,
        ...[row(1, 'a0', 'theirs', '100', 'one'), row(2, 'a0', 'theirs', '100', 'two')],
        row(3, 'a0', 'b0', '100', 'held'),
      );
      expect(await at.seen()).toEqual([
        [1, 'mine', 'b0', 100, 'one'],
        [2, 'my own', 'theirs', 100, 'two'],
        [3, '!', 'b0', 100, 'three'],
        [9, 'mine', 'mine', 1, 'held'],
      ]);
      expect(await at.base()).toEqual([
        [1, 'a0', 'theirs', 100, 'one'],
        [2, 'a0', 'theirs', 100, 'two'],
        [3, 'a0', 'b0', 100, 'held'],
      ]);
      expect(await at.conflicts()).toEqual(['1 update_differs a,b', '3 update_differs a,u']);
    });
  });

  describe('delta', () => {
    it('adds what production added to what the candidate has', async () => {
      const at = await open();
      await at.write('UPDATE t SET n = n - 10', `UPDATE t SET a = 'mine' WHERE id = 2`);
      const counter = of({ n: 'delta' });
      await at.apply(counter, patch(1, { n: '95' }), row(2, 'theirs', 'b0', '130', 'two'));
      await at.apply(counter, patch(1, { n: '96' }));
      expect(await at.seen()).toEqual([
        [1, 'a0', 'b0', 86, 'one'],
        [2, 'mine', 'b0', 120, 'two'],
        [3, 'a0', 'b0', 90, 'three'],
      ]);
      // Of a counter both changes count; of the other column one had to give way.
      expect(await at.conflicts()).toEqual(['2 update_differs a,n']);
      await at.apply(counter, patch(3, { n: null }));
      expect((await at.seen())[2]).toEqual([3, 'a0', 'b0', 90, 'three']);
      await at.write('UPDATE t SET n = 1 WHERE id = 1');
      await at.apply(counter, patch(1, { n: '1200' }));
      // The sum is beyond what the table takes.
      expect((await at.seen())[0]).toEqual([1, 'a0', 'b0', 1, 'one']);
      expect((await at.base())[0]).toEqual([1, 'a0', 'b0', 1200, 'one']);
      expect(await at.conflicts()).toEqual(['1 update_differs n', '2 update_differs a,n']);
    });

    it('is for numbers, and no policy is for keys', async () => {
      const at = await open();
      for (const [column, policy] of [
        ['a', 'delta'],
        ['id', 'merge'],
      ] as const) {
        await expect(
          at.apply(of({ [column]: policy }), row(1, '', '', '1', '')),
        ).rejects.toMatchObject({ code: 'CONFIG_INVALID', context: { column } });
      }
    });
  });

  it('a conflict is not what production alone changes, however often', async () => {
    const at = await open();
    await at.write(`UPDATE t SET a = 'mine' WHERE id = 1`);
    for (const b of ['b1', 'b2', 'b3']) await at.apply(OVERLAY_WINS, row(1, 'a0', b, '100', 'one'));
    expect(await at.conflicts()).toEqual([]);
    await at.apply(OVERLAY_WINS, row(1, 'theirs', 'b3', '100', 'one'));
    expect(await at.conflicts()).toEqual(['1 update_differs a,b']);
    await at.write(`UPDATE t SET a = 'a0' WHERE id = 1`);
    // All that production changed comes, not only what it changed last.
    expect(await at.merge()).toEqual({ resolved: 1, kept: 0 });
    expect((await at.seen())[0]).toEqual([1, 'theirs', 'b3', 100, 'one']);
  });

  it('nor what it changed while the row was kept out', async () => {
    const at = await open();
    await at.write(`INSERT INTO t VALUES (9, 'mine', 'mine', 1, 'held')`);
    await at.apply(OVERLAY_WINS, row(1, 'a0', 'b1', '100', 'held'));
    await at.write('DELETE FROM t WHERE id = 9', `UPDATE t SET a = 'mine' WHERE id = 1`);
    await at.apply(OVERLAY_WINS, row(1, 'a0', 'b2', '100', 'held'));
    expect(await at.conflicts()).toEqual([]);
    await at.apply(OVERLAY_WINS, row(1, 'theirs', 'b3', '100', 'held'));
    expect(await at.conflicts()).toEqual(['1 update_differs a,b,u']);
    await at.write(`UPDATE t SET a = 'a0' WHERE id = 1`);
    expect(await at.merge()).toEqual({ resolved: 1, kept: 0 });
    expect((await at.seen())[0]).toEqual([1, 'theirs', 'b3', 100, 'held']);
  });

  it('under any policy rows that are kept out come in, and those that are the same go', async () => {
    for (const policy of [MERGE, of({ n: 'delta' })]) {
      const at = await open();
      await at.write(`INSERT INTO t VALUES (9, 'mine', 'mine', 1, 'held')`);
      await at.apply(policy, row(1, 'theirs', 'b0', '1', 'held'));
      expect((await at.seen())[0]).toEqual([1, 'a0', 'b0', 100, 'one']);
      await at.write('DELETE FROM t WHERE id = 9');
      await at.sweep(policy);
      expect(await at.seen()).toEqual(await at.base());
    }
  });
}
