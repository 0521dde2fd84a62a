import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import { currentView, pinSnapshot } from '../../src/dialect/postgres/production/pin.ts';
import { parseSnapshot } from '../../src/dialect/postgres/production/snapshot.ts';
import { driftCheck, driftCheckManifest, type CheckOptions } from '../../src/drift/check.ts';
import { readGaps } from '../../src/dialect/postgres/shadow/gaps.ts';
import { parseManifest } from '../../src/drift/manifest.ts';
import { reread, type RereadOutcome } from '../../src/drift/reread.ts';
import { driftSnapshot } from '../../src/drift/snapshot.ts';
import type { DriftReport } from '../../src/report/drift-report.ts';
import { connect } from '../support/comparison.ts';
import { createLedgers } from '../support/ledgers.ts';
import { createDatabase, startPostgres } from '../support/postgres.ts';
import { SlotFollower } from '../support/slot-follower.ts';

let production: { url: string; client: pg.Client };
let shadow: { url: string; client: pg.Client };
let follower: SlotFollower;
let server: Awaited<ReturnType<typeof startPostgres>>;

beforeAll(async () => {
  // Of its own: any long transaction on a server lets its slots read the same log ever again.
  server = await startPostgres();
  const [a, b] = [
    await createDatabase(server.url, 'production'),
    await createDatabase(server.url, 'shadow'),
  ];
  production = { url: a, client: await connect(a) };
  shadow = { url: b, client: await connect(b) };
  for (const { client } of [production, shadow]) {
    await client.query('CREATE TABLE t (id int PRIMARY KEY, value int)');
  }
  follower = await SlotFollower.start(production.url, shadow.url, 'follower');
});

afterAll(async () => {
  await follower.stop();
  await production.client.end();
  await shadow.client.end();
  await server.stop();
});

/** Conflicting writes, some of them slow to commit, until told to stop. */
async function write(stop: AbortSignal, seed: number, pauseMs = 0): Promise<void> {
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
    if (pauseMs > 0) await sleep(pauseMs);
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
  try {
    for (let i = 0; i < 12; i += 1) {
      const report = await check();
      expect(report).toMatchObject({ verdict: 'equal', reasons: [], differences: [] });
      expect(report.tables[0]?.rows).toBeGreaterThan(0);
      deferred += report.pin?.deferred ?? 0;
      await sleep(10);
    }
  } finally {
    stop.abort();
    await writers;
  }
  expect(deferred).toBeGreaterThan(0);
}, 180_000);

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

describe('what the shadow does not know', () => {
  beforeAll(() => createLedgers(shadow.client));

  /** As the connector's silence leaves it: a value that is not production's, and a row missing. */
  async function plant(id: number, parked: number): Promise<void> {
    await shadow.client.query(`UPDATE t SET value = -1 WHERE id = ${id};
      DELETE FROM t WHERE id = ${parked};
      INSERT INTO understudy.unknown_value (table_schema, table_name, key, column_name)
        VALUES ('public', 't', '{${id}}', 'value') ON CONFLICT DO NOTHING;
      INSERT INTO understudy.parked (table_schema, table_name, key, reason)
        VALUES ('public', 't', '{${parked}}', 'test') ON CONFLICT DO NOTHING`);
  }

  const read = (): Promise<RereadOutcome> =>
    reread(
      {
        ...{ follower, source: follower, production: live, offsets: follower },
        gaps: (limit) => readGaps(shadow.client, limit),
        catalogue: () => readCatalogue(shadow.client),
      },
      options,
    );

  test('is named as the cause of differences, and never passes as equal', async () => {
    await production.client.query(`DELETE FROM t;
      INSERT INTO t SELECT g, g FROM generate_series(1, 40) g`);
    expect((await check()).verdict).toBe('equal');
    await plant(3, 4);
    const report = await check();
    expect(report.verdict).toBe('drift');
    expect(report.differences).toMatchObject([
      { key: { id: '3' }, columns: [{ name: 'value', cause: 'unknown-value' }] },
      { key: { id: '4' }, kind: 'missing', cause: 'parked-row' },
    ]);
    // The values are right by accident: nobody knows.
    await shadow.client.query(`UPDATE t SET value = 3 WHERE id = 3; INSERT INTO t VALUES (4, 4)`);
    expect(await check()).toMatchObject({
      verdict: 'inconclusive',
      reasons: [{ code: 'rows-parked', table: 'public.t' }],
      tables: [{ state: 'inconclusive' }],
    });
    await shadow.client.query('DELETE FROM understudy.parked');
    expect(await check()).toMatchObject({
      verdict: 'inconclusive',
      reasons: [{ code: 'values-unknown', table: 'public.t' }],
    });
    await shadow.client.query('DELETE FROM understudy.unknown_value');
    expect((await check()).verdict).toBe('equal');
  });

  test('is not taken for what a lossy setting does', async () => {
    await shadow.client.query('UPDATE t SET value = -1 WHERE id = 5');
    const lossy = [{ table: 'public.t', column: 'value', setting: 'mode', cure: 'precise' }];
    expect(await check({ lossy })).toMatchObject({
      verdict: 'drift',
      differences: [
        { columns: [{ name: 'value', cause: 'lossy-setting', cure: 'mode: precise' }] },
      ],
    });
    await shadow.client.query('UPDATE t SET value = 5 WHERE id = 5');
  });

  test('is read from production exactly, while production is written', async () => {
    const stop = new AbortController();
    const writers = Promise.all([1, 2, 3].map((seed) => write(stop.signal, seed, 5)));
    let rows = 0;
    try {
      for (let i = 0; i < 6; i += 1) {
        await follower.freeze();
        await plant(i + 1, i + 20);
        follower.resume();
        const outcome = await read();
        expect(outcome.reason).toBeNull();
        rows += outcome.rows;
        // An entry of a row that production deleted meanwhile has none to be read.
        await shadow.client.query(`DELETE FROM understudy.unknown_value u
        WHERE NOT EXISTS (SELECT FROM t WHERE t.id::text = u.key[1])`);
        expect(await readGaps(shadow.client, null)).toEqual([]);
        expect(await check()).toMatchObject({ verdict: 'equal', differences: [] });
      }
    } finally {
      stop.abort();
      await writers;
    }
    expect(rows).toBeGreaterThan(6);
  }, 180_000);

  test('stays as it is where the connector does not reach the point', async () => {
    await production.client.query('INSERT INTO t VALUES (7, 7) ON CONFLICT DO NOTHING');
    await plant(7, 8);
    const stuck = { description: 'stuck', committed: () => Promise.resolve(1n) };
    const outcome = await reread(
      {
        ...{ follower, source: follower, production: live, offsets: stuck },
        gaps: (limit) => readGaps(shadow.client, limit),
        catalogue: () => readCatalogue(shadow.client),
      },
      { ...options, timing: { everyMs: 5, timeoutMs: 30 } },
    );
    expect(outcome).toMatchObject({ rows: 0 });
    expect(outcome.reason).toContain('stuck had committed position 1');
    expect(await readGaps(shadow.client, null)).toHaveLength(1);
  });
});
