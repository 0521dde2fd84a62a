/**
 * Repairs of a trunk and a rollout that were damaged behind our back, while production and a
 * candidate write: the real followers, on real databases, with production's own log as event log
 * (slot-log.ts). The databases themselves judge.
 */
import type pg from 'pg';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import type { Follower } from '../../src/apply/follower.ts';
import { UNSURE } from '../../src/change/value.ts';
import type { Fence, ProductionDatabase, ShadowDatabase } from '../../src/dialect/dialect.ts';
import { readCaptured } from '../../src/dialect/postgres/overlay/journal.ts';
import { connectProduction } from '../../src/dialect/postgres/production/production.ts';
import { relation } from '../../src/dialect/postgres/session/names.ts';
import { connectShadow } from '../../src/dialect/postgres/shadow/server.ts';
import {
  repair,
  type RepairOptions,
  type RepairParts,
  type RepairResult,
} from '../../src/drift/repair.ts';
import { followSlotLog, loggedUntilNow } from '../support/follow-slot-log.ts';
import { canonicalState, productionView } from '../support/canonical-state.ts';
import { image } from '../support/change-events.ts';
import { connect } from '../support/comparison.ts';
import { hangCommit } from '../support/hung-commit.ts';
import { batchOf } from '../support/overlay-applier.ts';
import { createDatabase, databaseUrl, startPostgres } from '../support/postgres.ts';
import { Random } from '../support/random.ts';
import type { Swept } from '../../src/dialect/overlay.ts';
import { baseSeed } from '../support/seeds.ts';
import { SlotLog } from '../support/slot-log.ts';
import { postgresUrl, testDatabase } from '../support/test-database.ts';
import { freshName, session } from './shadow.fixture.ts';

const T = { schema: 'public', name: 't' };

/** Ids that production's writers use, those whose unique values are turned, and all there are. */
const BUSY = 200;
const TURNED = { first: 301, last: 440 };
const ROWS = 900;
/** The candidate's rows; what is done to a shadow's other rows, it does not write. */
const candidates = (id: number): boolean => id % 5 === 0;

interface Followed {
  readonly database: ShadowDatabase;
  readonly fence: Fence;
  readonly follower: Follower;
  readonly url: string;
  /** Unseen by triggers. */
  readonly damage: pg.Client;
}

interface Scene {
  readonly productionUrl: string;
  readonly production: ProductionDatabase;
  readonly client: pg.Client;
  readonly log: SlotLog;
  readonly trunk: Followed;
  readonly rollout: Followed;
  readonly candidate: pg.Client;
}

let slots = 0;

/** `before` is done to production before its log begins: the shadow has the tables, not the rows. */
async function scene(before = '', server = postgresUrl()): Promise<Scene> {
  const productionUrl =
    server === postgresUrl()
      ? (await testDatabase('repair')).url
      : await createDatabase(server, 'shop');
  const client = await session(productionUrl);
  await client.query(`CREATE TABLE t (id int PRIMARY KEY, v int, w text, u int UNIQUE);
    CREATE TABLE other (id int PRIMARY KEY, v int)`);
  await client.query(before);
  slots += 1;
  const log = await SlotLog.start(productionUrl, `repair_${process.pid}_${slots}`);
  onTestFinished(() => log[Symbol.asyncDispose]());
  await client.query(`INSERT INTO t SELECT g, g, 'w' || g, g FROM generate_series(1, ${ROWS}) g`);
  const shadow = await connectShadow(postgresUrl());
  onTestFinished(() => shadow[Symbol.asyncDispose]());
  const production = await connectProduction(productionUrl);
  onTestFinished(() => production[Symbol.asyncDispose]());
  const [name, clone] = [freshName('trunk'), freshName('rollout')];
  const plan = await production.planShadow();
  await shadow.createTrunk({ name, topicPrefix: 'p', plan, bootstrap: false });
  await shadow.clone({ from: name, to: clone, rolloutName: 'next' });
  const trunk = await follow(log, await shadow.open(name));
  const rollout = await follow(log, await shadow.open(clone), true);
  const role = await shadow.createCandidateRole({ database: clone, role: clone, password: 'pass' });
  onTestFinished(() => shadow.drop({ database: clone, role: clone }));
  const candidate = await session(role.url);
  const made = { productionUrl, production, client, log, trunk, rollout, candidate };
  await catchUp(made);
  return made;
}

