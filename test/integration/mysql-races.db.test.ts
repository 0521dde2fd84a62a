/**
 * Candidates that write in the midst of an apply, on MySQL and MariaDB, each at the one moment where a
 * step less would lose a row or an image.
 */
import type { Connection } from 'mysql2/promise';
import { describe, expect, it } from 'vitest';
import {
  ENGINES,
  imageOf,
  overlaidRollout,
  put,
  rowsOf,
  rowsStep,
  sessionOn,
  stageOf,
  type Overlaid,
  type Stage,
} from './mysql.fixture.ts';

const SCHEMA = [
  'CREATE TABLE seat (id INT PRIMARY KEY, n INT UNIQUE, v INT)',
  'CREATE TABLE p (id INT PRIMARY KEY)',
  `CREATE TABLE c (id INT PRIMARY KEY, pid INT,
    FOREIGN KEY (pid) REFERENCES p (id) ON DELETE CASCADE)`,
  `CREATE TABLE g (id INT PRIMARY KEY, cid INT,
    FOREIGN KEY (cid) REFERENCES c (id) ON DELETE CASCADE)`,
];

interface Scene extends Overlaid {
  readonly stage: Stage;
  /** Somebody who holds a lock meanwhile, and gives it back. */
  readonly holder: Connection;
}

