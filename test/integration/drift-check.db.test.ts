import { afterAll, beforeAll, expect, test } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import { currentView, pinSnapshot } from '../../src/dialect/postgres/production/pin.ts';
import { parseSnapshot } from '../../src/dialect/postgres/production/snapshot.ts';
import { driftCheck, driftCheckManifest, type CheckOptions } from '../../src/drift/check.ts';
import { parseManifest } from '../../src/drift/manifest.ts';
import { driftSnapshot } from '../../src/drift/snapshot.ts';
import type { DriftReport } from '../../src/report/drift-report.ts';
import { connect } from '../support/comparison.ts';
import { SlotFollower } from '../support/slot-follower.ts';
import { testDatabase } from '../support/test-database.ts';

let production: { url: string; client: pg.Client };
let shadow: { url: string; client: pg.Client };
let follower: SlotFollower;

beforeAll(async () => {
  const [a, b] = [await testDatabase('production'), await testDatabase('shadow')];
  production = { url: a.url, client: await connect(a.url) };
  shadow = { url: b.url, client: await connect(b.url) };
  for (const { client } of [production, shadow]) {
    await client.query('CREATE TABLE t (id int PRIMARY KEY, value int)');
  }
  follower = await SlotFollower.start(production.url, shadow.url, `slot_${a.name}`);
});

afterAll(async () => {
  await follower.stop();
  await production.client.end();
  await shadow.client.end();
});

/** Conflicting writes, some of them slow to commit, until told to stop. */
async function write(stop: AbortSignal, seed: number): Promise<void> {
  const client = await connect(production.url);
  if (seed % 2 === 0) await client.query('SET synchronous_commit = off');
  for (let i = 0; !stop.aborted; i += 1) {
    const id = (i * 7 + seed * 3) % 40;
    await client.query('BEGIN');
    await client.query(
      i % 6 === 5
        ? `DELETE FROM t WHERE id = ${id}`
        : `INSERT INTO t VALUES (${id}, ${i}) ON CONFLICT (id) DO UPDATE SET value = t.value + 1`,
    );
    if (i % 4 === 0) await sleep(4);
    await client.query(i % 9 === 8 ? 'ROLLBACK' : 'COMMIT');
  }
  await client.end();
}

const options: CheckOptions = {
  subject: { kind: 'trunk', name: 'shop', database: 'shop' },
  include: () => true,
  strictSchema: true,
  showValues: false,
  limits: { leafRows: 10, listedRows: 100, searchedRows: 10_000 },
  timing: { everyMs: 5, timeoutMs: 20_000 },
  signal: new AbortController().signal,
};

const pin = (): ReturnType<typeof pinSnapshot> =>
  pinSnapshot({ connect: () => connect(production.url), tables: readCatalogue });

const live = {
  pin,
  view: () => currentView(production.client),
};

function check(changed: Partial<CheckOptions> = {}): Promise<DriftReport> {
  return driftCheck(
    {
      follower,
      source: follower,
      production: live,
      offsets: follower,
      divergence: () => Promise.resolve(null),
    },
    { ...options, ...changed },
  );
}

test('under load every check is equal, and some had to hold transactions back', async () => {
  const stop = new AbortController();
  const writers = Promise.all([1, 2, 3, 4, 5, 6].map((seed) => write(stop.signal, seed)));
  let deferred = 0;
  for (let i = 0; i < 20; i += 1) {
    const report = await check();
    expect(report).toMatchObject({ verdict: 'equal', reasons: [], differences: [] });
    expect(report.tables[0]?.rows).toBeGreaterThan(0);
    deferred += report.pin?.deferred ?? 0;
    await sleep(10);
  }
  stop.abort();
  await writers;
  expect(deferred).toBeGreaterThan(0);
});