async function follow(
  log: SlotLog,
  database: ShadowDatabase | null,
  overlay = false,
): Promise<Followed> {
  const fence = await database?.takeFence('test');
  if (database === null || fence === null || fence === undefined) throw new Error('not taken');
  onTestFinished(() => database[Symbol.asyncDispose]());
  if (overlay) await database.installOverlay(fence);
  const at = { database, fence, log };
  const { follower } = await followSlotLog(at, { batchEvents: 20, giveUpAfterMs: 30_000 });
  const url = databaseUrl(postgresUrl(), database.name);
  const damage = await session(url);
  await damage.query('SET session_replication_role = replica');
  return { database, fence, follower, url, damage };
}

async function catchUp(at: Pick<Scene, 'client' | 'log' | 'trunk' | 'rollout'>): Promise<void> {
  const { ends, starts } = await loggedUntilNow(at.client, at.log);
  for (const { follower } of [at.trunk, at.rollout]) {
    await follower.until(() => follower.caughtUp(ends, starts));
    expect(follower.state.kind).not.toBe('stopped');
  }
}

function mend(
  at: Scene,
  of: Followed,
  { production = at.production, ...options }: Partial<RepairOptions & RepairParts> = {},
): Promise<RepairResult> {
  const { database, fence, follower } = of;
  return repair(
    {
      follower: {
        freeze: () => follower.freeze(),
        progress: () => database.progress(),
        prove: (txIds) => database.proveVisible(fence, txIds),
        runToBarrier: (run) => follower.runToBarrier(run),
        resume: () => {
          follower.resume();
        },
      },
      ...{ source: at.log, offsets: at.log, production },
      openBase: () => database.openBaseSnapshot(),
      catalogue: () => database.catalogue(),
    },
    {
      ...{ table: T, keys: null, leftOut: new Set<string>(), leafRows: 40 },
      timing: { everyMs: 5, timeoutMs: 20_000 },
      signal: new AbortController().signal,
      ...options,
    },
  );
}

/** Conflicting writes to production, some slow to commit, until told to stop. */
async function write(at: Scene, stop: AbortSignal, seed: number): Promise<number> {
  const client = await connect(at.productionUrl);
  const pick = new Random(seed);
  let done = 0;
  for (; !stop.aborted; done += 1) {
    const id = pick.integer(1, BUSY);
    await client.query('BEGIN');
    const sql = pick.chance(1 / 4)
      ? `DELETE FROM t WHERE id = ${id}`
      : `INSERT INTO t VALUES (${id}, ${done}, 'w${seed}', ${id})
           ON CONFLICT (id) DO UPDATE SET v = ${done}, w = 'x${done}'`;
    // Of two that insert a row at once, one may meet the other's second unique value first.
    const isRefused = await client.query(sql).then(
      () => false,
      (error: unknown) => {
        if ((error as { code?: string }).code === '23505') return true;
        throw error;
      },
    );
    if (pick.chance(1 / 5)) await sleep(4);
    await client.query(isRefused || pick.chance(1 / 9) ? 'ROLLBACK' : 'COMMIT');
  }
  await client.end();
  return done;
}

