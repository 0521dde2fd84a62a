/**
 * What the shadow refuses is set aside with its key, and nothing else: with the real follower, on
 * real databases, with production's own log as event log (slot-log.ts).
 */
import { expect, test } from 'vitest';
import { replay, type ReplayOutcome } from '../../src/apply/replay.ts';
import type { ChangeEvent, DecodedRecord, RowChange } from '../../src/change/record.ts';
import type { DeadLetter } from '../../src/dialect/dead-letters.ts';
import { UnderstudyError } from '../../src/errors/understudy-error.ts';
import { canonicalState } from '../support/canonical-state.ts';
import { unread } from '../support/change-events.ts';
import { keepAndDiscard } from '../support/kept-records.ts';
import type { SlotLog } from '../support/slot-log.ts';
import { catchUp, commit, follow, letters, type Writes } from './dead-letters.fixture.ts';
import { slotTrunk, type SlotTrunk } from './slot-trunk.fixture.ts';

const TABLES = `CREATE TABLE a (id int PRIMARY KEY, v int, u int UNIQUE);
  CREATE TABLE b (id int PRIMARY KEY, v int)`;

async function begin(): Promise<SlotTrunk> {
  const at = await slotTrunk(TABLES);
  await at.shadow.query('ALTER TABLE a ADD CONSTRAINT small CHECK (v < 100)');
  return at;
}

type Damaged = (change: RowChange) => boolean;

/** The record as it is read if some are damaged. */
function readOf(record: DecodedRecord, damaged: Damaged | undefined): DecodedRecord {
  if (record.kind !== 'change' || record.op === 'unread') return record;
  return damaged?.(record) === true ? unread(record) : record;
}

function followIt(
  at: SlotTrunk,
  { damaged, ...options }: { max?: number; writes?: Writes; damaged?: Damaged } = {},
): ReturnType<typeof follow> {
  return follow(at, { ...options, decode: (record) => readOf(record, damaged) });
}

async function replayAll(at: SlotTrunk, damaged?: Damaged): Promise<ReplayOutcome> {
  const box = at.database.deadLetters;
  const ids = (await box.list()).map(({ id }) => id);
  const events = (places: Parameters<Parameters<typeof replay>[0]['events']>[0]) =>
    Promise.resolve(
      places.map((place) => {
        const record = { ...place, timestampMs: 0, key: null, value: null, headers: [] };
        return readOf(at.log.decode(record), damaged) as ChangeEvent;
      }),
    );
  const catalogue = await at.database.catalogue();
  const { database, fence } = at;
  return replay({ database, fence, box, catalogue, events }, ids);
}

async function expectEqual(at: SlotTrunk): Promise<void> {
  expect(await canonicalState(at.url)).toEqual(await canonicalState(at.productionUrl));
}

/** Both states without the rows of `a` with these keys. */
async function expectEqualBut(at: SlotTrunk, ...ids: readonly number[]): Promise<void> {
  const only = {
    relation: (schema: string, name: string) =>
      name === 'a'
        ? `(SELECT * FROM a WHERE id <> ALL ('{${ids.join(',')}}')) t`
        : `${schema}.${name}`,
  };
  expect(await canonicalState(at.url, only)).toEqual(await canonicalState(at.productionUrl, only));
}

const keysOf = (found: readonly DeadLetter[]): readonly unknown[] =>
  found.map(({ keys }) => keys.map((key) => key?.[0] ?? null));

async function allow(at: SlotTrunk): Promise<void> {
  await at.shadow.query('ALTER TABLE a DROP CONSTRAINT small');
}

