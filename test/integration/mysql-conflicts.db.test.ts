/**
 * Rows that both sides changed, on MySQL and MariaDB: what is called a conflict, cell by cell, what is kept of
 * it, and how it is settled.
 */
import { describe, expect, it } from 'vitest';
import type { NetChange } from '../../src/order/change-batch.ts';
import { conflictOf } from '../../src/overlay/conflict.ts';
import type { RowState, UpstreamChange } from '../../src/overlay/decide.ts';
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
  `CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(9) COLLATE utf8mb4_general_ci, n INT UNIQUE)`,
];

type Scene = Overlaid & { readonly stage: Stage };

async function scene(engine: Engine, rows: readonly string[], schema = SCHEMA): Promise<Scene> {
  const stage = await stageOf(engine, ...schema);
  for (const sql of rows) await stage.client.query(sql);
  return { ...(await overlaidRollout(stage)), stage };
}

async function sweep({ database, fence }: Scene): Promise<void> {
  for (let place: string | null = null; ;) {
    const { next } = await database.sweepOverlay(fence, place);
    if (next === null) return;
    place = next;
  }
}

async function write({ candidate }: Scene, statements: string): Promise<void> {
  for (const sql of statements.split('; ')) await candidate.query(sql);
}

interface HotRow {
  readonly a: number | null;
  readonly b: string | null;
  readonly n: number | null;
}
const COLUMNS = ['a', 'b', 'n'] as const;

const text = (value: number | string | null): string | null =>
  value === null ? null : String(value);

const whole = (id: number, { a, b, n }: HotRow): NetChange =>
  put(['id'], { id: String(id), a: text(a), b, n: text(n) });

const apply = (at: Scene, ...changes: readonly NetChange[]) =>
  at.apply(rowsStep(at.stage, 't', ...changes));

const of = (rows: readonly Row[], id: number): HotRow | undefined => {
  const found = rows.find((row) => Number(row['id']) === id);
  return found as HotRow | undefined;
};

interface Entry {
  readonly conflict: string | null;
  readonly base: string | null;
  readonly source: string | null;
}

async function entryOf({ admin, name }: Scene, id: number): Promise<Entry | undefined> {
  const rows = await rowsOf(
    admin,
    `SELECT understudy_conflict AS conflict, understudy_blocked AS blocked, understudy_conflict_base AS base,
        understudy_conflict_at AS at, understudy_conflict_source AS source
      FROM \`${name}__understudy\`.\`t#journal\` WHERE id = ${String(id)}`,
  );
  return rows[0] as unknown as Entry | undefined;
}

async function outcomes({ admin, name }: Scene): Promise<readonly string[]> {
  const rows = await rowsOf(
    admin,
    `SELECT outcome, row_key AS k FROM \`${name}__understudy\`.outcome ORDER BY id`,
  );
  return rows.map(({ outcome, k }) => `${String(outcome)} ${String(k)}`);
}