test('planted differences are found and named by row and column', async () => {
  await production.client.query(`DELETE FROM t`);
  await production.client.query(`INSERT INTO t SELECT g, g FROM generate_series(1, 40) g`);
  expect((await check()).verdict).toBe('equal');
  await shadow.client.query(`UPDATE t SET value = 0 WHERE id = 7; DELETE FROM t WHERE id = 8;
    INSERT INTO t VALUES (99, 1)`);
  const report = await check();
  expect(report.verdict).toBe('drift');
  expect([...report.differences].sort((a, b) => Number(a.key['id']) - Number(b.key['id']))).toEqual(
    [
      { table: 'public.t', key: { id: '7' }, kind: 'changed', columns: [{ name: 'value' }] },
      { table: 'public.t', key: { id: '8' }, kind: 'missing', columns: [] },
      { table: 'public.t', key: { id: '99' }, kind: 'extra', columns: [] },
    ],
  );
  await shadow.client.query(`UPDATE t SET value = 7 WHERE id = 7; INSERT INTO t VALUES (8, 8);
    DELETE FROM t WHERE id = 99`);
  expect((await check()).verdict).toBe('equal');
});

test('a manifest is met at its point, and is behind afterwards', async () => {
  await follower.freeze();
  await production.client.query('INSERT INTO t VALUES (100, 1)');
  const stop = new AbortController();
  const writers = Promise.all([1, 2, 3].map((seed) => write(stop.signal, seed)));
  await sleep(50);
  const written = await driftSnapshot(
    { production: live, offsets: follower, source: follower },
    { ...options, leafRows: 10, rows: true },
  );
  await sleep(50);
  const manifest = parseManifest(JSON.stringify(written));
  const parts = {
    follower,
    source: follower,
    manifest,
    snapshotView: parseSnapshot,
    divergence: () => Promise.resolve(null),
  };
  const report = await driftCheckManifest(parts, options);
  expect(report).toMatchObject({ verdict: 'equal', pin: { against: 'manifest' } });
  stop.abort();
  await writers;
  await sleep(50);
  expect(await driftCheckManifest(parts, options)).toMatchObject({
    verdict: 'inconclusive',
    reasons: [{ code: 'position-passed' }],
    pin: null,
  });
});

test('a manifest names rows that differ where it lists rows, and only says so where not', async () => {
  for (const rows of [true, false]) {
    expect((await check()).verdict).toBe('equal');
    await follower.freeze();
    const manifest = await driftSnapshot(
      { production: live, offsets: follower, source: follower },
      { ...options, leafRows: 10, rows },
    );
    await shadow.client.query('UPDATE t SET value = value + 1000 WHERE id = 100');
    const report = await driftCheckManifest(
      {
        ...{ follower, source: follower, manifest, snapshotView: parseSnapshot },
        divergence: () => Promise.resolve(null),
      },
      options,
    );
    await shadow.client.query('UPDATE t SET value = value - 1000 WHERE id = 100');
    expect(report.verdict).toBe('drift');
    expect(report.differences.map((row) => row.key)).toEqual(rows ? [{ id: '100' }] : []);
    expect(report.tables[0]?.complete).toBe(rows);
  }
});

test('without committed offsets, or with a connector that stands still, it is inconclusive', async () => {
  const parts = {
    ...{ follower, source: follower, production: live },
    divergence: () => Promise.resolve(null),
  };
  expect(await driftCheck({ ...parts, offsets: null }, options)).toMatchObject({
    verdict: 'inconclusive',
    reasons: [{ code: 'no-committed-offsets' }],
  });
  const stuck = { description: 'stuck', committed: () => Promise.resolve(1n) };
  const timing = { everyMs: 5, timeoutMs: 30 };
  expect(await driftCheck({ ...parts, offsets: stuck }, { ...options, timing })).toMatchObject({
    verdict: 'inconclusive',
    reasons: [{ code: 'barrier-timeout' }],
  });
  // The follower goes on after both.
  expect((await check()).verdict).toBe('equal');
});

test('an applied transaction that production never shows is not waited for in vain', async () => {
  const ahead = {
    freeze: () => follower.freeze(),
    resume: () => {
      follower.resume();
    },
    prove: () => Promise.reject(new Error('nothing was proven')),
    runToBarrier: () => Promise.reject(new Error('must not get here')),
    progress: async () => ({ ...(await follower.progress()), unproven: [2 ** 30] }),
  };
  const report = await driftCheck(
    {
      ...{ follower: ahead, source: follower, production: live, offsets: follower },
      divergence: () => Promise.resolve(null),
    },
    { ...options, timing: { everyMs: 5, timeoutMs: 30 } },
  );
  expect(report).toMatchObject({
    verdict: 'inconclusive',
    reasons: [{ code: 'unproven-transactions' }],
  });
});