test('only the row that is refused is set aside, and what comes for it waits', async () => {
  const at = await begin();
  const { follower } = await followIt(at);
  await commit(
    at,
    'INSERT INTO a SELECT i, i, i FROM generate_series(1, 20) i; INSERT INTO b VALUES (1, 1)',
    'UPDATE a SET v = 50 WHERE id = 7; UPDATE a SET v = 500 WHERE id = 7; UPDATE b SET v = 2',
    'UPDATE a SET v = v + 1 WHERE id < 10; INSERT INTO b VALUES (2, 2)',
  );
  await catchUp(at, follower);
  await expectEqualBut(at, 7);
  const [letter] = await letters(at);
  expect(letter).toMatchObject({
    ...{ table: { schema: 'public', name: 'a' }, keys: [['7']], code: 'APPLY_FAILED', queued: 2 },
    message: expect.stringContaining('SQLSTATE 23514') as string,
  });
  // The change of before in the same transaction is applied, and the refused one is named.
  expect((await at.shadow.query('SELECT v FROM a WHERE id = 7')).rows).toEqual([{ v: 50 }]);
  expect(letter?.message).not.toContain('500');
  const record = { ...{ timestampMs: 0, key: null, value: null, headers: [] }, ...letter?.at };
  const named = at.log.decode(record as Parameters<SlotLog['decode']>[0]) as ChangeEvent;
  expect(named).toMatchObject({ op: 'update', after: { values: ['7', '500', '7'] } });
  expect(follower.totals.degraded).toBe(2);
  expect((await at.database.progress()).deadLetters).toBe(1);

  expect(await replayAll(at)).toMatchObject({ replayed: [], left: [{ id: letter?.id }] });
  await allow(at);
  expect(await replayAll(at)).toEqual({ replayed: [letter?.id], left: [] });
  follower.forgetDead();
  await commit(at, 'UPDATE a SET v = 900 WHERE id = 7');
  await catchUp(at, follower);
  await expectEqual(at);
  expect(await letters(at)).toEqual([]);
});

test('a value that another row takes over waits with it; a swap beside it does not', async () => {
  const at = await begin();
  const { follower } = await followIt(at);
  await commit(at, 'INSERT INTO a VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4)');
  await catchUp(at, follower);
  await commit(
    at,
    `UPDATE a SET u = -1 WHERE id = 1; UPDATE a SET u = 1 WHERE id = 2; UPDATE a SET u = 2 WHERE id = 1;
     UPDATE a SET v = 100, u = 33 WHERE id = 3`,
    'UPDATE a SET u = 3 WHERE id = 4',
  );
  await catchUp(at, follower);
  expect(keysOf(await letters(at))).toEqual([['3'], ['4']]);
  await expectEqualBut(at, 3, 4);
  await allow(at);
  expect((await replayAll(at)).left).toEqual([]);
  await expectEqual(at);
});

test('a changed key takes its new key along, and two that meet are one', async () => {
  const at = await begin();
  const { follower } = await followIt(at);
  await commit(at, 'INSERT INTO a VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3)');
  await commit(at, 'UPDATE a SET v = 100 WHERE id = 1', 'UPDATE a SET v = 200 WHERE id = 2');
  await catchUp(at, follower);
  await commit(at, 'UPDATE a SET id = 11 WHERE id = 1', 'INSERT INTO a VALUES (1, 5, 55)');
  await catchUp(at, follower);
  await expectEqualBut(at, 1, 2, 11);
  await commit(at, 'DELETE FROM a WHERE id = 2; UPDATE a SET id = 2 WHERE id = 11');
  await catchUp(at, follower);
  expect(keysOf(await letters(at))).toEqual([['1', '11', '2']]);
  await allow(at);
  expect((await replayAll(at)).left).toEqual([]);
  await expectEqual(at);
});

test('a truncate ends the letters of its table', async () => {
  const at = await begin();
  const { follower } = await followIt(at);
  await commit(
    at,
    'INSERT INTO a VALUES (1, 1, 1), (2, 200, 2)',
    'UPDATE a SET u = 20 WHERE id = 2',
  );
  await catchUp(at, follower);
  expect(keysOf(await letters(at))).toEqual([['2']]);
  await commit(at, 'TRUNCATE a', 'INSERT INTO a VALUES (2, 2, 2)');
  await catchUp(at, follower);
  expect(await letters(at)).toEqual([]);
  await expectEqual(at);
});

