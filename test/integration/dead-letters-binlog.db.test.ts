/**
 * What a MySQL or MariaDB shadow refuses is set aside with its key, and nothing else: with the real
 * follower on real servers. The log is made by hand beside production, a database of the same server.
 */
import type { FollowerParts } from '../../src/apply/follower-parts.ts';
import { describe, expect, test } from 'vitest';
import type { Follower } from '../../src/apply/follower.ts';
import { replay, type ReplayOutcome } from '../../src/apply/replay.ts';
import type { ChangeEvent } from '../../src/change/record.ts';
import type { DeadLetter, DeadLetterBox } from '../../src/dialect/dead-letters.ts';
import type { Fence } from '../../src/dialect/dialect.ts';
import { UnderstudyError } from '../../src/errors/understudy-error.ts';
import {
  commit,
  truncate,
  type Production,
  type Values,
  type Write,
} from '../support/binlog-writes.ts';
import { followSlotLog } from '../support/follow-slot-log.ts';
import { keepAndDiscard } from '../support/kept-records.ts';
import { MemoryLog } from '../support/memory-log.ts';
import { ENGINES, stageOf, type Engine, type Row, type Stage } from './mysql.fixture.ts';

const TABLES = [
  'CREATE TABLE a (id INT PRIMARY KEY, v INT, u INT UNIQUE)',
  'CREATE TABLE b (id INT PRIMARY KEY, v INT)',
];
/** In the shadow only: `v` of `a` goes to 127. */
const NARROW = 'ALTER TABLE a MODIFY v TINYINT';
const WIDE = 'ALTER TABLE a MODIFY v INT';

const put = (table: string, after: Values): Write => ({ table, after });
const a = (id: number, v: number, u = id): Values => ({
  ...{ id: String(id), v: String(v), u: String(u) },
});
const set = (before: Values, after: Values): Write => ({ table: 'a', before, after });

interface Setting extends Stage, Production {
  readonly client: Stage['client'];
  readonly source: string;
  readonly box: DeadLetterBox;
}

async function setting(engine: Engine, ...ddl: readonly string[]): Promise<Setting> {
  const stage = await stageOf(engine, ...(ddl.length === 0 ? TABLES : ddl));
  const box = stage.database.deadLetters;
  return { ...stage, log: new MemoryLog({ rereads: true }), readable: false, box };
}

async function shadow(at: Setting, ...ddl: readonly string[]): Promise<void> {
  for (const sql of ddl) await at.client.query(sql);
}

type Writes = FollowerParts['database'];

async function follow(
  at: Setting,
  options: { readonly max?: number; readonly writes?: Writes } = {},
): ReturnType<typeof followSlotLog> {
  const { max = 20, writes } = options;
  return followSlotLog(at, {
    writes,
    dead: { box: at.box, catalogue: await at.database.catalogue(), max },
    ...{ batchEvents: 50, giveUpAfterMs: 20_000 },
  });
}

async function catchUp(at: Setting, follower: Follower): Promise<void> {
  const [ends, starts] = [await at.log.ends(), await at.log.starts()];
  await follower.until(() => follower.caughtUp(ends, starts));
  expect(follower.state.kind).not.toBe('stopped');
}

async function replayAll(at: Setting): Promise<ReplayOutcome> {
  const ids = (await at.box.list()).map(({ id }) => id);
  const catalogue = await at.database.catalogue();
  const { database, fence, box } = at;
  return replay(
    {
      ...{ database, fence, box, catalogue },
      events: (places) =>
        Promise.resolve(
          places.map((place) => {
            const record = { ...place, timestampMs: 0, key: null, value: null, headers: [] };
            return at.log.decode(record) as ChangeEvent;
          }),
        ),
    },
    ids,
  );
}

async function rowsIn(
  at: Setting,
  database: string,
  table: string,
  without: readonly (number | string)[],
): Promise<readonly Row[]> {
  const rows = await at.rows(`SELECT * FROM ${database}.${table} ORDER BY 1`);
  const left = new Set(without.map(String));
  // The driver reads JSON.
  const text = (value: unknown): unknown => (Array.isArray(value) ? JSON.stringify(value) : value);
  return rows
    .filter((row) => !left.has(String(Object.values(row)[0])))
    .map((row) => Object.fromEntries(Object.entries(row).map(([name, v]) => [name, text(v)])));
}

