/**
 * Conflicts: what both sides did to a row, cell by cell as overlay/conflict.ts says it; how they are listed,
 * stay listed, and are decided.
 */
import { describe, expect, it } from 'vitest';
import { RowShape } from '../../src/change/value.ts';
import type { OverlayConflict } from '../../src/dialect/overlay.ts';
import { readOrphans } from '../../src/dialect/postgres/overlay/orphans.ts';
import { readOverlayConflicts } from '../../src/dialect/postgres/overlay/read.ts';
import { releaseOverlay, sweepOverlay } from '../../src/dialect/postgres/overlay/release.ts';
import { resetOverlay } from '../../src/dialect/postgres/overlay/reset.ts';
import { resolveOverlay } from '../../src/dialect/postgres/overlay/resolve.ts';
import type { BatchStep, NetChange } from '../../src/order/change-batch.ts';
import { conflictOf, type Side } from '../../src/overlay/conflict.ts';
import type { RowState, UpstreamChange } from '../../src/overlay/decide.ts';
import {
  acting,
  apply as applySteps,
  content,
  gone,
  rows,
  shop,
  tables,
  user,
  useShop,
} from './apply.fixture.ts';

useShop();

const T = `CREATE TABLE t (id int PRIMARY KEY, a text, b text, u text UNIQUE);
  INSERT INTO t VALUES (1, 'a0', 'b0', NULL), (2, 'a0', 'b0', 'two');`;

function put(id: number, columns: Readonly<Record<string, string | null>>): NetChange {
  const key = [String(id)];
  const shape = new RowShape(['id', ...Object.keys(columns)]);
  const image = { shape, values: [String(id), ...Object.values(columns)] };
  return { kind: 'upsert', key, from: key, complete: false, image };
}

const whole = (id: number, a: string, b: string, u: string | null = null): NetChange => ({
  ...put(id, { a, b, u }),
});

const apply = (...changes: readonly NetChange[]): Promise<unknown> =>
  applySteps(rows('t', ...changes));

const resolve = (side: Side, ...key: readonly string[]): Promise<unknown> =>
  acting((session) =>
    resolveOverlay(session, key.length === 0 ? {} : { table: shop('t'), key }, side),
  );
const list = (): Promise<readonly OverlayConflict[]> => readOverlayConflicts(user, 100);
const listed = async (): Promise<readonly string[]> =>
  (await list()).map(({ key, kind }) => `${key.join()} ${kind}`).toSorted();
const seen = (): Promise<readonly unknown[]> => content('SELECT * FROM shop.t ORDER BY id');
const base = (): Promise<readonly unknown[]> =>
  content('SELECT * FROM shop__production.t ORDER BY id');
const outcomes = (): Promise<readonly unknown[]> =>
  content('SELECT outcome, key FROM understudy.outcome ORDER BY key');