/** What the candidate does to its rows; it must find them so again. */
async function own(
  at: Scene,
  stop: AbortSignal,
  pick: Random,
): Promise<Map<number, string | null>> {
  const owned = new Map<number, string | null>();
  while (!stop.aborted) {
    const id = 5 * pick.integer(1, ROWS / 5);
    const gone = pick.chance(1 / 3);
    const text = gone ? null : `mine${pick.integer(0, 999)}`;
    const { rowCount } = await at.candidate.query(
      gone
        ? `DELETE FROM t WHERE id = ${id}`
        : `INSERT INTO t (id, w) VALUES (${id}, '${text}')
             ON CONFLICT (id) DO UPDATE SET w = excluded.w, v = -7`,
    );
    // Of a row that production does not have just now, a delete makes nothing the candidate's.
    if (rowCount !== 0) owned.set(id, text);
    await sleep(1);
  }
  return owned;
}

/** Rows go, change and come, as no event told. */
async function damage(of: Followed, pick: Random): Promise<void> {
  for (let i = 0; i < 120; i += 1) {
    const id = pick.integer(1, ROWS);
    if (candidates(id) || (id >= TURNED.first && id <= TURNED.last)) continue;
    await of.damage.query(
      [
        `DELETE FROM t WHERE id = ${id}`,
        `UPDATE t SET v = -${id}, w = NULL WHERE id = ${id}`,
        `INSERT INTO t VALUES (${ROWS + id}, 1, 'extra', -${id}) ON CONFLICT (id) DO NOTHING`,
      ][pick.integer(0, 2)] ?? '',
    );
  }
}

/** Each row takes the next one's unique value: no few of them can be right while others are not. */
async function turn(of: Followed): Promise<void> {
  const { first, last } = TURNED;
  const rows = `WHERE id BETWEEN ${first} AND ${last} AND id % 5 <> 0`;
  await of.damage.query(`BEGIN;
    CREATE TEMPORARY TABLE turned ON COMMIT DROP AS
      SELECT id, lead(u, 1, first) OVER (ORDER BY id) AS u
      FROM (SELECT id, u, first_value(u) OVER (ORDER BY id) AS first FROM t ${rows}) q;
    UPDATE t SET u = -1000000 - u ${rows};
    UPDATE t SET u = turned.u FROM turned WHERE t.id = turned.id;
    COMMIT`);
}

/** What the overlay holds as production's image of the candidate's rows. */
async function damageImages(of: Followed, pick: Random): Promise<number> {
  const journal = (await readCaptured(of.damage))?.get('public.t');
  if (journal === undefined || journal === null) throw new Error('t is not captured');
  const { rowCount } = await of.damage.query(
    `UPDATE ${relation(journal)} SET v = -1, w = 'wrong' WHERE id % 3 = ${pick.integer(0, 2)}`,
  );
  return rowCount ?? 0;
}

/** Lets in what nothing keeps out any more. */
async function swept({ database, fence }: Followed): Promise<void> {
  for (let place: string | null = null; ;) {
    const { next }: Swept = await database.sweepOverlay(fence, place);
    if (next === null) return;
    place = next;
  }
}

async function expectEqual(at: Scene): Promise<void> {
  const truth = await canonicalState(at.productionUrl);
  expect(await canonicalState(at.trunk.url)).toEqual(truth);
  expect(await canonicalState(at.rollout.url, { relation: productionView })).toEqual(truth);
}

const base = baseSeed(process.env['UNDERSTUDY_SEED']);