async function expectEqual(
  at: Setting,
  table: string,
  ...without: (number | string)[]
): Promise<void> {
  expect(await rowsIn(at, at.trunk, table, without)).toEqual(
    await rowsIn(at, at.source, table, without),
  );
}

const keysOf = (found: readonly DeadLetter[]): readonly unknown[] =>
  found.map(({ keys }) => keys.map((key) => key?.[0] ?? null));

/** What a shadow's own schema can refuse, and the number the server says it by. */
const REFUSALS: readonly {
  readonly what: string;
  readonly column: string;
  /** Of the shadow's table `t`. */
  readonly shadow: string;
  readonly good: string | null;
  readonly bad: string | null;
  readonly errno: Readonly<Record<Engine, number | null>>;
}[] = [
  {
    ...{ what: 'number out of range', column: 'INT', shadow: 'MODIFY v TINYINT' },
    ...{ good: '5', bad: '500', errno: { mysql: 1264, mariadb: 1264 } },
  },
  {
    ...{ what: 'text too long', column: 'VARCHAR(20)', shadow: 'MODIFY v VARCHAR(3)' },
    ...{ good: 'abc', bad: 'abcd', errno: { mysql: 1406, mariadb: 1406 } },
  },
  {
    ...{ what: 'label unknown', column: `ENUM('a', 'b')`, shadow: `MODIFY v ENUM('a')` },
    ...{ good: 'a', bad: 'b', errno: { mysql: 1265, mariadb: 1265 } },
  },
  {
    ...{ what: 'character unknown', column: 'VARCHAR(9)' },
    ...{ shadow: 'MODIFY v VARCHAR(9) CHARACTER SET latin1' },
    ...{ good: 'ä', bad: '漢', errno: { mysql: 1366, mariadb: 1366 } },
  },
  {
    ...{ what: 'no date', column: 'VARCHAR(20)', shadow: 'MODIFY v DATE' },
    ...{ good: '2024-02-29', bad: 'someday', errno: { mysql: 1292, mariadb: 1292 } },
  },
  {
    ...{ what: 'NULL', column: 'INT', shadow: 'MODIFY v INT NOT NULL' },
    ...{ good: '1', bad: null, errno: { mysql: 1048, mariadb: 1048 } },
  },
  {
    ...{ what: 'value of another row', column: 'INT', shadow: 'ADD UNIQUE (v)' },
    ...{ good: '1', bad: '-1', errno: { mysql: 1062, mariadb: 1062 } },
  },
  {
    // MariaDB's applier has checks off: what production took was checked there.
    ...{ what: 'check', column: 'INT', shadow: 'ADD CONSTRAINT small CHECK (v < 10)' },
    ...{ good: '1', bad: '10', errno: { mysql: 3819, mariadb: null } },
  },
  {
    ...{ what: 'no JSON', column: 'VARCHAR(20)', shadow: 'MODIFY v JSON' },
    ...{ good: '[1]', bad: '[1', errno: { mysql: 3140, mariadb: null } },
  },
  {
    ...{ what: 'no partition', column: 'INT' },
    shadow: 'PARTITION BY RANGE (id) (PARTITION p VALUES LESS THAN (5))',
    ...{ good: '1', bad: '1', errno: { mysql: 1526, mariadb: 1526 } },
  },
];