describe('a conflict', () => {
  // The candidate changes a, or all of the row.
  const STATES: Readonly<Record<Exclude<RowState, 'blocked'>, string>> = {
    none: '',
    inserted: `DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 'mine', 'b0')`,
    updated: `UPDATE t SET a = 'mine' WHERE id = 1`,
    same: 'UPDATE t SET a = a WHERE id = 1',
    deleted: 'DELETE FROM t WHERE id = 1',
    void: `DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1); DELETE FROM t WHERE id = 1`,
  };
  // What production's row comes to be: as it was, in another column, or in the one that both changed.
  const MOVES = {
    still: { a: 'a0', b: 'b0' },
    elsewhere: { a: 'a0', b: 'theirs' },
    here: { a: 'theirs', b: 'b0' },
  } as const;

  for (const [state, written] of Object.entries(STATES) as [keyof typeof STATES, string][]) {
    for (const change of ['upsert', 'patch', 'delete'] satisfies UpstreamChange[]) {
      for (const [move, to] of Object.entries(MOVES)) {
        if (change === 'delete' && move !== 'still') continue;
        it(`of ${change} ${move} over ${state} is as the table says`, async () => {
          await tables(T, true);
          if (state === 'inserted' || state === 'void') {
            // Production lost it first, so that the candidate's is its own.
            await apply(gone('1'));
          }
          if (written !== '') await user.query(written);
          const isNew = state === 'inserted' || state === 'void';
          const theirs = change === 'upsert' ? whole(1, to.a, to.b) : put(1, { a: to.a, b: to.b });
          await apply(change === 'delete' ? gone('1') : theirs);
          const kind = conflictOf(change, state, {
            differs: move !== 'still',
            overlaps: isNew || move === 'here',
          });
          // A patch of what production does not have is parked.
          const isParked = change === 'patch' && isNew;
          expect(await listed()).toEqual(kind === null || isParked ? [] : [`1 ${kind}`]);
          const [found] = await list();
          if (found === undefined || isNew) return;
          const a = found.columns.find(({ column }) => column === 'a');
          expect(a?.base).toBe('a0');
        });
      }
    }
  }

  it('tells base, production’s and the candidate’s values, the request, and both times', async () => {
    await tables(T, true);
    await user.query(
      `SET understudy.trace = 'request-7'; UPDATE t SET a = 'mine', b = 'mine too' WHERE id = 1;
       RESET understudy.trace`,
    );
    await apply(whole(1, 'theirs', 'b0'));
    await apply(whole(1, 'theirs 2', 'theirs 2'));
    const [found, ...more] = await list();
    expect(more).toEqual([]);
    expect(found).toMatchObject({
      table: shop('t'),
      key: ['1'],
      kind: 'update_differs',
      trace: 'request-7',
      detail: null,
      columns: [
        { column: 'a', base: 'a0', production: 'theirs 2', candidate: 'mine' },
        { column: 'b', base: 'b0', production: 'theirs 2', candidate: 'mine too' },
      ],
    });
    expect(found?.firstAt.getTime()).toBeLessThanOrEqual(found?.at.getTime() ?? 0);
  });

  it('is not what production alone changes, however often', async () => {
    await tables(T, true);
    await user.query(`UPDATE t SET a = 'mine' WHERE id = 1`);
    for (const b of ['b1', 'b2', 'b3']) await apply(whole(1, 'a0', b));
    expect(await listed()).toEqual([]);
    await apply(whole(1, 'theirs', 'b3'));
    expect(await listed()).toEqual(['1 update_differs']);
    await user.query(`UPDATE t SET a = 'a0' WHERE id = 1`);
    // All that production changed comes, not only what it changed last.
    expect(await resolve('merge')).toEqual({ resolved: 1, kept: 0 });
    expect((await seen())[0]).toEqual([1, 'theirs', 'b3', null]);
  });

  it('stays listed until both sides are the same, or the row is put back', async () => {
    await tables(T, true);
    await user.query(`UPDATE t SET a = 'mine'`);
    await apply(whole(1, 'theirs', 'b0'), gone('2'));
    expect(await listed()).toEqual(['1 update_differs', '2 update_deleted']);
    await acting((session) => sweepOverlay(session, null));
    await acting((session) => releaseOverlay(session, {}));
    expect(await listed()).toHaveLength(2);
    await user.query(`UPDATE t SET a = 'theirs' WHERE id = 1; DELETE FROM t WHERE id = 2`);
    await acting((session) => releaseOverlay(session, {}));
    expect(await listed()).toEqual([]);
    expect(await outcomes()).toEqual([
      ['released', ['1']],
      ['released', ['2']],
    ]);
  });
});