test('a discarded row counts as parked until a whole event brings it', async () => {
  const at = await begin();
  const { follower } = await followIt(at);
  await commit(at, 'INSERT INTO a VALUES (1, 1, 1), (2, 200, 2)');
  await catchUp(at, follower);
  const ids = (await letters(at)).map(({ id }) => id);
  expect(await at.database.deadLetters.discard(at.fence, ids)).toBe(1);
  follower.forgetDead();
  expect(await at.database.progress()).toMatchObject({ deadLetters: 0, parked: 1 });
  await commit(at, 'UPDATE a SET v = 20 WHERE id = 2');
  await catchUp(at, follower);
  expect((await at.database.progress()).parked).toBe(0);
  await expectEqual(at);
});

test('a process that ends beside it leaves position and letters of one moment', async () => {
  for (const when of ['before', 'after'] as const) {
    const at = await begin();
    await commit(at, 'INSERT INTO a VALUES (1, 1, 1), (2, 2, 2)');
    const first = await followIt(at);
    await catchUp(at, first.follower);
    first.follower.stop();
    await first.done.catch(() => undefined);
    const crashing: Writes = {
      name: at.database.name,
      applyTogether: (...parts) => at.database.applyTogether(...parts),
      openBaseSnapshot: () => at.database.openBaseSnapshot(),
      apply: async (fence, batch) => {
        const crash = new UnderstudyError('INTERRUPTED', 'the process ended');
        if (batch.dead === undefined) return at.database.apply(fence, batch);
        if (when === 'after') await at.database.apply(fence, batch);
        throw crash;
      },
    };
    const second = await followIt(at, { writes: crashing });
    await commit(at, 'UPDATE a SET v = 200 WHERE id = 2; UPDATE a SET v = 3 WHERE id = 1');
    await expect(second.done).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect((await letters(at)).length).toBe(when === 'after' ? 1 : 0);
    const third = await followIt(at);
    await commit(at, 'UPDATE a SET u = 22 WHERE id = 2');
    await catchUp(at, third.follower);
    expect(await letters(at)).toMatchObject([{ keys: [['2']], queued: 2 }]);
    await expectEqualBut(at, 2);
    await allow(at);
    expect((await replayAll(at)).left).toEqual([]);
    await expectEqual(at);
  }
});

test('an answer that is lost changes nothing', async () => {
  const at = await begin();
  let lost = 0;
  const losing: Writes = {
    name: at.database.name,
    applyTogether: (...parts) => at.database.applyTogether(...parts),
    openBaseSnapshot: () => at.database.openBaseSnapshot(),
    apply: async (fence, batch) => {
      const outcome = await at.database.apply(fence, batch);
      if (batch.dead === undefined || lost > 2) return outcome;
      lost += 1;
      throw new UnderstudyError('SHADOW_UNREACHABLE', 'the answer was lost');
    },
  };
  const { follower } = await followIt(at, { writes: losing });
  await commit(
    at,
    'INSERT INTO a VALUES (1, 1, 1), (2, 200, 2)',
    'UPDATE a SET u = 5 WHERE id = 2',
  );
  await catchUp(at, follower);
  expect(lost).toBeGreaterThan(0);
  expect(await letters(at)).toMatchObject([{ keys: [['2']], queued: 2 }]);
  await allow(at);
  expect((await replayAll(at)).left).toEqual([]);
  await expectEqual(at);
});

test('it stops when more would be set aside than may be, with what came before written', async () => {
  const at = await begin();
  const { follower, done } = await followIt(at, { max: 2 });
  await commit(
    at,
    'INSERT INTO a SELECT i, i + 199 * (i % 2), i FROM generate_series(1, 4) i',
    'INSERT INTO b VALUES (1, 1)',
    'INSERT INTO a VALUES (5, 500, 5); INSERT INTO b VALUES (2, 2)',
  );
  await expect(done).rejects.toMatchObject({ code: 'DEAD_LETTERS_FULL' });
  expect(follower.totals.transactions).toBe(2);
  expect((await at.shadow.query('SELECT id FROM b')).rows).toEqual([{ id: 1 }]);
  expect(keysOf(await letters(at))).toEqual(expect.arrayContaining([['1'], ['3']]));
  await allow(at);
  const again = await followIt(at, { max: 2 });
  // Nobody replays beside who writes: then the shadow would not stand where the batch begins.
  await catchUp(at, again.follower);
  expect((await replayAll(at)).left).toEqual([]);
  again.follower.forgetDead();
  await catchUp(at, again.follower);
  await expectEqual(at);
});

