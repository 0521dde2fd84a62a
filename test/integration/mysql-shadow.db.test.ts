/** The shadow server of MySQL and MariaDB: making trunks, the fence, crashes, the guard, control. */
import type { Connection } from 'mysql2/promise';
import { describe, expect, it, onTestFinished } from 'vitest';
import { START } from '../../src/change/position.ts';
import type { HolderNote } from '../../src/dialect/dialect.ts';
import { ServerAddress } from '../../src/dialect/mysql/session/address.ts';
import { Client } from '../../src/dialect/mysql/session/client.ts';
import { newestVersion } from '../../src/dialect/mysql/session/migrations.ts';
import { claimPresence } from '../../src/dialect/mysql/shadow/fence.ts';
import { SHADOW_MIGRATIONS } from '../../src/dialect/mysql/shadow/schema-shadow.ts';
import { dialectFor } from '../../src/dialect/registry.ts';
import { assertIsolated } from '../../src/guard/isolation.ts';
import type { ShadowPlan } from '../../src/schema/shadow-plan.ts';
import { planFromFile } from '../../src/schema/plan-from-file.ts';
import {
  batchOf,
  ENGINES,
  freshName,
  openTrunk,
  put,
  rowsOf,
  rowsStep,
  serverOf,
  sessionOn,
  shadowServer,
  stageOf,
  type Engine,
  type Stage,
} from './mysql.fixture.ts';

const NOTE: HolderNote = { state: 'following', oldestTransactionMs: 12, degraded: 0 };
const ITEM = 'CREATE TABLE item (id INT PRIMARY KEY, name VARCHAR(40))';
const LEASE_MS = 300;

const planOf = (...sql: readonly string[]): ShadowPlan => ({
  statements: sql.map((text) => ({ sql: text, what: text.slice(0, 40), optional: false })),
  notCarried: [],
  tables: [{ schema: 'shop', name: 'item' }],
});

const item = (stage: Stage, id: number) =>
  rowsStep(stage, 'item', put(['id'], { id: String(id), name: 'n' }));

/** Opens the stage's trunk once more, as another process with a short patience. */
async function other(stage: Stage, leaseMs = LEASE_MS) {
  return openTrunk(await shadowServer(stage.url, leaseMs), stage.trunk);
}

async function databases(client: Connection, name: string): Promise<number> {
  const sql = `SELECT SCHEMA_NAME FROM information_schema.SCHEMATA
    WHERE SCHEMA_NAME IN ('${name}', '${name}__understudy')`;
  return (await rowsOf(client, sql)).length;
}