test.each([base, base + 1, base + 2])(
  'a damaged table equals production again while all else flows on (seed %i)',
  async (seed) => {
    const at = await scene();
    const pick = new Random(seed);
    const [stop, stopCandidate] = [new AbortController(), new AbortController()];
    const candidate = own(at, stopCandidate.signal, new Random(seed + 1));
    const writers = Promise.all([1, 2, 3, 4].map((n) => write(at, stop.signal, seed * 10 + n)));
    await sleep(300);
    for (const of of [at.trunk, at.rollout]) {
      await turn(of);
      await damage(of, pick);
    }
    // The base images stay as they are only where production does not write any more.
    stopCandidate.abort();
    const owned = await candidate;
    expect(await damageImages(at.rollout, pick)).toBeGreaterThan(0);
    const [trunk, rollout] = await Promise.all([mend(at, at.trunk), mend(at, at.rollout)]);
    stop.abort();
    expect((await writers).reduce((sum, n) => sum + n, 0)).toBeGreaterThan(50);
    await catchUp(at);
    await expectEqual(at);

    for (const result of [trunk, rollout]) {
      expect(result.inserted).toBeGreaterThan(0);
      expect(result.overwritten).toBeGreaterThan(100);
      expect(result.deleted).toBeGreaterThan(0);
    }
    // What is in the way of others has to wait for them in a trunk; a rollout keeps it out meanwhile.
    expect(trunk.pins).toBeGreaterThan(2);
    await swept(at.rollout);
    const counts = await at.rollout.database.overlayCounts();
    expect(counts.map(({ blocked }) => blocked)).toEqual(counts.map(() => 0));
    // The candidate's own values stay; where both deleted a row, what came then is production's.
    const valuesOf = async (of: pg.Client): Promise<ReadonlyMap<number, string | null>> => {
      const seen = await of.query<{ id: number; w: string | null }>('SELECT id, w FROM t');
      return new Map(seen.rows.map(({ id, w }) => [id, w]));
    };
    const [visible, theirs] = [await valuesOf(at.candidate), await valuesOf(at.client)];
    expect(owned.size).toBeGreaterThan(20);
    for (const [id, w] of owned) {
      const may = w === null && visible.has(id) ? [theirs.get(id) ?? null] : [w];
      expect(may, `row ${id}`).toContain(visible.get(id) ?? null);
    }
    const gone = [...owned].filter(([id, w]) => w === null && !visible.has(id));
    expect(gone.length).toBeGreaterThan(0);
    // Nothing is left to do.
    expect(await mend(at, at.rollout)).toMatchObject({ inserted: 0, overwritten: 0, deleted: 0 });
  },
);

test('only the rows that are named are repaired', async () => {
  const at = await scene();
  await at.client.query('DELETE FROM t WHERE id = 9');
  await catchUp(at);
  await at.trunk.damage
    .query(`DELETE FROM t WHERE id IN (1, 2); UPDATE t SET v = 0 WHERE id IN (3, 4);
    INSERT INTO t VALUES (9, 9), (2000, 1), (2001, 1)`);
  const keys = ['1', '3', '9', '2000', '5', '3000'].map((id) => [id]);
  expect(await mend(at, at.trunk, { keys })).toMatchObject({
    ...{ keys: 6, rows: 3, inserted: 1, overwritten: 1, deleted: 2, confirmed: 0, pins: 1 },
    position: expect.stringMatching(/^\d+$/) as string,
  });
  const { rows } = await at.trunk.damage.query({
    text: 'SELECT id, v FROM t WHERE id < 6 OR id = 9 OR id > 1999 ORDER BY id',
    rowMode: 'array',
  });
  expect(rows).toEqual([
    [1, 1],
    [3, 3],
    [4, 0],
    [5, 5],
    [2001, 1],
  ]);
});