describe.each(ENGINES)('on %s', (engine) => {
  test('each kind of refusal sets aside the one row, and nothing else of its transaction', async () => {
    const cases = REFUSALS.filter(({ errno }) => errno[engine] !== null);
    const tables = cases.map(
      ({ column }, i) => `CREATE TABLE t${i} (id INT PRIMARY KEY, v ${column})`,
    );
    const at = await setting(engine, ...tables, 'CREATE TABLE t (id INT PRIMARY KEY, v INT)');
    await shadow(
      at,
      ...cases.map(({ shadow: ddl }, i) => `ALTER TABLE t${i} ${ddl}`),
      `CREATE TRIGGER refuses BEFORE INSERT ON t FOR EACH ROW BEGIN
        IF NEW.v = 7 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not seven'; END IF; END`,
      ...cases.flatMap(({ what }, i) =>
        what === 'value of another row' ? [`INSERT INTO t${i} VALUES (-1, -1)`] : [],
      ),
    );
    const { follower } = await follow(at);
    await commit(
      at,
      ...cases.flatMap(({ good, bad }, i) => [
        put(`t${i}`, { id: '1', v: good }),
        put(`t${i}`, { id: '9', v: bad }),
      ]),
      ...[put('t', { id: '1', v: '1' }), put('t', { id: '9', v: '7' })],
    );
    await catchUp(at, follower);
    const found = await at.box.list();
    const told = new Map(found.map(({ table, keys, message }) => [table.name, { keys, message }]));
    for (const [i, { what, errno }] of cases.entries()) {
      const letter = told.get(`t${i}`);
      expect(letter?.keys, what).toEqual([['9']]);
      expect(letter?.message, what).toMatch(new RegExp(`\\b${String(errno[engine])} `));
      await expectEqual(at, `t${i}`, 9, -1);
    }
    expect(told.get('t')).toMatchObject({ keys: [['9']] });
    expect(told.get('t')?.message).toContain('1644 ');
    expect(found).toHaveLength(cases.length + 1);
    expect(JSON.stringify(found.map(({ message }) => message))).not.toMatch(/abcd|漢|someday|500/);
    expect((await at.database.progress()).deadLetters).toBe(cases.length + 1);
  }, 120_000);

  test('what passes by itself sets nothing aside', async () => {
    const at = await setting(engine);
    const { follower } = await follow(at);
    for (const [i, errno] of [1205, 1213, 1290, 1836, 1114, 1021, 3, 1037, 1969].entries()) {
      await shadow(
        at,
        `CREATE TRIGGER refuses BEFORE INSERT ON b FOR EACH ROW
          SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = ${errno}, MESSAGE_TEXT = 'no'`,
      );
      await commit(at, put('b', { id: String(i), v: '1' }));
      // A server that takes no writes may not be the one that the address leads to now.
      const code = errno === 1290 || errno === 1836 ? 'SHADOW_UNREACHABLE' : 'APPLY_BLOCKED';
      await expect
        .poll(() => follower.state, { timeout: 20_000 })
        .toMatchObject({ kind: 'retrying', error: { code } });
      await shadow(at, 'DROP TRIGGER refuses');
      await catchUp(at, follower);
    }
    expect(await at.box.list()).toEqual([]);
    await expectEqual(at, 'b');
  }, 120_000);

  test('keeps sealed records of what is set aside, as long as it is set aside', async () => {
    const at = await setting(engine);
    await shadow(at, NARROW);
    const { follower } = await follow(at);
    await commit(at, put('a', a(1, 500)));
    await commit(at, set(a(1, 500), a(1, 600)));
    await commit(at, set(a(1, 600), a(1, 700)));
    await catchUp(at, follower);
    const count = async (): Promise<number> =>
      (await at.rows(`SELECT part FROM ${at.trunk}__understudy.dead_record`)).length;
    expect(await keepAndDiscard(at.database, at.fence, count)).toBe(0);
  }, 120_000);

  test('what comes for the row waits in order, and is replayed once the cause is gone', async () => {
    const at = await setting(engine);
    await shadow(at, NARROW);
    const { follower } = await follow(at);
    const rows = [1, 2, 3, 4, 5, 6, 7, 8].map((id) => a(id, id));
    await commit(at, ...rows.map((row) => put('a', row)), put('b', { id: '1', v: '1' }));
    await commit(
      at,
      ...[set(a(7, 7), a(7, 50)), set(a(7, 50), a(7, 500)), set(a(3, 3), a(3, 30))],
      put('b', { id: '2', v: '2' }),
    );
    await catchUp(at, follower);
    await commit(at, set(a(7, 500), a(7, 600)), set(a(1, 1), a(1, 10)));
    await catchUp(at, follower);
    await expectEqual(at, 'a', 7);
    await expectEqual(at, 'b');
    const [letter] = await at.box.list();
    expect(letter).toMatchObject({
      ...{ table: { schema: at.source, name: 'a' }, keys: [['7']], code: 'APPLY_FAILED' },
      ...{ queued: 2, message: expect.stringContaining('1264') as string },
    });
    expect(letter?.ageMs).toBeGreaterThanOrEqual(0);
    // The change of before in the same transaction is applied.
    expect(await at.rows(`SELECT v FROM a WHERE id = 7`)).toEqual([{ v: 50 }]);
    expect(follower.totals.degraded).toBe(2);
    // A value that its row had is taken over by another row, and a key that is changed.
    await commit(at, set(a(7, 600, 7), a(7, 600, 70)), set(a(8, 8, 8), a(8, 8, 7)));
    await commit(at, set(a(7, 600, 70), a(77, 600, 70)), set(a(2, 2), a(22, 2, 2)));
    await catchUp(at, follower);
    expect(new Set(keysOf(await at.box.list()).map((keys) => JSON.stringify(keys)))).toEqual(
      new Set(['["7","77"]', '["8"]']),
    );
    await expectEqual(at, 'a', 7, 77, 8);
    expect(await replayAll(at)).toMatchObject({ replayed: [], left: [{}, {}] });
    await shadow(at, WIDE);
    expect((await replayAll(at)).left).toEqual([]);
    follower.forgetDead();
    await commit(at, set(a(77, 600, 70), a(77, 900, 70)));
    await catchUp(at, follower);
    await expectEqual(at, 'a');
    expect(await at.box.list()).toEqual([]);
  }, 120_000);

  test('where texts can be equal that are not the same, or without a key, the whole table waits', async () => {
    const collation = engine === 'mysql' ? 'utf8mb4_0900_bin' : 'utf8mb4_nopad_bin';
    const at = await setting(
      engine,
      'CREATE TABLE word (w VARCHAR(20) COLLATE utf8mb4_general_ci PRIMARY KEY, v INT)',
      `CREATE TABLE exact (w VARCHAR(20) COLLATE ${collation} PRIMARY KEY, v INT)`,
      'CREATE TABLE bare (w VARCHAR(20), v INT)',
    );
    const names = ['word', 'exact', 'bare'];
    await shadow(at, ...names.map((name) => `ALTER TABLE ${name} MODIFY v TINYINT`));
    const { follower } = await follow(at);
    for (const name of names) await commit(at, put(name, { w: 'x', v: '1' }));
    for (const name of names) await commit(at, put(name, { w: 'Ä', v: '500' }));
    for (const name of names) await commit(at, put(name, { w: 'b', v: '2' }));
    await catchUp(at, follower);
    const found = await at.box.list();
    expect(new Map(found.map(({ table, keys, queued }) => [table.name, { keys, queued }]))).toEqual(
      new Map([
        ['word', { keys: [null], queued: 2 }],
        ['exact', { keys: [['Ä']], queued: 1 }],
        ['bare', { keys: [null], queued: 2 }],
      ]),
    );
    await shadow(at, ...names.map((name) => `ALTER TABLE ${name} MODIFY v INT`));
    expect((await replayAll(at)).left).toEqual([]);
    for (const name of names) await expectEqual(at, name);
  }, 120_000);

  test('a truncate ends the letters of its table; what is discarded is parked until it is known', async () => {
    const at = await setting(engine);
    await shadow(at, NARROW);
    const { follower } = await follow(at);
    await commit(at, put('a', a(1, 1)), put('a', a(2, 200)), put('a', a(3, 300)));
    await catchUp(at, follower);
    const ids = (await at.box.list()).map(({ id }) => id);
    expect(ids).toHaveLength(2);
    expect(await at.box.discard(at.fence, ids)).toBe(2);
    follower.forgetDead();
    expect(await at.database.progress()).toMatchObject({ deadLetters: 0, parked: 2 });
    expect(await at.database.gapCounts()).toMatchObject([
      { table: { schema: at.source, name: 'a' }, column: null, entries: 2 },
    ]);
    await commit(at, set(a(2, 200), a(2, 20)));
    await commit(at, put('a', a(4, 400)));
    await catchUp(at, follower);
    expect(await at.database.gaps(10)).toEqual([
      {
        ...{ table: { schema: at.source, name: 'a' }, unknown: [] },
        ...{ parked: [['3']], dead: [['4']] },
      },
    ]);
    await expectEqual(at, 'a', 3, 4);
    await truncate(at, 'a');
    await commit(at, put('a', a(3, 3)));
    await catchUp(at, follower);
    expect(await at.database.progress()).toMatchObject({ deadLetters: 0, parked: 0 });
    expect(await at.box.list()).toEqual([]);
    await expectEqual(at, 'a');
  }, 120_000);

  test('a process that ends beside it, or an answer that is lost, leaves all of one moment', async () => {
    for (const when of ['before', 'after', 'lost'] as const) {
      const at = await setting(engine);
      await shadow(at, NARROW);
      await commit(at, put('a', a(1, 1)), put('a', a(2, 2)));
      const first = await follow(at);
      await catchUp(at, first.follower);
      first.follower.stop();
      await first.done.catch(() => undefined);
      let failures = 0;
      const failing: Writes = {
        name: at.database.name,
        applyTogether: (...parts) => at.database.applyTogether(...parts),
        openBaseSnapshot: () => at.database.openBaseSnapshot(),
        apply: async (fence: Fence, batch) => {
          if (batch.dead === undefined || failures > 1) return at.database.apply(fence, batch);
          failures += 1;
          if (when !== 'before') await at.database.apply(fence, batch);
          const code = when === 'lost' ? 'SHADOW_UNREACHABLE' : 'INTERRUPTED';
          throw new UnderstudyError(code, 'the process ended');
        },
      };
      const second = await follow(at, { writes: failing });
      await commit(at, set(a(2, 2), a(2, 200)), set(a(1, 1), a(1, 3)));
      const ended = second.done.then(
        () => null,
        (error: unknown) => (error as UnderstudyError).code,
      );
      if (when === 'lost') await catchUp(at, second.follower);
      else await ended;
      expect(failures).toBeGreaterThan(0);
      expect((await at.box.list()).length).toBe(when === 'before' ? 0 : 1);
      second.follower.stop();
      expect(await ended).toBe(when === 'lost' ? null : 'INTERRUPTED');
      const third = await follow(at);
      await commit(at, set(a(2, 200), a(2, 200, 22)));
      await catchUp(at, third.follower);
      expect(await at.box.list()).toMatchObject([{ keys: [['2']], queued: 2 }]);
      await expectEqual(at, 'a', 2);
      await shadow(at, WIDE);
      expect((await replayAll(at)).left).toEqual([]);
      await expectEqual(at, 'a');
    }
  }, 180_000);

  test('it stops when more would be set aside than may be, with what came before written', async () => {
    const at = await setting(engine);
    await shadow(at, NARROW);
    const { follower, done } = await follow(at, { max: 2 });
    await commit(at, ...[1, 2, 3, 4].map((id) => put('a', a(id, id % 2 === 0 ? id : 200 + id))));
    await commit(at, put('b', { id: '1', v: '1' }));
    await commit(at, put('a', a(5, 500)), put('b', { id: '2', v: '2' }));
    await expect(done).rejects.toMatchObject({ code: 'DEAD_LETTERS_FULL' });
    expect(follower.totals.transactions).toBe(2);
    expect(await at.rows('SELECT id FROM b')).toEqual([{ id: 1 }]);
    await shadow(at, WIDE);
    const again = await follow(at, { max: 2 });
    // Nobody replays beside who writes: then the shadow would not stand where the batch begins.
    await catchUp(at, again.follower);
    expect((await replayAll(at)).left).toEqual([]);
    again.follower.forgetDead();
    await catchUp(at, again.follower);
    await expectEqual(at, 'a');
    again.follower.stop();
    await again.done.catch(() => undefined);
    const none = await follow(at, { max: 0 });
    await shadow(at, NARROW.replace('TINYINT', 'SMALLINT'));
    await commit(at, put('a', a(6, 99_999)));
    await expect(none.done).rejects.toMatchObject({ code: 'APPLY_FAILED' });
    expect(await at.box.list()).toEqual([]);
  }, 120_000);

  test('what cannot be read waits with its key until it can; its transaction does not', async () => {
    const at = await setting(engine);
    const { follower } = await follow(at);
    await commit(at, ...[1, 2, 3, 4, 5].map((id) => put('a', a(id, id))));
    await commit(
      at,
      ...[set(a(1, 1), a(1, 10)), { ...set(a(3, 3), a(3, 13)), damaged: true as const }],
      ...[set(a(5, 5), a(5, 50)), put('b', { id: '1', v: '1' })],
    );
    await commit(at, set(a(3, 13), a(3, 14)), set(a(4, 4), a(4, 40)));
    const started = performance.now();
    await catchUp(at, follower);
    expect(performance.now() - started).toBeLessThan(20_000);
    await expectEqual(at, 'a', 3);
    expect(await at.box.list()).toMatchObject([
      { keys: [['3']], code: 'RECORD_CORRUPT', transactionId: null, queued: 2 },
    ]);
    expect(await replayAll(at)).toMatchObject({ replayed: [], left: [{ code: 'RECORD_CORRUPT' }] });
    at.readable = true;
    expect((await replayAll(at)).left).toEqual([]);
    await expectEqual(at, 'a');
    await expectEqual(at, 'b');
  }, 120_000);
});