describe.each(ENGINES)('a change of a row on %s', (engine) => {
  const BASE: HotRow = { a: 10, b: 'x', n: null };
  /** `#`: the key. Of an inserted row production has none. */
  const STATES: readonly (readonly [RowState, string])[] = [
    ['none', ''],
    ['inserted', `INSERT INTO t VALUES (#, 5, 'mine', NULL)`],
    ['inserted', `INSERT INTO t VALUES (#, 10, 'x', NULL)`],
    ['updated', `UPDATE t SET a = 5 WHERE id = #`],
    ['updated', `UPDATE t SET b = 'mine' WHERE id = #`],
    ['updated', `UPDATE t SET b = 'X' WHERE id = #`],
    ['updated', `UPDATE t SET a = 5, b = NULL WHERE id = #`],
    ['same', `UPDATE t SET a = 5 WHERE id = #; UPDATE t SET a = 10 WHERE id = #`],
    ['deleted', 'DELETE FROM t WHERE id = #'],
    ['void', `INSERT INTO t VALUES (#, 5, 'mine', NULL); DELETE FROM t WHERE id = #`],
    ['blocked', ''],
  ];
  const CHANGES: readonly (readonly [UpstreamChange, Partial<HotRow>])[] = [
    ['upsert', {}],
    ['upsert', { a: 11 }],
    ['upsert', { a: 5 }],
    ['upsert', { b: 'theirs' }],
    ['upsert', { b: 'X' }],
    ['upsert', { a: 5, b: null }],
    ['upsert', { a: 11, b: 'theirs' }],
    ['patch', { b: 'theirs' }],
    ['patch', { a: 5 }],
    ['patch', {}],
    ['delete', {}],
  ];

  it('is a conflict where the table says so, by the name it says', async () => {
    const cells = STATES.flatMap(([state, sql]) =>
      CHANGES.map(([change, values]) => ({ state, sql, change, values })),
    );
    const at = await scene(engine, [
      `INSERT INTO t VALUES ${cells.map((_, i) => `(${String(i)}, 10, 'x', NULL)`).join(', ')}`,
    ]);
    const named = new Set<string>();
    for (const [id, { state, sql, change, values }] of cells.entries()) {
      const cell = `${change} ${JSON.stringify(values)} over ${state} ${sql}`;
      const isAbsent = state === 'inserted' || state === 'void';
      if (isAbsent) await apply(at, gone(String(id)));
      if (state === 'blocked') {
        await write(at, `INSERT INTO t VALUES (${String(5000 + id)}, 0, '', ${String(5000 + id)})`);
        await apply(at, whole(id, { ...BASE, n: 5000 + id }));
      }
      if (sql !== '') await write(at, sql.replaceAll('#', String(id)));
      const base = of(await imageOf(at, 't', 'id, a, b, n'), id);
      const seen = of(await rowsOf(at.admin, 'SELECT * FROM t'), id);
      expect(base === undefined, cell).toBe(isAbsent);
      const next = { ...BASE, ...base, ...values };
      const net =
        change === 'delete'
          ? gone(String(id))
          : change === 'upsert'
            ? whole(id, next)
            : put(
                ['id'],
                {
                  id: String(id),
                  ...Object.fromEntries(
                    Object.entries(values).map(([name, value]) => [name, text(value)]),
                  ),
                },
                { complete: false },
              );
      const code = await apply(at, net).then(
        () => null,
        (error: unknown) => (error as { readonly code: string }).code,
      );
      const isParked = change === 'patch' && isAbsent;
      expect(code, cell).toBe(isParked ? 'ROW_INCOMPLETE' : null);
      const isChanged = (column: (typeof COLUMNS)[number]): boolean =>
        base === undefined || next[column] !== base[column];
      const facts = {
        differs: change === 'delete' || COLUMNS.some(isChanged),
        overlaps: COLUMNS.some(
          (column) =>
            isChanged(column) &&
            seen?.[column] !== base?.[column] &&
            seen?.[column] !== next[column],
        ),
      };
      const entry = await entryOf(at, id);
      const expected = state === 'blocked' ? null : conflictOf(change, state, facts);
      const isOut = state === 'blocked' && change !== 'delete';
      expect(entry?.conflict ?? null, cell).toBe(isOut ? 'multiple_unique' : expected);
      named.add(String(expected));
      // What both began with, from production's first change on; of a row that is kept out what is seen.
      const began = isOut ? seen : base;
      const kept = entry !== undefined && began !== undefined ? textsOf(id, began) : null;
      expect(JSON.parse(entry?.base ?? 'null'), cell).toEqual(kept);
    }
    expect([...named].toSorted((one, other) => one.localeCompare(other))).toEqual([
      ...['delete_updated', 'insert_exists', 'null', 'update_deleted', 'update_differs'],
    ]);
  });

  const textsOf = (id: number, { a, b, n }: HotRow) => ({
    ...{ id: String(id), a: text(a), b, n: text(n) },
  });

  it('keeps the base, the moment and the place of the first, and the name of the last', async () => {
    const at = await scene(engine, [`INSERT INTO t VALUES (1, 10, 'x', NULL)`]);
    await write(at, `SET @understudy_trace = 'r1'; UPDATE t SET a = 5 WHERE id = 1`);
    const place = (pos: bigint) => ({
      ...{ offsets: new Map([['p.t/0', pos + 1_000_000n]]), eventTimeMs: null },
      source: { connector: engine, file: 'bin.1', pos, row: 0, gtid: null } as const,
    });
    await at.database.apply(
      at.fence,
      batchOf([rowsStep(at.stage, 't', whole(1, { ...BASE, a: 11 }))], place(7n)),
    );
    const first = await entryOf(at, 1);
    expect(first).toMatchObject({ conflict: 'update_differs' });
    expect(first?.source).toContain('bin.1');
    await at.database.apply(at.fence, batchOf([rowsStep(at.stage, 't', gone('1'))], place(8n)));
    expect(await entryOf(at, 1)).toEqual({ ...first, conflict: 'update_deleted' });
    await apply(at, whole(1, { ...BASE, a: 12, b: 'z' }));
    expect(await entryOf(at, 1)).toEqual({ ...first, conflict: 'insert_exists' });
    const table = { schema: at.stage.source, name: 't' };
    expect(await at.database.overlayConflicts(9, { table, key: ['1'] })).toMatchObject([
      {
        ...{ table, key: ['1'], kind: 'insert_exists', trace: 'r1', detail: null },
        columns: [
          { column: 'a', base: '10', production: '12', candidate: '5' },
          { column: 'b', base: 'x', production: 'z', candidate: 'x' },
        ],
      },
    ]);
    expect(await at.database.overlayConflicts(9, { trace: 'other' })).toEqual([]);
    // It ends as the entry does.
    await write(at, `UPDATE t SET a = 12, b = 'z' WHERE id = 1`);
    await at.database.releaseOverlay(at.fence, {});
    expect(await at.database.overlayConflicts(9, {})).toEqual([]);
  });
});

