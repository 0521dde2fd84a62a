/**
 * Transactions of the candidate that stay open, on MySQL and MariaDB: production's changes of other keys flow on,
 * those of what they hold wait and are production's image all the same, and are written when they end.
 */
import type { Connection } from 'mysql2/promise';
import { onTestFinished, describe, expect, it } from 'vitest';
import type { BatchStep } from '../../src/order/change-batch.ts';
import { waitingOf, type Waiting } from '../../src/dialect/waiting.ts';
import {
  batchOf,
  ENGINES,
  gone,
  imageOf,
  openTrunk,
  overlaidRollout,
  put,
  rowsOf,
  rowsStep,
  sessionOn,
  stageOf,
  type Engine,
  type Overlaid,
  type Row,
  type Stage,
} from './mysql.fixture.ts';

const SCHEMA = [
  `CREATE TABLE item (id INT PRIMARY KEY, n INT UNIQUE, v VARCHAR(20))`,
  'CREATE TABLE p (id INT PRIMARY KEY, v INT)',
  `CREATE TABLE c (id INT PRIMARY KEY, pid INT, v INT,
    FOREIGN KEY (pid) REFERENCES p (id) ON DELETE CASCADE)`,
];
const COLUMNS = { item: 'id, n, v', p: 'id, v', c: 'id, pid, v' } as const;
type Table = keyof typeof COLUMNS;
/** What a batch may take that waits for nobody. The machine may be busy. */
const SOON_MS = 900;

interface Scene extends Overlaid {
  readonly stage: Stage;
  /** The same batch to the trunk, as the model, and to the rollout; returns the milliseconds there. */
  both(...steps: readonly BatchStep[]): Promise<number>;
  /** Production's image, by all that tells it, is the trunk's. */
  agree(): Promise<void>;
  seen(table: Table): Promise<readonly Row[]>;
}

const row = (id: number, n: number | null, v: string) =>
  put(['id'], { id: String(id), n: n === null ? null : String(n), v });

async function scene(engine: Engine): Promise<Scene> {
  const stage = await stageOf(engine, ...SCHEMA);
  await stage.apply(
    rowsStep(stage, 'item', ...Array.from({ length: 9 }, (_, i) => row(i + 1, i + 1, 'old'))),
    rowsStep(stage, 'p', put(['id'], { id: '1', v: '0' }), put(['id'], { id: '2', v: '0' })),
    rowsStep(
      stage,
      'c',
      put(['id'], { id: '11', pid: '1', v: '0' }),
      put(['id'], { id: '12', pid: '1', v: '0' }),
    ),
  );
  const at = await overlaidRollout(stage);
  return {
    ...{ ...at, stage },
    both: async (...steps) => {
      await stage.apply(...steps);
      const since = performance.now();
      await at.apply(...steps);
      return performance.now() - since;
    },
    agree: async () => {
      await using reader = await at.database.openBaseSnapshot();
      for (const table of Object.keys(COLUMNS) as Table[]) {
        const columns = COLUMNS[table];
        const production = await rowsOf(
          stage.client,
          `SELECT ${columns} FROM ${table} ORDER BY id`,
        );
        expect(await imageOf(at, table, columns)).toEqual(production);
        const view = `SELECT ${columns} FROM \`${at.name}__production\`.${table} ORDER BY id`;
        expect(await rowsOf(at.admin, view)).toEqual(production);
        const compared = {
          ...{ table: { schema: stage.source, name: table }, key: ['id'] },
          columns: columns.split(', '),
        };
        const read = await reader.rows(
          compared,
          Array.from({ length: 80 }, (_, id) => [String(id)]),
        );
        const texts = read.map(({ values }) => values.join()).sort();
        const expected = production.map((one) => Object.values(one).map(String).join()).sort();
        expect(texts.map((one) => one.replaceAll(/(^|,)(?=,|$)/g, '$1null'))).toEqual(expected);
      }
    },
    seen: (table) => rowsOf(at.admin, `SELECT ${COLUMNS[table]} FROM ${table} ORDER BY id`),
  };
}

async function candidateOf({ candidateUrl, name }: Overlaid, level?: string): Promise<Connection> {
  const session = await sessionOn(candidateUrl, name);
  if (level !== undefined) await session.query(`SET SESSION TRANSACTION ISOLATION LEVEL ${level}`);
  await session.query('START TRANSACTION');
  return session;
}

function waiting({ database }: Overlaid): Waiting {
  const found = waitingOf(database);
  if (found === null) throw new Error('nothing ever waits');
  return found;
}

async function keysOf(at: Overlaid, table: Table): Promise<number> {
  const counts = await waiting(at).counts();
  return counts.find((one) => one.table.name === table)?.keys ?? 0;
}