test('keys of several columns are named as a person writes them, and a table is filled whole', async () => {
  const at = await scene(`
    CREATE TABLE keyed (a text, b uuid, n numeric, at timestamptz, c char(4), v jsonb, "w ""x" text,
      PRIMARY KEY (a, b, n, at, c));
    INSERT INTO keyed SELECT a, '5a0b0000-0000-4000-8000-0000120000e5', 1.50,
      '2024-02-29 12:00:00.000001+00', 'ab', '{"a": 1.0}', NULL
    FROM unnest(ARRAY['', 'it''s', 'a\\b', ' ü "', '(1,2)', '-5', 'NULL']) a`);
  const keyed = { schema: 'public', name: 'keyed' };
  const base = await at.trunk.database.openBaseSnapshot();
  onTestFinished(() => base[Symbol.asyncDispose]());
  const compared = { table: keyed, key: ['a', 'b', 'n', 'at', 'c'], columns: ['v'] };
  const write = (a: string, n = '1.50'): readonly string[] => [
    ...[a, '{5A0B0000-0000-4000-8000-0000120000E5}', n, '2024-02-29T13:00:00.000001+01', 'ab'],
  ];
  const spell = async (key: readonly string[]): Promise<readonly string[]> =>
    (await base.spellKey(compared, key)) ?? [];
  const named = [await spell(write("it's")), await spell(write('a\\b')), await spell(write('no'))];
  expect(await mend(at, at.trunk, { table: keyed, keys: [...named, ...named] })).toMatchObject({
    ...{ keys: 3, rows: 2, inserted: 2, overwritten: 0, deleted: 0 },
  });
  // Another spelling of the same number is the same key.
  const number = [await spell(write(' ü "', '1.5'))];
  expect(await mend(at, at.trunk, { table: keyed, keys: number })).toMatchObject({ inserted: 1 });
  expect(await mend(at, at.trunk, { table: keyed, keys: number })).toMatchObject({
    rows: 1,
    inserted: 0,
  });
  for (const of of [at.trunk, at.rollout]) {
    const result = await mend(at, of, { table: keyed });
    expect(result).toMatchObject({
      ...{ keys: null, rows: 7, inserted: of === at.trunk ? 4 : 7, overwritten: 0, deleted: 0 },
    });
    expect(await mend(at, of, { table: keyed })).toMatchObject({ inserted: 0, pins: 1 });
  }
  await expectEqual(at);
});

test('columns that are left out stay, and are not read', async () => {
  const at = await scene();
  await at.trunk.damage.query(
    'UPDATE t SET v = 0, w = NULL WHERE id < 3; DELETE FROM t WHERE id = 3',
  );
  const leftOut = new Set(['w', 'id']);
  expect(await mend(at, at.trunk, { leftOut })).toMatchObject({ inserted: 1, overwritten: 2 });
  const { rows } = await at.trunk.damage.query('SELECT id, v, w FROM t WHERE id < 5 ORDER BY id');
  expect(rows).toEqual([
    { id: 1, v: 1, w: null },
    { id: 2, v: 2, w: null },
    { id: 3, v: 3, w: null },
    { id: 4, v: 4, w: 'w4' },
  ]);
  expect(await mend(at, at.trunk)).toMatchObject({ inserted: 0, overwritten: 3 });
});

test('rows stay that production’s snapshot shows no more, because their table was rewritten', async () => {
  const at = await scene();
  await at.trunk.damage.query('UPDATE t SET v = 0 WHERE id < 4; DELETE FROM t WHERE id = 4');
  let pins = 0;
  /** Production, where something happens just after each of the first pins. */
  const production = (times: number): RepairParts['production'] => ({
    view: () => at.production.view(),
    pin: async () => {
      const pinned = await at.production.pin();
      pins += 1;
      // Rewrites the table with all its rows, of which the log does not tell.
      if (pins <= times) await at.client.query('ALTER TABLE t ALTER v TYPE int USING v + 0');
      return pinned;
    },
  });
  const keys = ['1', '2', '4', '5'].map((id) => [id]);
  expect(await mend(at, at.trunk, { keys, production: production(1) })).toMatchObject({
    ...{ rows: 4, inserted: 1, overwritten: 2, deleted: 0, pins: 1 },
  });
  expect(pins).toBe(2);
  pins = 0;
  const again = mend(at, at.trunk, { keys, production: production(Infinity) });
  await expect(again).rejects.toMatchObject({ code: 'TABLE_REWRITTEN' });
  await expect(mend(at, at.trunk, { production: production(Infinity) })).rejects.toMatchObject({
    code: 'TABLE_REWRITTEN',
  });
  expect(await mend(at, at.trunk)).toMatchObject({ overwritten: 1, inserted: 0, deleted: 0 });
  await mend(at, at.rollout);
  await catchUp(at);
  await expectEqual(at);
});