describe.each(ENGINES)('a shadow on %s', (engine) => {
  it('is made once by many, marked, opened, and dropped with its companion', async () => {
    const { url } = await serverOf(engine);
    const [server, second] = [await shadowServer(url), await shadowServer(url)];
    const client = await sessionOn(url);
    const name = freshName('trunk', url);
    expect(await server.open(name)).toBeNull();
    const options = { name, topicPrefix: 'p', plan: planOf(ITEM) };
    expect(await Promise.all([server.createTrunk(options), second.createTrunk(options)])).toEqual([
      { skipped: [] },
      { skipped: [] },
    ]);
    const database = await openTrunk(second, name);
    expect(database.marker).toMatchObject({
      kind: 'trunk',
      name,
      topicPrefix: 'p',
      schemaVersion: newestVersion(SHADOW_MIGRATIONS),
    });
    expect([...(await database.catalogue()).keys()]).toEqual(['shop.item']);
    await server.drop({ database: name, role: null });
    expect(await databases(client, name)).toBe(0);
  });

  it('takes an empty database, refuses a foreign one, and drops none without marker', async () => {
    const { url } = await serverOf(engine);
    const server = await shadowServer(url);
    const client = await sessionOn(url);
    const empty = freshName('empty', url);
    await client.query(`CREATE DATABASE ${empty}`);
    expect(await server.open(empty)).toBeNull();
    await server.createTrunk({ name: empty, topicPrefix: 'p', plan: planOf(ITEM) });
    const foreign = freshName('foreign', url);
    const beside = freshName('beside', url);
    for (const [made, asked] of [
      [foreign, foreign],
      [`${beside}__understudy`, beside],
    ] as const) {
      await client.query(`CREATE DATABASE ${made}`);
      await client.query(`CREATE TABLE ${made}.precious (id INT)`);
      await expect(
        server.createTrunk({ name: asked, topicPrefix: 'p', plan: planOf(ITEM) }),
      ).rejects.toMatchObject({ code: 'TARGET_NOT_OURS' });
      await client.query(`SELECT * FROM ${made}.precious`);
    }
    await expect(server.open(foreign)).rejects.toMatchObject({ code: 'TARGET_NOT_OURS' });
    await expect(server.drop({ database: foreign, role: null })).rejects.toMatchObject({
      code: 'TARGET_NOT_OURS',
    });
  });

  it('is gone again when its plan fails, and made anew when a crash left it half made', async () => {
    const { url } = await serverOf(engine);
    const server = await shadowServer(url);
    const client = await sessionOn(url);
    const name = freshName('half', url);
    await expect(
      server.createTrunk({
        name,
        topicPrefix: 'p',
        plan: planOf(ITEM, 'CREATE TABLE item (id INT)'),
      }),
    ).rejects.toMatchObject({ code: 'SCHEMA_FAILED' });
    expect(await databases(client, name)).toBe(0);
    await server.createTrunk({ name, topicPrefix: 'p', plan: planOf(ITEM) });
    await client.query(`UPDATE ${name}__understudy.marker SET state = 'creating'`);
    await client.query(`CREATE TABLE ${name}.left_over (id INT)`);
    expect(await server.open(name)).toBeNull();
    await server.createTrunk({ name, topicPrefix: 'p', plan: planOf(ITEM) });
    expect(await rowsOf(client, `SHOW TABLES FROM ${name}`)).toHaveLength(1);
  });

  it('is made from a schema file that says whose schema it is', async () => {
    const { url } = await serverOf(engine);
    const server = await shadowServer(url);
    const name = freshName('file', url);
    const plan = planFromFile(`CREATE DATABASE shop; USE \`shop\`;\n-- a dump\n${ITEM};`);
    await server.createTrunk({ name, topicPrefix: 'p', plan });
    expect([...(await (await openTrunk(server, name)).catalogue()).keys()]).toEqual(['shop.item']);
    const nameless = { name: freshName('file', url), topicPrefix: 'p', plan: planFromFile(ITEM) };
    await expect(server.createTrunk(nameless)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });

  it('has one holder, whose note others read; given back, the next takes it at once', async () => {
    const stage = await stageOf(engine, ITEM);
    const next = await other(stage, 60_000);
    await stage.database.renewFence(stage.fence, NOTE);
    expect(await next.takeFence('next')).toBeNull();
    expect(await next.fenceState()).toMatchObject({
      generation: 1n,
      holder: 'test',
      free: false,
      note: NOTE,
    });
    await stage.database.releaseFence(stage.fence);
    expect(await next.fenceState()).toMatchObject({ holder: null, free: true });
    expect((await next.takeFence('next'))?.generation).toBe(2n);
    await stage.database.releaseFence(stage.fence);
    expect(await next.fenceState()).toMatchObject({ holder: 'next', free: false });
    await expect(stage.apply(item(stage, 1))).rejects.toMatchObject({ code: 'FENCED' });
    await expect(stage.database.renewFence(stage.fence, NOTE)).rejects.toMatchObject({
      code: 'FENCED',
    });
    expect(await stage.rows('SELECT * FROM item')).toEqual([]);
  });

  it('gives its fence to one of many, and at once after a holder that is gone', async () => {
    const stage = await stageOf(engine, ITEM);
    const takers = await Promise.all(Array.from({ length: 4 }, () => other(stage, 60_000)));
    expect(await Promise.all(takers.map((taker) => taker.takeFence('x')))).toEqual([
      null,
      null,
      null,
      null,
    ]);
    await stage.apply(item(stage, 1));
    await stage.database[Symbol.asyncDispose](); // as kill -9 does it: nothing is given back
    await expect.poll(async () => (await takers[0]?.fenceState())?.free).toBe(true);
    const fences = await Promise.all(takers.map((taker, n) => taker.takeFence(`t${String(n)}`)));
    expect(fences.filter((fence) => fence !== null)).toHaveLength(1);
  });

  it('takes a silent holder’s fence in the midst of its transaction, of which nothing stays', async () => {
    const stage = await stageOf(engine, ITEM);
    const next = await other(stage);
    // A lock of somebody else’s keeps the act in its transaction, fence asserted, rows unwritten.
    const blocker = await sessionOn(stage.url, stage.trunk);
    await blocker.query('LOCK TABLES item WRITE');
    const act = stage.apply(item(stage, 1)).catch((error: unknown) => error);
    await expect
      .poll(async () => (await next.fenceState()).silentMs ?? 0)
      .toBeGreaterThan(LEASE_MS);
    const taken = await next.takeFence('next');
    expect(taken?.generation).toBe(2n);
    await blocker.query('UNLOCK TABLES');
    expect(await act).toMatchObject({ code: 'SHADOW_UNREACHABLE' });
    await expect(stage.apply(item(stage, 1))).rejects.toMatchObject({ code: 'FENCED' });
    expect(await stage.rows('SELECT * FROM item')).toEqual([]);
    if (taken !== null) await next.apply(taken, batchOf([item(stage, 2)]));
    expect(await stage.rows('SELECT id FROM item')).toEqual([{ id: 2 }]);
  });

  it('lets no session go on that claims its place after the fence was taken', async () => {
    const stage = await stageOf(engine, ITEM);
    const next = await other(stage);
    await expect
      .poll(async () => (await next.fenceState()).silentMs ?? 0)
      .toBeGreaterThan(LEASE_MS);
    const late = await Client.connect(new ServerAddress(stage.url, 'shadow.url'), stage.trunk);
    onTestFinished(() => late.end());
    await claimPresence(late, stage.trunk, stage.fence, 'copy0');
    expect((await next.takeFence('next'))?.generation).toBe(2n);
    await expect(late.rows('SELECT 1')).rejects.toThrow(/./);
    const later = await Client.connect(new ServerAddress(stage.url, 'shadow.url'), stage.trunk);
    onTestFinished(() => later.end());
    await expect(claimPresence(later, stage.trunk, stage.fence, 'copy0')).rejects.toMatchObject({
      code: 'FENCED',
    });
  });

  it('leaves rows and position together when its connection dies between two statements', async () => {
    const stage = await stageOf(engine, ITEM, 'CREATE TABLE later (id INT PRIMARY KEY)');
    const position = { ...START, offsets: new Map([['p.shop.item/0', 7n]]) };
    const batch = batchOf(
      [item(stage, 1), rowsStep(stage, 'later', put(['id'], { id: '1' }))],
      position,
    );
    const blocker = await sessionOn(stage.url, stage.trunk);
    await blocker.query('LOCK TABLES later WRITE');
    const act = stage.database.apply(stage.fence, batch).catch((error: unknown) => error);
    const killer = await sessionOn(stage.url);
    const waiting = `SELECT ID AS id FROM information_schema.PROCESSLIST
      WHERE DB = '${stage.trunk}' AND STATE LIKE 'Waiting for table%'`;
    let victim: unknown;
    await expect
      .poll(async () => (victim = (await rowsOf(killer, waiting))[0]?.['id']), {
        timeout: 30_000,
      })
      .toBeDefined();
    await killer.query(`KILL ${String(victim)}`);
    expect(await act).toMatchObject({ code: 'SHADOW_UNREACHABLE' });
    await blocker.query('UNLOCK TABLES');
    expect(await stage.rows('SELECT * FROM item')).toEqual([]);
    expect((await stage.database.progress()).position.offsets).toEqual(new Map());
    await stage.database.apply(stage.fence, batch);
    expect(await stage.rows('SELECT * FROM later')).toEqual([{ id: 1 }]);
    expect((await stage.database.progress()).position).toEqual(position);
  });

  it('waits for nobody’s locks for long, and says that trying again helps', async () => {
    const stage = await stageOf(engine, ITEM);
    await stage.apply(item(stage, 1));
    const blocker = await sessionOn(stage.url, stage.trunk);
    await blocker.query('START TRANSACTION');
    await blocker.query('SELECT * FROM item WHERE id = 1 FOR UPDATE');
    await expect(stage.apply(item(stage, 1))).rejects.toMatchObject({ code: 'APPLY_BLOCKED' });
    await blocker.query('ROLLBACK');
    await stage.apply(item(stage, 1));
  });

  it('is refused where it is production, by a lock and by its identity', async () => {
    const { url } = await serverOf(engine);
    const shadow = await shadowServer(url);
    const production = await dialectFor(url).connectProduction(url, () => true);
    const facts = { shadow, production, connector: null, restoredBackup: false };
    await expect(assertIsolated(facts)).rejects.toMatchObject({
      code: 'TARGET_IS_PRODUCTION',
      message: expect.stringContaining('a lock taken on production') as string,
    });
    const blind = {
      address: shadow.address,
      identity: () => shadow.identity(),
      lockVisible: () => Promise.resolve(false),
    };
    await expect(assertIsolated({ ...facts, shadow: blind })).rejects.toMatchObject({
      code: 'TARGET_IS_PRODUCTION',
      message: expect.stringContaining('system identifier') as string,
    });
    const elsewhere = await serverOf(engine === 'mysql' ? 'mariadb' : 'mysql');
    const apart = await dialectFor(elsewhere.url).connectProduction(elsewhere.url, () => true);
    expect(await assertIsolated({ ...facts, production: apart })).toBe('production');
  });

  it('keeps rollouts, requests and an audit log in its control database', async () => {
    expect(await controlEntries(engine)).toBeGreaterThanOrEqual(4);
  });
});

/** Uses all of it; how many entries the audit log has then. */
async function controlEntries(engine: Engine): Promise<number> {
  const { url } = await serverOf(engine);
  const [server, second] = [await shadowServer(url), await shadowServer(url)];
  const [one, two] = await Promise.all([
    server.control({ create: true }),
    second.control({ create: true }),
  ]);
  onTestFinished(() => one[Symbol.asyncDispose]());
  onTestFinished(() => two[Symbol.asyncDispose]());
  const name = `r_${engine}`;
  const row = {
    ...{ name, database: `db_${engine}`, role: 'role', url: '', state: 'creating' as const },
    ...{ createdAt: new Date(1_700_000_000_123), expiresAt: new Date(1_800_000_000_456) },
  };
  await one.insertRollout(row);
  await expect(two.insertRollout(row)).rejects.toMatchObject({ code: 'ROLLOUT_EXISTS' });
  await two.updateRollout(name, { state: 'following', url: 'x' });
  await two.updateRollout(name, { expiresAt: null });
  expect(await one.rollout(name)).toEqual({
    ...row,
    state: 'following',
    url: 'x',
    expiresAt: null,
  });
  expect(await one.rollouts()).toHaveLength(1);
  await one.deleteRollout(name);
  expect(await one.rollout(name)).toBeNull();
  await expect(one.updateRollout(name, { url: 'y' })).rejects.toMatchObject({
    code: 'ROLLOUT_NOT_FOUND',
  });

  const ids: string[] = [];
  for (let n = 0; n < 10; n += 1) ids.push(await one.submitRequest('reset', 'db', { n }));
  const claim = async (store: typeof one): Promise<string[]> => {
    const mine: string[] = [];
    for (;;) {
      const request = await store.claimRequest('db', 'host/1/x');
      if (request === null) return mine;
      mine.push(request.id);
    }
  };
  const claimed = await Promise.all([claim(one), claim(two)]);
  expect(claimed.flat().sort()).toEqual(ids.toSorted());
  await one.finishRequest(ids[0] ?? '', 'done', { rows: 12n });
  expect(await two.request(ids[0] ?? '')).toMatchObject({
    state: 'done',
    outcome: { rows: '12' },
    args: { n: 0 },
  });
  expect(await two.reopenRequests('db', 'host/1/x')).toBe(0);
  expect(await two.reopenRequests('db', 'next')).toBe(9);
  expect(await two.withdrawRequest(ids[1] ?? '')).toBe(true);
  expect(await two.withdrawRequest(ids[0] ?? '')).toBe(false);

  await Promise.all(
    [1, 2, 3, 4].map((n) => (n % 2 === 0 ? one : two).audit('me', 'act', 'it', { n, big: 1n })),
  );
  const client = await sessionOn(url, 'understudy');
  const entries = await rowsOf(client, 'SELECT previous, hash FROM audit ORDER BY seq');
  expect(entries.map((entry) => entry['previous'])).toEqual([
    '',
    ...entries.slice(0, -1).map((entry) => entry['hash']),
  ]);
  await expect(client.query('DELETE FROM audit')).rejects.toMatchObject({ errno: 1644 });
  return entries.length;
}
