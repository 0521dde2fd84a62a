/**
 * The whole way on real parts: PostgreSQL, Debezium, Kafka, the command line, a shadow server.
 * Each test starts where the one before ended, as a team's days do.
 */
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { canonicalState, productionView } from '../support/canonical-state.ts';
import { postgresConnector } from '../support/connectors.ts';
import { databaseUrl, startPostgres, type PostgresServer } from '../support/postgres.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import { testDatabase } from '../support/test-database.ts';
import { until } from '../support/shop-follow.ts';
import { ShopTraffic } from '../support/shop-traffic.ts';
import { followed, Workplace } from '../support/understudy.ts';

const PREFIX = `follow${process.pid}`;
const production = await testDatabase('production');

interface Status {
  readonly databases: readonly {
    readonly name: string;
    readonly state: string;
    readonly guarantee: string;
    readonly lag: { readonly offsets: number | null };
  }[];
}
interface Report {
  readonly verdict: string;
  readonly reasons: readonly { readonly code: string }[];
  readonly pin: { readonly proof: string } | null;
  readonly tables: readonly { readonly table: string; readonly state: string }[];
  readonly differences: readonly {
    readonly table: string;
    readonly key: Readonly<Record<string, string>>;
    readonly kind: string;
    readonly columns: readonly { readonly name: string }[];
  }[];
  readonly divergence: { readonly rows: number } | null;
}

let shadow: PostgresServer;
let workplace: Workplace;
let traffic: ShopTraffic;

function trunkUrl(): string {
  return databaseUrl(shadow.url, 'shop');
}

async function query(url: string, sql: string): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await client.query(sql);
  } finally {
    await client.end();
  }
}