test('a change that production’s snapshots do not show yet is not taken back', async () => {
  const server = await startPostgres();
  onTestFinished(() => server.stop());
  const at = await scene('', server.url);
  const row = async (id: number): Promise<unknown> =>
    (await at.trunk.damage.query(`SELECT v FROM t WHERE id = ${id}`)).rows.at(0);
  await at.trunk.damage.query('UPDATE t SET v = 0 WHERE id = 2');
  const letGo = await hangCommit(at.productionUrl, 'UPDATE t SET v = 4711 WHERE id = 1');
  await expect.poll(() => row(1), { timeout: 10_000 }).toEqual({ v: 4711 });
  const { rows } = await at.client.query('SELECT v FROM t WHERE id = 1');
  expect(rows).toEqual([{ v: 1 }]);
  const keys = [['1'], ['2']];
  const impatient = { everyMs: 5, timeoutMs: 200 };
  await expect(mend(at, at.trunk, { keys, timing: impatient })).rejects.toMatchObject({
    code: 'PIN_FAILED',
    context: { detail: 'production still hides 1 transactions that were applied' },
  });
  const mending = mend(at, at.trunk, { keys });
  await letGo();
  expect(await mending).toMatchObject({ rows: 2, inserted: 0, overwritten: 1, deleted: 0 });
  expect([await row(1), await row(2)]).toEqual([{ v: 4711 }, { v: 2 }]);
  await catchUp(at);
  await expectEqual(at);
}, 60_000);

test('what was unknown or parked is known', async () => {
  const at = await scene();
  const { database, fence, follower } = at.trunk;
  await at.client.query(`UPDATE t SET w = '${'one'.repeat(20)}' WHERE id = 1`);
  await catchUp(at);
  await follower.freeze();
  await at.trunk.damage.query('DELETE FROM t WHERE id IN (2, 3)');
  const part = (id: string, rest: object) => ({
    ...{ kind: 'upsert' as const, key: [id], from: [id], complete: false },
    image: image({ id, ...rest }),
  });
  const changes = [part('1', { w: UNSURE }), part('2', { v: '2' }), part('3', { v: '2' })];
  await database.apply(fence, {
    ...batchOf({ kind: 'rows', table: T, changes }),
    ...{ position: follower.position, ahead: [] },
  });
  expect(await database.progress()).toMatchObject({ parked: 2, unknown: 1 });
  follower.resume();
  await at.client.query('DELETE FROM t WHERE id = 4');
  const result = await mend(at, at.trunk);
  expect(result).toMatchObject({ inserted: 2, confirmed: 1 });
  expect(await database.gapCounts()).toEqual([]);
  await catchUp(at);
  await expectEqual(at);
});

test('a table that cannot be repaired is refused before anything stands still', async () => {
  const at = await scene();
  await expect(
    mend(at, at.trunk, { table: { schema: 'public', name: 'nope' } }),
  ).rejects.toMatchObject({ code: 'TABLE_NOT_FOLLOWED' });
  await at.trunk.damage.query('ALTER TABLE other ALTER v TYPE text');
  const other = { schema: 'public', name: 'other' };
  await expect(mend(at, at.trunk, { table: other })).rejects.toMatchObject({
    code: 'SCHEMA_DIFFERS',
  });
  const named = mend(at, at.trunk, { table: other, keys: [['1']] });
  await expect(named).rejects.toMatchObject({ code: 'SCHEMA_DIFFERS', context: { detail: 'v' } });
  await at.client.query('ALTER TABLE other ALTER v TYPE numeric(9, 4)');
  await at.trunk.damage.query('ALTER TABLE other ALTER v TYPE numeric(12, 2) USING v::numeric');
  await expect(mend(at, at.trunk, { table: other })).rejects.toMatchObject({
    ...{ code: 'SCHEMA_DIFFERS', message: 'columns of the shadow are too narrow' },
  });
  await at.trunk.damage.query('ALTER TABLE other DROP v');
  await expect(mend(at, at.trunk, { table: other })).rejects.toMatchObject({
    ...{ code: 'SCHEMA_DIFFERS', context: { detail: 'v' } },
  });
  await catchUp(at);
});