describe.each(ENGINES)('conflicts on %s are settled', (engine) => {
  const ROWS = `INSERT INTO t VALUES (1, 1, 'a', 1), (2, 2, 'b', 2), (3, 3, 'c', 3), (4, 4, 'd', 4), (5, 5, 'e', 5)`;

  /** One of each kind: 1 differs, 2 was deleted there, 3 here, 6 is on both sides, 4 is kept out by 90. */
  async function conflicts(): Promise<Scene> {
    const at = await scene(engine, [ROWS]);
    await write(at, `UPDATE t SET a = 10 WHERE id IN (1, 2); DELETE FROM t WHERE id = 3`);
    await write(at, `INSERT INTO t VALUES (6, 6, 'mine', 6), (90, 90, 'z', 40)`);
    await apply(
      ...[at, whole(1, { a: 11, b: 'A', n: 1 }), gone('2'), whole(3, { a: 33, b: 'c', n: 3 })],
      ...[whole(6, { a: 66, b: 'theirs', n: 66 }), whole(4, { a: 4, b: 'D', n: 40 })],
    );
    const kinds = (await at.database.overlayConflicts(9, {})).map(
      ({ key, kind }) => `${key.join()} ${kind}`,
    );
    expect(kinds.toSorted()).toEqual([
      ...['1 update_differs', '2 update_deleted', '3 delete_updated', '4 multiple_unique'],
      '6 insert_exists',
    ]);
    return at;
  }

  const ids = (rows: readonly Row[]): readonly string[] =>
    rows.map((row) => `${String(row['id'])}:${String(row['a'])}${String(row['b'])}`);
  const visible = async (at: Scene) => ids(await rowsOf(at.admin, 'SELECT * FROM t ORDER BY id'));
  const production = async (at: Scene) => ids(await imageOf(at, 't', 'id, a, b, n'));

  it('in favour of production', async () => {
    const at = await conflicts();
    const before = await production(at);
    expect(await at.database.resolveOverlay(at.fence, {}, 'theirs')).toEqual({
      resolved: 5,
      kept: 0,
    });
    expect(await visible(at)).toEqual(before);
    expect(await production(at)).toEqual(before);
    expect(await at.database.overlayCounts()).toMatchObject([
      { inserted: 0, updated: 0, deleted: 0, blocked: 0, equal: 0 },
    ]);
    // What held 4 out was put back for it.
    const keys = ['1', '2', '3', '6', '90'].map((key) => `theirs ["${key}"]`);
    expect((await outcomes(at)).toSorted()).toEqual(keys);
  });

  it('in favour of the candidate', async () => {
    const at = await conflicts();
    const [seen, before] = [await visible(at), await production(at)];
    expect(await at.database.resolveOverlay(at.fence, {}, 'ours')).toEqual({
      resolved: 5,
      kept: 0,
    });
    expect(await at.database.overlayConflicts(9, {})).toEqual([]);
    expect(await visible(at)).toEqual(seen);
    expect(await production(at)).toEqual(before);
    expect(await at.database.overlayCounts()).toMatchObject([{ blocked: 1, updated: 2 }]);
    const keys = ['1', '2', '3', '4', '6'].map((key) => `ours ["${key}"]`);
    expect((await outcomes(at)).toSorted()).toEqual(keys);
    // A sweep does not list it again, what production does does.
    await at.database.sweepOverlay(at.fence, null);
    expect(await at.database.overlayConflicts(9, {})).toEqual([]);
    await apply(at, whole(4, { a: 44, b: 'D', n: 40 }), whole(1, { a: 12, b: 'A', n: 1 }));
    expect(
      (await at.database.overlayConflicts(9, {})).map(({ key }) => key.join()).toSorted(),
    ).toEqual(['1', '4']);
  });

  it('by columns, where only one side changed each', async () => {
    const at = await scene(engine, [ROWS]);
    await write(at, `UPDATE t SET a = 10 WHERE id <= 3; UPDATE t SET b = 'mine' WHERE id = 2`);
    // 1: both came to differ in a, and then production took it back; 2: both changed b; 3: as 1, and nothing is left.
    await apply(
      ...[at, whole(1, { a: 11, b: 'a', n: 1 }), whole(2, { a: 2, b: 'theirs', n: 2 })],
      whole(3, { a: 11, b: 'c', n: 3 }),
    );
    await apply(at, whole(1, { a: 1, b: 'A', n: 100 }), whole(3, { a: 3, b: 'c', n: 300 }));
    expect(await at.database.overlayConflicts(9, {})).toHaveLength(3);
    const only = { table: { schema: at.stage.source, name: 't' }, key: ['1'] };
    expect(await at.database.resolveOverlay(at.fence, only, 'merge')).toEqual({
      resolved: 1,
      kept: 0,
    });
    await write(at, 'UPDATE t SET a = 3 WHERE id = 3');
    expect(await at.database.resolveOverlay(at.fence, {}, 'merge')).toEqual({
      resolved: 1,
      kept: 1,
    });
    expect(await rowsOf(at.admin, 'SELECT * FROM t WHERE id <= 3 ORDER BY id')).toEqual([
      { id: 1, a: 10, b: 'A', n: 100 },
      { id: 2, a: 10, b: 'mine', n: 2 },
      { id: 3, a: 3, b: 'c', n: 300 },
    ]);
    expect(await outcomes(at)).toEqual(['merged ["1"]', 'merged ["3"]']);
    // 3 is production's again.
    expect(await entryOf(at, 3)).toBeUndefined();
    // From here on both begin with what production has.
    const settled = await entryOf(at, 1);
    expect(settled?.conflict).toBeNull();
    expect(JSON.parse(settled?.base ?? 'null')).toMatchObject({ a: '1', b: 'A', n: '100' });
    expect((await at.database.overlayConflicts(9, {})).map(({ kind }) => kind)).toEqual([
      'update_differs',
    ]);
  });

  it('but stay where the candidate’s schema, or another row of it, is in the way', async () => {
    const at = await scene(engine, [ROWS]);
    await at.admin.query('ALTER TABLE t MODIFY b VARCHAR(9) COLLATE utf8mb4_general_ci NOT NULL');
    await write(at, `UPDATE t SET n = 50 WHERE id = 1; UPDATE t SET n = 1 WHERE id = 2`);
    await apply(at, whole(3, { a: 3, b: null, n: 3 }), whole(1, { a: 1, b: 'a', n: 51 }));
    await write(at, `UPDATE t SET n = 51 WHERE id = 5`);
    expect((await at.database.overlayConflicts(9, {})).map(({ kind }) => kind).toSorted()).toEqual([
      ...['schema', 'update_differs'],
    ]);
    expect(await at.database.resolveOverlay(at.fence, {}, 'theirs')).toEqual({
      resolved: 0,
      kept: 2,
    });
    expect(await outcomes(at)).toEqual([]);
    expect(await rowsOf(at.admin, 'SELECT n FROM t WHERE id = 1')).toEqual([{ n: 50 }]);
  });
});