/** Waits until nothing in the log is unapplied, as `status` tells. */
async function caughtUp(name: string): Promise<void> {
  for (const deadline = Date.now() + 60_000; Date.now() < deadline;) {
    const status = await workplace.json<Status>(['status']);
    if (status.databases.find((d) => d.name === name)?.lag.offsets === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  throw new Error(`${name} did not catch up`);
}

describe('a team follows production', () => {
  beforeAll(async () => {
    shadow = await startPostgres();
    const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
    traffic = await ShopTraffic.open(production.url);
    await connect.createConnector(PREFIX, await postgresConnector(production.url, PREFIX));
    workplace = await Workplace.make({
      ...followed(PREFIX, { kafka, connect, production, shadow }),
      apply: { leaseSeconds: 3 },
    });
  });

  afterAll(async () => {
    await traffic.stop();
    await workplace[Symbol.asyncDispose]();
    const connect = await sharedConnect();
    await connect.deleteConnector(PREFIX);
    await shadow.stop();
  });

  it('materializes the trunk from snapshot and stream, equal to production', async () => {
    await traffic.serve(60);
    await query(
      production.url,
      `INSERT INTO search_cache SELECT 'term ' || i, '{a,b}', now() FROM generate_series(1, 9) i;
       TRUNCATE search_cache;
       INSERT INTO search_cache VALUES ('after', '{}', now())`,
    );
    await traffic.settle(await sharedConnect(), PREFIX);
    const summary = await workplace.json<{ applied: { rows: number }; parked: number }>([
      'materialize',
      '--until-caught-up',
    ]);
    expect(summary.applied.rows).toBeGreaterThan(100);
    expect(summary.parked).toBe(0);
    expect(await canonicalState(trunkUrl())).toEqual(await canonicalState(production.url));
  });

  it('applies nothing again when it is repeated', async () => {
    const summary = await workplace.json<{ applied: { events: number } }>([
      'materialize',
      '--until-caught-up',
    ]);
    expect(summary.applied.events).toBe(0);
    expect(await canonicalState(trunkUrl())).toEqual(await canonicalState(production.url));
  });

  it('lends a rollout that follows while the candidate writes, and proves its base', async () => {
    const run = workplace.start(['run']);
    await until('run follows', async () => {
      const status = await workplace.json<Status>(['status']);
      return status.databases[0]?.state === 'following';
    });
    const rollout = await workplace.json<{ url: string; database: string }>([
      'rollout',
      'create',
      'next',
    ]);
    const writers = traffic.start(4);
    for (let i = 0; i < 20; i += 1) {
      await query(
        rollout.url,
        `UPDATE inventory SET on_hand = on_hand - 1 WHERE sku = (SELECT sku FROM inventory
           ORDER BY sku OFFSET ${i} LIMIT 1)`,
      );
    }
    await query(rollout.url, `DELETE FROM coupons WHERE code = 'NORTH5'`);
    await query(rollout.url, `INSERT INTO coupons VALUES ('CANDIDATE', 10)`);
    const report = await workplace.json<Report>(['drift', 'check', 'next']);
    expect(report).toMatchObject({ verdict: 'equal', pin: { proof: 'xid-barrier' } });
    expect(report.divergence?.rows).toBe(22);
    await writers.stop();
    await traffic.settle(await sharedConnect(), PREFIX);
    await caughtUp('next');
    await caughtUp('shop');
    expect(
      await canonicalState(databaseUrl(shadow.url, rollout.database), { relation: productionView }),
    ).toEqual(await canonicalState(production.url));
    expect(await canonicalState(trunkUrl())).toEqual(await canonicalState(production.url));
    const status = await workplace.json<Status>(['status']);
    expect(status.databases.map((d) => [d.name, d.guarantee])).toEqual([
      ['shop', 'transaction'],
      ['next', 'transaction'],
    ]);
    run.kill('SIGTERM');
    expect((await run.ended).status).toBe(0);
  });

  it('names a planted difference by row and column', async () => {
    await query(
      trunkUrl(),
      `SET session_replication_role = replica;
       UPDATE customers SET name = name || '!' WHERE id = 5;
       DELETE FROM coupons WHERE code = 'NORTH15'`,
    );
    const report = await workplace.json<Report>(['drift', 'check'], 1);
    expect(report.verdict).toBe('drift');
    expect(report.differences).toEqual(
      expect.arrayContaining([
        expect.objectContaining({
          table: 'public.customers',
          key: { id: '5' },
          kind: 'changed',
          columns: [{ name: 'name' }],
        }),
        expect.objectContaining({
          table: 'public.coupons',
          key: { code: 'NORTH15' },
          kind: 'missing',
        }),
      ]),
    );
    expect(report.differences).toHaveLength(2);
    await query(
      trunkUrl(),
      `SET session_replication_role = replica;
       UPDATE customers SET name = rtrim(name, '!') WHERE id = 5`,
    );
    const { rows } = await query(production.url, `SELECT * FROM coupons WHERE code = 'NORTH15'`);
    const coupon = rows[0] as { percent: number; used: number };
    await query(
      trunkUrl(),
      `INSERT INTO coupons VALUES ('NORTH15', ${coupon.percent}, ${coupon.used})`,
    );
    expect(await workplace.json<Report>(['drift', 'check'])).toMatchObject({ verdict: 'equal' });
  });

  it('equals production after kill -9 in full flow and a restart', async () => {
    const writers = traffic.start(4);
    for (let i = 0; i < 3; i += 1) {
      const run = workplace.start(['run']);
      const before = await appliedOffsets();
      await until('it applies', async () => (await appliedOffsets()) > before + 40n);
      run.kill('SIGKILL');
      await run.ended;
    }
    await writers.stop();
    await traffic.settle(await sharedConnect(), PREFIX);
    await workplace.json(['materialize', '--until-caught-up']);
    expect(await canonicalState(trunkUrl())).toEqual(await canonicalState(production.url));
  });

  it('hands over to a stand-by, and fences a process that was only paused', async () => {
    const first = workplace.start(['run', '--only', 'trunk']);
    await until('the first follows', () => first.stderr.includes('"following"'));
    const second = workplace.start(['run', '--only', 'trunk']);
    await until('the second stands by', () => second.stderr.includes('"standing-by"'));
    first.kill('SIGSTOP');
    await until('the second takes over', () => second.stderr.includes('"following"'));
    await traffic.serve(20);
    await traffic.settle(await sharedConnect(), PREFIX);
    await caughtUp('shop');
    const before = await canonicalState(trunkUrl());
    first.kill('SIGCONT');
    const ended = await first.ended;
    expect(ended.status).toBe(4);
    expect(ended.stderr).toContain('FENCED');
    expect(await canonicalState(trunkUrl())).toEqual(before);
    second.kill('SIGTERM');
    expect((await second.ended).status).toBe(0);
    expect(before).toEqual(await canonicalState(production.url));
  });
});

async function appliedOffsets(): Promise<bigint> {
  const { rows } = await query(
    trunkUrl(),
    'SELECT coalesce(sum(next_offset), 0)::text AS total FROM understudy.position',
  );
  return BigInt((rows[0] as { total: string }).total);
}