describe('resolve', () => {
  async function scene(): Promise<void> {
    await tables(
      `${T} INSERT INTO t VALUES (3, 'a0', 'b0'), (4, 'a0', 'b0'), (5, 'a0', 'b0');`,
      true,
    );
    await user.query(`UPDATE t SET a = 'mine' WHERE id = 1; UPDATE t SET b = 'mine' WHERE id = 2;
      DELETE FROM t WHERE id = 3; UPDATE t SET a = 'm', b = 'm' WHERE id = 4;
      INSERT INTO t VALUES (9, 'mine', 'mine', 'held')`);
    await apply(whole(1, 'theirs', 'new'), gone('2'), whole(3, 'theirs', 'b0'));
    await apply(whole(4, 'theirs', 'b0'), whole(5, 'theirs', 'b0', 'held'));
    // The candidate gave up what it had in a.
    await user.query(`UPDATE t SET a = 'a0' WHERE id = 4`);
    expect(await listed()).toEqual([
      '1 update_differs',
      '2 update_deleted',
      '3 delete_updated',
      '4 update_differs',
      '5 multiple_unique',
    ]);
  }

  it('for the candidate leaves every row as it is', async () => {
    await scene();
    const [before, image] = [await seen(), await base()];
    expect(await resolve('ours', '1')).toEqual({ resolved: 1, kept: 0 });
    expect(await resolve('ours')).toEqual({ resolved: 4, kept: 0 });
    expect(await listed()).toEqual([]);
    expect([await seen(), await base()]).toEqual([before, image]);
    expect(await outcomes()).toEqual(['1', '2', '3', '4', '5'].map((id) => ['ours', [id]]));
    // What is kept out comes in all the same, and a further change of both is a conflict again.
    await user.query('DELETE FROM t WHERE id = 9');
    await acting((session) => sweepOverlay(session, null));
    expect((await seen()).at(-1)).toEqual([5, 'theirs', 'b0', 'held']);
    await apply(whole(1, 'again', 'new'));
    expect(await listed()).toEqual(['1 update_differs']);
    expect((await list())[0]?.columns[0]).toMatchObject({ base: 'theirs', production: 'again' });
  });

  it('for production puts its rows back, and those that keep others out', async () => {
    await scene();
    expect(await resolve('theirs', '5')).toEqual({ resolved: 1, kept: 0 });
    expect((await seen()).at(-1)).toEqual([5, 'theirs', 'b0', 'held']);
    expect(await outcomes()).toEqual([['theirs', ['9']]]);
    expect(await resolve('theirs')).toEqual({ resolved: 4, kept: 0 });
    expect(await seen()).toEqual(await base());
    expect(await content('SELECT FROM understudy."shop.t#journal"')).toEqual([]);
  });

  it('by columns takes of each side what it alone changed', async () => {
    await scene();
    // 1: both changed a. 4: the candidate b, production a.
    expect(await resolve('merge')).toEqual({ resolved: 1, kept: 4 });
    expect(await content('SELECT * FROM shop.t WHERE id IN (1, 4) ORDER BY id')).toEqual([
      [1, 'mine', 'b0', null],
      [4, 'theirs', 'm', null],
    ]);
    expect(await outcomes()).toEqual([['merged', ['4']]]);
    expect(await listed()).not.toContain('4 update_differs');
    await user.query(`UPDATE t SET b = 'b0' WHERE id = 4`);
    await acting((session) => releaseOverlay(session, {}));
    expect(await content(`SELECT id FROM understudy."shop.t#journal" WHERE id = 4`)).toEqual([]);
  });

  it('for production goes on with the rest where the schema refuses one', async () => {
    await tables(T, true);
    await user.query(`UPDATE t SET a = 'mine'; ALTER TABLE t ADD CHECK (b <> 'refused') NOT VALID`);
    await apply(whole(1, 'theirs', 'refused'), whole(2, 'theirs', 'b0', 'two'));
    expect(await listed()).toEqual(['1 update_differs', '2 update_differs']);
    expect(await resolve('theirs')).toEqual({ resolved: 1, kept: 1 });
    expect(await listed()).toEqual(['1 schema']);
    expect(await seen()).toEqual([[2, 'theirs', 'b0', 'two']]);
  });

  it('cannot make the candidate’s schema take a row', async () => {
    await tables(T, true);
    await user.query(`ALTER TABLE t ADD CONSTRAINT small CHECK (a <> 'theirs')`);
    await apply(whole(1, 'theirs', 'b0'));
    expect(await list()).toMatchObject([{ kind: 'schema', detail: 'small' }]);
    expect(await resolve('theirs')).toEqual({ resolved: 0, kept: 1 });
    expect(await resolve('merge')).toEqual({ resolved: 0, kept: 1 });
    expect(await resolve('ours')).toEqual({ resolved: 1, kept: 0 });
    expect(await base()).toEqual([
      [1, 'theirs', 'b0', null],
      [2, 'a0', 'b0', 'two'],
    ]);
  });
});

describe('a row that refers to none', () => {
  const FAMILY = `CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE);
    CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p, code text REFERENCES p (code));
    INSERT INTO p VALUES (1, 'one'), (2, 'two'), (3, 'three');
    INSERT INTO c VALUES (20, 2, NULL), (30, NULL, 'three');`;
  const orphans = async (): Promise<readonly string[]> =>
    (await readOrphans(user, 100, {})).map(({ key, detail }) => `${key.join()} by ${detail ?? ''}`);
  const parent = (id: number): BatchStep => rows('p', gone(String(id)));
  const child = (id: number, p: string | null, code: string | null): BatchStep =>
    rows('c', put(id, { p, code }));

  it('is listed for as long as it does, whichever side deleted what it refers to', async () => {
    await tables(FAMILY, true);
    await user.query(
      'INSERT INTO c VALUES (10, 1, NULL); DELETE FROM c; DELETE FROM p WHERE id = 3',
    );
    await user.query('INSERT INTO c VALUES (11, 1, NULL)');
    expect(await orphans()).toEqual([]);
    // Production deletes what the candidate's row refers to, and refers to what the candidate deleted.
    await applySteps(parent(1));
    await applySteps(child(31, null, 'three'), child(32, '3', null), child(33, '2', null));
    expect(await orphans()).toEqual(['31 by c_code_fkey', '11 by c_p_fkey', '32 by c_p_fkey']);
    expect(await readOrphans(user, 100, { table: shop('c'), key: ['31'] })).toMatchObject([
      { kind: 'fk_orphan', columns: [{ column: 'code', candidate: 'three' }] },
    ]);
    await acting((session) => resetOverlay(session, { table: shop('p') }));
    expect(await orphans()).toEqual(['11 by c_p_fkey']);
    await user.query('DELETE FROM c WHERE id = 11');
    expect(await orphans()).toEqual([]);
  });

  it('is one of production’s, where what it refers to is kept out', async () => {
    await tables(FAMILY, true);
    await user.query(`INSERT INTO p VALUES (70, 'held')`);
    await applySteps(rows('p', put(9, { code: 'held' })));
    await applySteps(child(90, '9', null));
    expect(await orphans()).toEqual(['90 by c_p_fkey']);
    await user.query('DELETE FROM p WHERE id = 70');
    await acting((session) => sweepOverlay(session, null));
    expect(await orphans()).toEqual([]);
  });
});