async function scene(engine: (typeof ENGINES)[number]): Promise<Scene> {
  const stage = await stageOf(engine, ...SCHEMA);
  const rows = (table: string, ...some: readonly Record<string, string>[]) =>
    rowsStep(stage, table, ...some.map((row) => put(['id'], row)));
  await stage.apply(
    rows('seat', { id: '2', n: '2', v: '0' }),
    rows('p', { id: '1' }, { id: '2' }),
    rows('c', { id: '11', pid: '1' }, { id: '12', pid: '1' }, { id: '21', pid: '2' }),
    rows('g', { id: '111', cid: '11' }, { id: '112', cid: '11' }),
  );
  const at = await overlaidRollout(stage);
  const holder = await sessionOn(stage.url, at.name);
  await holder.query('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
  await holder.query('START TRANSACTION');
  await at.candidate.query('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
  return { ...at, stage, holder };
}

/** Until as many of its sessions wait for row locks. Asked less often than what tells it is made anew. */
async function waiting({ admin, name }: Overlaid, sessions: number): Promise<void> {
  const count = async (): Promise<number> => {
    const rows = await rowsOf(
      admin,
      `SELECT trx_id FROM information_schema.INNODB_TRX t
        JOIN information_schema.PROCESSLIST p ON p.ID = t.trx_mysql_thread_id
        WHERE p.DB = '${name}' AND t.trx_state = 'LOCK WAIT'`,
    );
    return rows.length;
  };
  await expect.poll(count, { timeout: 5_000, interval: 150 }).toBe(sessions);
}

/** An apply whose update waits for a value that is not committed: between its locks and its insert. */
async function heldUp(at: Scene) {
  await at.holder.query('INSERT INTO seat VALUES (99, 5, 0)');
  const changes = [
    put(['id'], { id: '1', n: '1', v: '1' }),
    put(['id'], { id: '2', n: '5', v: '1' }),
  ];
  const applied = at.apply(rowsStep(at.stage, 'seat', ...changes));
  await waiting(at, 1);
  // Within an object: a promise that is returned is waited for.
  return { applied };
}

describe.each(ENGINES)('in the midst of an apply on %s', (engine) => {
  it('of a row that a candidate made and removed again nothing is left, not even an entry', async () => {
    const at = await scene(engine);
    const held = await heldUp(at);
    await at.candidate.query('INSERT INTO seat VALUES (1, 7, 7)');
    await at.candidate.query('DELETE FROM seat WHERE id = 1');
    await at.holder.query('ROLLBACK');
    expect(await held.applied).toMatchObject({ rows: 2, owned: 0 });
    const both = [
      { id: 1, n: 1, v: 1 },
      { id: 2, n: 5, v: 1 },
    ];
    expect(await rowsOf(at.admin, 'SELECT id, n, v FROM seat ORDER BY id')).toEqual(both);
    expect(await imageOf(at, 'seat', 'id, n, v')).toEqual(both);
  });

  it('a row that a candidate makes anew, which it had made and removed, ends no transaction', async () => {
    const at = await scene(engine);
    await at.candidate.query('INSERT INTO seat VALUES (1, 7, 7)');
    await at.candidate.query('DELETE FROM seat WHERE id = 1');
    const held = await heldUp(at);
    // It has the row, and waits for its entry, which the apply has.
    const made = at.candidate.query('INSERT INTO seat VALUES (1, 8, 8)');
    await waiting(at, 2);
    await at.holder.query('ROLLBACK');
    await held.applied;
    await made;
    expect(await imageOf(at, 'seat', 'id, v')).toEqual([
      { id: 1, v: 1 },
      { id: 2, v: 1 },
    ]);
    expect(await rowsOf(at.admin, 'SELECT v FROM seat WHERE id = 1')).toEqual([{ v: 8 }]);
    await at.database.sweepOverlay(at.fence, null);
    expect((await at.database.overlayConflicts(9)).map(({ kind }) => kind)).toEqual([
      'insert_exists',
    ]);
  });

  it('a row that a candidate made stays its own', async () => {
    const at = await scene(engine);
    const held = await heldUp(at);
    await at.candidate.query('INSERT INTO seat VALUES (1, 7, 7)');
    await at.holder.query('ROLLBACK');
    expect(await held.applied).toMatchObject({ rows: 1, owned: 1 });
    expect(await rowsOf(at.admin, 'SELECT v FROM seat WHERE id = 1')).toEqual([{ v: 7 }]);
    expect(await imageOf(at, 'seat', 'id, v')).toEqual([
      { id: 1, v: 1 },
      { id: 2, v: 1 },
    ]);
  });

  it('a candidate deletes two parents, and a row comes below the second one', async () => {
    const at = await scene(engine);
    // The child is written, the rest of the batch waits.
    await at.holder.query('SELECT id FROM seat WHERE id = 2 FOR UPDATE');
    const applied = at.apply(
      rowsStep(at.stage, 'c', put(['id'], { id: '22', pid: '2' })),
      rowsStep(at.stage, 'seat', put(['id'], { id: '2', n: '2', v: '1' })),
    );
    await waiting(at, 1);
    const deleted = at.candidate.query('DELETE FROM p WHERE id IN (1, 2) ORDER BY id');
    await waiting(at, 2);
    await at.holder.query('ROLLBACK');
    await Promise.all([applied, deleted]);
    expect(await rowsOf(at.admin, 'SELECT id FROM c')).toEqual([]);
    expect((await imageOf(at, 'c', 'id, pid')).map(({ id }) => id)).toEqual([11, 12, 21, 22]);
  });

  it.each([
    ['child', 'c', 12, { id: '10', pid: '1' }],
    ['grandchild', 'g', 112, { id: '110', cid: '11' }],
  ] as const)(
    'a candidate deletes a parent, and a %s comes behind what its trigger read',
    async (_, table, held, row) => {
      const at = await scene(engine);
      // The trigger reads the rows below one by one, and is held up at the last.
      await at.holder.query(`SELECT id FROM ${table} WHERE id = ${String(held)} FOR UPDATE`);
      const deleted = at.candidate.query('DELETE FROM p WHERE id = 1');
      await waiting(at, 1);
      const before = await imageOf(at, table, 'id');
      const applied = at.apply(rowsStep(at.stage, table, put(['id'], row)));
      await waiting(at, 2);
      await at.holder.query('ROLLBACK');
      await Promise.all([applied, deleted]);
      const image = await imageOf(at, table, 'id');
      expect(image.map(({ id }) => Number(id))).toEqual(
        [...before.map(({ id }) => Number(id)), Number(row.id)].toSorted((a, b) => a - b),
      );
      // It is nobody's, and leads nowhere: production has its parent.
      expect(await rowsOf(at.admin, `SELECT id FROM ${table} WHERE id = ${row.id}`)).toHaveLength(
        1,
      );
    },
  );
});