/** As the runtime does it. */
async function written(at: Overlaid): Promise<void> {
  await expect
    .poll(async () => (await waiting(at).write(at.fence)).left, { timeout: 20_000, interval: 100 })
    .toBe(0);
  expect(await waiting(at).counts()).toEqual([]);
}

const conflictsOf = async (at: Overlaid) =>
  (await at.database.overlayConflicts(100)).map(({ key, kind }) => `${key.join()} ${kind}`).sort();

describe.each(ENGINES)('a transaction that stays open on %s', (engine) => {
  it.each([
    ['COMMIT', 'READ COMMITTED'],
    ['ROLLBACK', 'READ COMMITTED'],
    ['COMMIT', 'REPEATABLE READ'],
    ['ROLLBACK', 'REPEATABLE READ'],
  ] as const)('stalls its own keys only, until %s in %s', async (end, level) => {
    const at = await scene(engine);
    const idle = await candidateOf(at, level);
    await idle.query(`UPDATE item SET v = 'mine' WHERE id = 1`);
    await idle.query(`INSERT INTO item VALUES (50, 500, 'mine')`);
    await idle.query('DELETE FROM item WHERE id = 3');
    const until = performance.now() + 5_000;
    const took: number[] = [];
    for (let i = 0; performance.now() < until; i += 1) {
      const text = `new ${String(i)}`;
      took.push(
        await at.both(
          rowsStep(
            at.stage,
            'item',
            ...[row(1, 1, text), row(3, 3, text), row(5, 5, text), row(50, 50, text)],
            ...[row(60 + (i % 15), null, text), gone(String(60 + ((i + 7) % 15)))],
          ),
        ),
      );
      await at.agree();
      const seen = await at.seen('item');
      expect(seen.find(({ id }) => id === 5)).toMatchObject({ v: text });
      expect(seen.find(({ id }) => id === 1)).toMatchObject({ v: 'old' });
    }
    const [first = 0, ...later] = took;
    expect(first).toBeLessThan(4_000);
    expect(Math.max(...later)).toBeLessThan(SOON_MS);
    expect(later.length).toBeGreaterThan(5);
    expect(await keysOf(at, 'item')).toBe(3);
    const [found] = await waiting(at).counts();
    expect(found?.oldestMs).toBeGreaterThan(1_000);
    expect(await waiting(at).write(at.fence)).toEqual({ written: 0, left: 3 });
    await idle.query(end);
    await written(at);
    await at.agree();
    const production = await rowsOf(at.stage.client, 'SELECT id, n, v FROM item ORDER BY id');
    const mine: Readonly<Record<number, Row | null>> =
      end === 'ROLLBACK'
        ? {}
        : { 1: { id: 1, n: 1, v: 'mine' }, 3: null, 50: { id: 50, n: 500, v: 'mine' } };
    const expected = production.flatMap(
      (one) => mine[Number(one['id'])] ?? (Number(one['id']) in mine ? [] : [one]),
    );
    expect(await at.seen('item')).toEqual(expected);
    expect(await conflictsOf(at)).toEqual(
      end === 'ROLLBACK' ? [] : ['1 update_differs', '3 delete_updated', '50 insert_exists'],
    );
    const journal = `\`${at.name}__understudy\`.\`item#journal\``;
    expect(await rowsOf(at.admin, `SELECT id FROM ${journal} ORDER BY id`)).toEqual(
      Object.keys(mine).map((id) => ({ id: Number(id) })),
    );
  });

  it('keeps the order of a key that waits, whatever comes, and through a restart', async () => {
    const at = await scene(engine);
    // A scan would hold all others as well.
    const idle = await candidateOf(at, 'READ COMMITTED');
    await idle.query(`UPDATE item SET v = 'mine' WHERE id IN (1, 2, 3, 4)`);
    const step = (...changes: Parameters<typeof rowsStep>[2][]) =>
      rowsStep(at.stage, 'item', ...changes);
    await at.both(step(row(1, 1, 'a'), row(2, 2, 'a'), row(3, 3, 'a'), row(4, 4, 'a')));
    expect(await keysOf(at, 'item')).toBe(4);
    await at.agree();
    // A deletion, a row anew; a key that becomes another, and of which only a part is told.
    await at.both(step(gone('1'), gone('2')));
    await at.agree();
    await at.both(
      step(
        row(1, 1, 'b'),
        gone('3'),
        put(['id'], { id: '70', v: 'moved' }, { from: ['3'], complete: false }),
        put(['id'], { id: '4', v: 'patched' }, { complete: false }),
      ),
    );
    await at.agree();
    // Its value is the row's of before still.
    expect(await rowsOf(at.admin, 'SELECT n, v FROM item WHERE id = 70')).toEqual([]);
    await at.both(
      step(
        put(['id'], { id: '70', n: '71', v: 'free' }),
        put(['id'], { id: '4', n: '72' }, { complete: false }),
      ),
    );
    await at.agree();
    // Who comes next finds it as it was.
    await at.database.releaseFence(at.fence);
    await at.database[Symbol.asyncDispose]();
    const database = await openTrunk(at.stage.server, at.name);
    const fence = await database.takeFence('next');
    if (fence === null) throw new Error('the fence was given back');
    const next: Scene = {
      ...{ ...at, database, fence },
      agree: at.agree,
    };
    const steps = [step(row(2, 2, 'c'), gone('1')), step(row(6, 6, 'c'))];
    await at.stage.apply(...steps);
    await database.apply(fence, batchOf(steps));
    expect(await imageOf(at, 'item', 'id, n, v')).toEqual(
      await rowsOf(at.stage.client, 'SELECT id, n, v FROM item ORDER BY id'),
    );
    expect(await rowsOf(at.admin, `SELECT v FROM item WHERE id = 6`)).toEqual([{ v: 'c' }]);
    await idle.query('ROLLBACK');
    await written(next);
    expect(await at.seen('item')).toEqual(
      await rowsOf(at.stage.client, 'SELECT id, n, v FROM item ORDER BY id'),
    );
    expect(await conflictsOf(next)).toEqual([]);
  });

  it('that read a gap between rows keeps new ones out, and nothing else for long', async () => {
    const at = await scene(engine);
    const idle = await candidateOf(at, 'REPEATABLE READ');
    await idle.query('SELECT * FROM item WHERE id > 1000 FOR UPDATE');
    const took: number[] = [];
    for (let i = 0; i < 6; i += 1) {
      const text = `new ${String(i)}`;
      took.push(
        await at.both(
          rowsStep(
            at.stage,
            'item',
            ...[
              row(1, 1, text),
              row(5, 5, text),
              row(20 + i, 20 + i, text),
              row(40 + i, null, text),
            ],
          ),
        ),
      );
      await at.agree();
      expect((await at.seen('item')).find(({ id }) => id === 5)).toMatchObject({ v: text });
      await waiting(at).write(at.fence);
    }
    expect(took.reduce((sum, one) => sum + one, 0)).toBeLessThan(6_000);
    expect(took.filter((one) => one > SOON_MS).length).toBeLessThanOrEqual(2);
    expect(await keysOf(at, 'item')).toBe(12);
    await idle.query('ROLLBACK');
    await written(at);
    await at.agree();
    expect(await at.seen('item')).toEqual(
      await rowsOf(at.stage.client, 'SELECT id, n, v FROM item ORDER BY id'),
    );
  });

  it.each(['COMMIT', 'ROLLBACK'] as const)(
    'holds unique values, which production gives to others, until %s',
    async (end) => {
      const at = await scene(engine);
      const idle = await candidateOf(at);
      await idle.query(`INSERT INTO item VALUES (100, 77, 'mine')`);
      await idle.query(`UPDATE item SET v = 'mine' WHERE id = 2`);
      const step = rowsStep(
        at.stage,
        'item',
        row(30, 77, 'a'),
        row(2, 3, 'b'),
        row(3, 2, 'b'),
        row(4, 4, 'c'),
      );
      expect(await at.both(step)).toBeLessThan(4_000);
      await at.agree();
      expect((await at.seen('item')).find(({ id }) => id === 4)).toMatchObject({ v: 'c' });
      expect(await conflictsOf(at)).toEqual([]);
      expect(await at.both(rowsStep(at.stage, 'item', row(5, 5, 'd')))).toBeLessThan(SOON_MS);
      // A value comes to a row that is in nobody's hand, from one that is.
      await at.both(rowsStep(at.stage, 'item', row(2, null, 'e'), row(6, 3, 'e'), row(3, 6, 'e')));
      await at.agree();
      expect(await conflictsOf(at)).toEqual([]);
      await idle.query(end);
      await written(at);
      await at.agree();
      expect(await conflictsOf(at)).toEqual(
        end === 'COMMIT' ? ['2 update_differs', '30 multiple_unique'] : [],
      );
    },
  );

  it('holds rows that foreign keys lead to, and from', async () => {
    const at = await scene(engine);
    const idle = await candidateOf(at);
    await idle.query('UPDATE c SET v = 5 WHERE id = 11');
    await idle.query('UPDATE p SET v = 5 WHERE id = 2');
    const cascade = (id: string): BatchStep => ({
      ...{ kind: 'cascade', table: { schema: at.stage.source, name: 'p' } },
      changes: [{ kind: 'delete', key: [id] }],
    });
    const child = rowsStep(
      at.stage,
      'c',
      ...[put(['id'], { id: '21', pid: '2', v: '1' }), put(['id'], { id: '13', pid: '1', v: '1' })],
    );
    expect(await at.both(child)).toBeLessThan(4_000);
    await at.agree();
    expect((await at.seen('c')).map(({ id }) => id)).toEqual([11, 12, 13]);
    // The parent goes, and all below it, of which one is held.
    await at.both(cascade('1'), rowsStep(at.stage, 'p', gone('1')));
    await at.agree();
    expect((await at.seen('c')).map(({ id }) => id)).toEqual([11]);
    expect((await at.seen('p')).map(({ id }) => id)).toEqual([2]);
    // And what waits goes with its parent as well.
    await at.both(cascade('2'), rowsStep(at.stage, 'p', gone('2')));
    await at.agree();
    await idle.query('COMMIT');
    await written(at);
    await at.agree();
    expect(await at.seen('p')).toEqual([{ id: 2, v: 5 }]);
    expect(await at.seen('c')).toEqual([{ id: 11, pid: 1, v: 5 }]);
  });

  it('holds nothing up where rows that were kept out are tried again', async () => {
    const at = await scene(engine);
    await at.candidate.query(`UPDATE item SET n = 77 WHERE id = 1`);
    await at.both(rowsStep(at.stage, 'item', row(30, 77, 'a')));
    expect(await conflictsOf(at)).toEqual(['30 multiple_unique']);
    const idle = await candidateOf(at);
    await idle.query(`UPDATE item SET n = 1 WHERE id = 1`);
    const since = performance.now();
    await at.database.sweepOverlay(at.fence, null);
    expect(performance.now() - since).toBeLessThan(SOON_MS);
    await idle.query('COMMIT');
    await at.database.sweepOverlay(at.fence, null);
    expect(await conflictsOf(at)).toEqual([]);
    await at.agree();
  });

  it('keeps a truncate of production’s and a reset to what it leaves them', async () => {
    const at = await scene(engine);
    await at.candidate.query(`UPDATE item SET v = 'earlier' WHERE id = 7`);
    const idle = await candidateOf(at);
    await idle.query(`UPDATE item SET v = 'mine' WHERE id IN (1, 7)`);
    await idle.query(`INSERT INTO item VALUES (50, 500, 'mine')`);
    await at.both(rowsStep(at.stage, 'item', row(7, 7, 'a'), row(50, 50, 'a'), row(8, 8, 'a')));
    await at.agree();
    const truncate: BatchStep = {
      kind: 'truncate',
      table: { schema: at.stage.source, name: 'item' },
    };
    expect(await at.both(truncate, rowsStep(at.stage, 'item', row(2, 2, 'b')))).toBeLessThan(4_000);
    await at.agree();
    const [shown, ...more] = await at.database.overlayRows(10);
    expect(more).toEqual([]);
    expect(shown).toMatchObject({ key: ['7'], kind: 'insert' });
    await expect(at.database.resetOverlay(at.fence, {})).rejects.toMatchObject({
      code: 'APPLY_BLOCKED',
    });
    await idle.query('ROLLBACK');
    expect(await at.database.resetOverlay(at.fence, {})).toBe(1);
    await written(at);
    await at.agree();
    expect(await at.seen('item')).toEqual([{ id: 2, n: 2, v: 'b' }]);
  });

  it('that is prepared holds its keys as well', async () => {
    const at = await scene(engine);
    const xa = await sessionOn(at.candidateUrl, at.name);
    const name = `'${at.name}'`;
    await xa.query(`XA START ${name}`);
    await xa.query(`UPDATE item SET v = 'mine' WHERE id = 1`);
    await xa.query(`XA END ${name}`);
    await xa.query(`XA PREPARE ${name}`);
    let isOver = false;
    onTestFinished(async () => {
      if (!isOver) await xa.query(`XA ROLLBACK ${name}`);
    });
    await at.both(rowsStep(at.stage, 'item', row(1, 1, 'a'), row(2, 2, 'a')));
    await at.agree();
    expect(await keysOf(at, 'item')).toBe(1);
    expect(await at.both(rowsStep(at.stage, 'item', row(1, 1, 'b')))).toBeLessThan(SOON_MS);
    await xa.query(`XA COMMIT ${name}`);
    isOver = true;
    await written(at);
    await at.agree();
    expect(await conflictsOf(at)).toEqual(['1 update_differs']);
  });
});