describe.each(ENGINES)('a row that refers to none on %s', (engine) => {
  const FAMILY = [
    `CREATE TABLE p (id INT PRIMARY KEY, code VARCHAR(9) UNIQUE)`,
    `CREATE TABLE t (id INT PRIMARY KEY, p INT, code VARCHAR(9),
      CONSTRAINT by_p FOREIGN KEY (p) REFERENCES p (id),
      CONSTRAINT by_code FOREIGN KEY (code) REFERENCES p (code))`,
  ];
  const ROWS = [
    `INSERT INTO p VALUES (1, 'one'), (2, 'two'), (3, 'three')`,
    `INSERT INTO t VALUES (20, 2, NULL), (30, NULL, 'three')`,
  ];
  const child = (id: number, p: string | null, code: string | null): NetChange =>
    put(['id'], { id: String(id), p, code });
  const orphans = async (at: Scene): Promise<readonly string[]> =>
    (await at.database.overlayConflicts(99))
      .filter(({ kind }) => kind === 'fk_orphan')
      .map(({ key, detail }) => `${key.join()} ${String(detail)}`)
      .toSorted();

  it('is listed for as long as it does, whichever side deleted what it refers to', async () => {
    const at = await scene(engine, ROWS, FAMILY);
    await write(
      at,
      `INSERT INTO t VALUES (10, 1, NULL); DELETE FROM t; DELETE FROM p WHERE id = 3`,
    );
    await write(at, 'INSERT INTO t VALUES (11, 1, NULL)');
    expect(await orphans(at)).toEqual([]);
    await at.apply(rowsStep(at.stage, 'p', gone('1')));
    await apply(at, child(31, null, 'three'), child(32, '3', null), child(33, '2', null));
    expect(await orphans(at)).toEqual(['11 by_p', '31 by_code', '32 by_p']);
    const table = (name: string) => ({ schema: at.stage.source, name });
    expect(await at.database.overlayConflicts(9, { table: table('t'), key: ['31'] })).toMatchObject(
      [{ kind: 'fk_orphan', columns: [{ column: 'code', candidate: 'three' }] }],
    );
    await at.database.resetOverlay(at.fence, { table: table('p') });
    expect(await orphans(at)).toEqual(['11 by_p']);
    await write(at, 'DELETE FROM t WHERE id = 11');
    expect(await orphans(at)).toEqual([]);
  });

  describe('of a row that was kept out, and that the candidate came to since', () => {
    const held = [`INSERT INTO t VALUES (1, 1, 'one', 1)`];
    const kinds = async (at: Scene): Promise<readonly string[]> =>
      (await at.database.overlayConflicts(9, {})).map(({ kind }) => kind);

    it('is told by what it is by then', async () => {
      for (const [statement, kind] of [
        [`UPDATE t SET n = 11 WHERE id = 1`, 'update_differs'],
        [`UPDATE t SET a = 5 WHERE id = 1`, null],
        ['DELETE FROM t WHERE id = 1', 'delete_updated'],
        [`INSERT INTO t VALUES (9, 9, 'mine', 9)`, 'insert_exists'],
      ] as const) {
        const isNew = statement.startsWith('INSERT');
        const at = await scene(engine, held);
        await write(at, `INSERT INTO t VALUES (70, 7, NULL, 7)`);
        await apply(at, whole(isNew ? 9 : 1, { a: 1, b: 'one', n: 7 }));
        const before = await entryOf(at, isNew ? 9 : 1);
        expect(before).toMatchObject({ conflict: 'multiple_unique' });
        await write(at, statement);
        expect(await kinds(at), statement).toEqual(['multiple_unique']);
        await sweep(at);
        // Moment and place stay those of the first.
        expect(await entryOf(at, isNew ? 9 : 1), statement).toEqual({
          ...before,
          ...{ conflict: kind, blocked: null },
        });
        expect(await kinds(at), statement).toEqual(kind === null ? [] : [kind]);
      }
    });

    it('is settled by what it is, also before a sweep told it', async () => {
      const at = await scene(engine, held);
      await write(at, `INSERT INTO t VALUES (70, 7, NULL, 7)`);
      await apply(at, whole(1, { a: 2, b: 'one', n: 7 }));
      await write(at, `UPDATE t SET n = 11 WHERE id = 1`);
      expect(await at.database.resolveOverlay(at.fence, {}, 'merge')).toEqual({
        ...{ resolved: 0, kept: 1 },
      });
      expect(await kinds(at)).toEqual(['update_differs']);
      await write(at, `DELETE FROM t WHERE id = 70`);
      expect(await at.database.resolveOverlay(at.fence, {}, 'theirs')).toEqual({
        ...{ resolved: 1, kept: 0 },
      });
      expect(await rowsOf(at.admin, 'SELECT * FROM t')).toEqual([{ id: 1, a: 2, b: 'one', n: 7 }]);
    });

    it('is left to the next sweep while the candidate is at it', async () => {
      const at = await scene(engine, held);
      await write(at, `INSERT INTO t VALUES (70, 7, NULL, 7)`);
      await apply(at, whole(1, { a: 2, b: 'one', n: 7 }));
      await write(at, `UPDATE t SET n = 11 WHERE id = 1; BEGIN; UPDATE t SET n = 12 WHERE id = 1`);
      await sweep(at);
      expect(await kinds(at)).toEqual(['multiple_unique']);
      await write(at, 'COMMIT');
      await sweep(at);
      expect(await kinds(at)).toEqual(['update_differs']);
    });
  });

  it('is one of production’s, where what it refers to is kept out', async () => {
    const at = await scene(engine, ROWS, FAMILY);
    await write(at, `INSERT INTO p VALUES (70, 'held')`);
    await at.apply(rowsStep(at.stage, 'p', put(['id'], { id: '9', code: 'held' })));
    await apply(at, child(90, '9', null));
    expect(await orphans(at)).toEqual(['90 by_p']);
    await write(at, 'DELETE FROM p WHERE id = 70');
    await at.database.releaseOverlay(at.fence, {});
    expect(await orphans(at)).toEqual([]);
  });
});