test('without room for any, the first refusal stops', async () => {
  const at = await begin();
  const { done } = await followIt(at, { max: 0 });
  await commit(at, 'INSERT INTO a VALUES (1, 100, 1)');
  await expect(done).rejects.toMatchObject({ code: 'APPLY_FAILED' });
  expect(await letters(at)).toEqual([]);
});

test('a full disk, a cancelled statement or a server that takes no writes sets nothing aside', async () => {
  const at = await begin();
  const { follower } = await followIt(at);
  await at.shadow.query(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN RAISE 'no' USING ERRCODE = TG_ARGV[0]; END $$`);
  for (const [i, state] of ['53100', '57014', '25006', '53200'].entries()) {
    await at.shadow.query(`CREATE TRIGGER refuse BEFORE INSERT ON b FOR EACH ROW
        EXECUTE FUNCTION refuse('${state}'); ALTER TABLE b ENABLE ALWAYS TRIGGER refuse`);
    await commit(at, `INSERT INTO b VALUES (${i}, ${i})`);
    await expect
      .poll(() => follower.state, { timeout: 20_000 })
      .toMatchObject({
        kind: 'retrying',
        error: { code: state === '25006' ? 'SHADOW_UNREACHABLE' : 'APPLY_BLOCKED' },
      });
    await at.shadow.query('DROP TRIGGER refuse ON b');
    await catchUp(at, follower);
  }
  expect(await letters(at)).toEqual([]);
  await expectEqual(at);
});

/** Updates of `a` that set `v` to this. */
const sets =
  (v: string): Damaged =>
  ({ table, after }) =>
    table.name === 'a' && after?.values[1] === v;

test('what cannot be read waits with its key until it can; its transaction does not', async () => {
  const at = await begin();
  const damaged = sets('13');
  const first = await followIt(at, { damaged });
  await commit(at, 'INSERT INTO a SELECT i, i, i FROM generate_series(1, 5) i');
  await commit(
    at,
    'UPDATE a SET v = 20 WHERE id = 1; UPDATE a SET v = 13 WHERE id = 3;' +
      'UPDATE a SET v = 20 WHERE id = 5; INSERT INTO b VALUES (1, 1)',
  );
  await commit(at, 'UPDATE a SET v = v + 1 WHERE id > 2');
  const started = performance.now();
  await catchUp(at, first.follower);
  // Nobody waits for what will not come: the limit is 30 s.
  expect(performance.now() - started).toBeLessThan(15_000);
  await expectEqualBut(at, 3);
  expect(await letters(at)).toMatchObject([
    { keys: [['3']], code: 'RECORD_CORRUPT', transactionId: null, queued: 2 },
  ]);
  expect((await at.shadow.query('SELECT v FROM a WHERE id = 3')).rows).toEqual([{ v: 3 }]);
  expect(first.follower.totals.degraded).toBeGreaterThan(0);
  first.follower.stop();
  await first.done.catch(() => undefined);

  const second = await followIt(at, { damaged });
  await commit(at, 'UPDATE a SET id = 33 WHERE id = 3', 'INSERT INTO a VALUES (3, 3, 30)');
  await catchUp(at, second.follower);
  await expectEqualBut(at, 3, 33);
  expect(await replayAll(at, damaged)).toMatchObject({
    replayed: [],
    left: [{ code: 'RECORD_CORRUPT', message: 'damaged' }],
  });
  expect((await replayAll(at)).left).toEqual([]);
  second.follower.forgetDead();
  await expectEqual(at);
});

test('what cannot be read and what is refused wait in one batch, each with its key', async () => {
  const at = await begin();
  const { follower } = await followIt(at, { damaged: sets('13') });
  await commit(
    at,
    `INSERT INTO a SELECT i, i, i FROM generate_series(1, 9) i; UPDATE a SET v = 13 WHERE id = 2;
     UPDATE a SET v = 200 WHERE id = 4; UPDATE a SET v = 200 WHERE id = 2; UPDATE a SET v = 7 WHERE id = 7`,
  );
  await catchUp(at, follower);
  await expectEqualBut(at, 2, 4);
  const found = (await letters(at)).map(({ keys, code, queued }) => [keys[0]?.[0], code, queued]);
  expect(new Set(found)).toEqual(
    new Set([
      ['2', 'RECORD_CORRUPT', 2],
      ['4', 'APPLY_FAILED', 1],
    ]),
  );
  await allow(at);
  expect((await replayAll(at)).left).toEqual([]);
  await expectEqual(at);
});

test('of what the log no longer holds a letter is left, and the others are replayed', async () => {
  const at = await begin();
  const { follower } = await followIt(at);
  await commit(at, 'INSERT INTO a VALUES (1, 100, 1), (2, 200, 2)');
  await catchUp(at, follower);
  await allow(at);
  const isGone: Damaged = ({ after }) => {
    if (after?.values[0] === '1') throw new UnderstudyError('LOG_GAP', 'gone');
    return false;
  };
  const [first, second] = await letters(at);
  const outcome = await replayAll(at, isGone);
  expect(outcome.left).toMatchObject([{ code: 'LOG_GAP' }]);
  expect(new Set([outcome.left[0]?.id, ...outcome.replayed])).toEqual(
    new Set([first?.id, second?.id]),
  );
  await expectEqualBut(at, 1);
});

test('too much that cannot be read stops it, with what came before written', async () => {
  const at = await begin();
  const options = { max: 2, damaged: sets('13') };
  const { follower, done } = await followIt(at, options);
  // So that all of it comes in one batch.
  await follower.freeze();
  await commit(
    at,
    'INSERT INTO a SELECT i, i, i FROM generate_series(1, 5) i; INSERT INTO b VALUES (1, 1)',
    'UPDATE a SET v = 13 WHERE id < 3',
    'UPDATE a SET v = 50 WHERE id = 5',
    'UPDATE a SET v = 13 WHERE id = 4; INSERT INTO b VALUES (2, 2)',
  );
  await expect.poll(() => follower.held().events).toBe(11);
  follower.resume();
  await expect(done).rejects.toMatchObject({ code: 'DEAD_LETTERS_FULL' });
  expect(new Set(keysOf(await letters(at)))).toEqual(new Set([['1'], ['2']]));
  expect((await replayAll(at)).left).toEqual([]);
  const again = await followIt(at, options);
  await catchUp(at, again.follower);
  await expectEqualBut(at, 4);
});

test('a truncate that may be before or after what cannot be read stops a process that starts', async () => {
  const at = await begin();
  const elsewhere: Writes = {
    name: at.database.name,
    applyTogether: (...parts) => at.database.applyTogether(...parts),
    openBaseSnapshot: () => at.database.openBaseSnapshot(),
    apply: (fence, { dead, ...batch }) => {
      const events = dead?.events.map((event) => ({ ...event, at: { ...event.at, partition: 1 } }));
      const moved = dead && events && { dead: { ...dead, events } };
      return at.database.apply(fence, { ...batch, ...moved });
    },
  };
  const first = await followIt(at, { damaged: sets('13'), writes: elsewhere });
  await commit(at, 'INSERT INTO a VALUES (1, 1, 1), (2, 13, 2)');
  await catchUp(at, first.follower);
  first.follower.stop();
  await first.done.catch(() => undefined);
  const second = await followIt(at);
  await commit(at, 'TRUNCATE a');
  await expect(second.done).rejects.toMatchObject({
    ...{ code: 'APPLY_FAILED', message: expect.stringContaining('could not be read') as string },
  });
  expect(await letters(at)).toHaveLength(1);
});

test('keeps sealed records of what is set aside, as long as it is set aside', async () => {
  const at = await begin();
  const { follower } = await followIt(at);
  await commit(
    at,
    'INSERT INTO a VALUES (1, 500, 1)',
    'UPDATE a SET v = 600 WHERE id = 1',
    'UPDATE a SET v = 700 WHERE id = 1',
  );
  await catchUp(at, follower);
  const count = async (): Promise<number> =>
    (await at.shadow.query('SELECT FROM understudy.dead_record')).rowCount ?? 0;
  expect(await keepAndDiscard(at.database, at.fence, count)).toBe(0);
});
