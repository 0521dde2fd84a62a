/**
 * The shadow server goes wrong under a `run` in full flow: it crashes and loses commits, a stand-by
 * is promoted, its sessions stand still, its disk is full, others lock and limit. Every time `run`
 * tells it, goes on by itself, and ends equal to production.
 */
import { chmod, writeFile } from 'node:fs/promises';
import path from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { embeddedBinaries } from '../../src/dialect/postgres/embedded/binaries.ts';
import { postgresConnector } from '../support/connectors.ts';
import { databaseUrl, startPostgres, type PostgresServer } from '../support/postgres.ts';
import { removeFolder, temporaryFolder } from '../support/process/folders.ts';
import { freePort } from '../support/process/ports.ts';
import { runCommand } from '../support/process/run-command.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';
import {
  appliedOffsets,
  expectEqual,
  query,
  startRun,
  stopRun,
  until,
  untilStatus,
} from '../support/shop-follow.ts';
import { ShopTraffic } from '../support/shop-traffic.ts';
import { smallDisk, type SmallDisk } from '../support/small-disk.ts';
import { testDatabase } from '../support/test-database.ts';
import { Workplace, type RunningCli } from '../support/understudy.ts';

const PREFIX = `target${process.pid}`;
const production = await testDatabase('target');
/** A crash of the server loses what it committed last: nothing is flushed but every ten seconds. */
const ASYNCHRONOUS = [
  'synchronous_commit=off',
  'wal_writer_delay=10s',
  'wal_writer_flush_after=1GB',
];

let folder: string;
let port: number;
let shadow: PostgresServer;
let disk: SmallDisk | null = null;
let workplace: Workplace;
let traffic: ShopTraffic;
let run: RunningCli;
let rollout: string;

const flags = (...settings: readonly string[]): readonly string[] =>
  [...ASYNCHRONOUS, ...settings].flatMap((setting) => ['-c', setting]);
const trunkUrl = (): string => databaseUrl(shadow.url, 'shop');

/** The same server again, or the one in `name`, at the address that understudy knows. */
async function startShadow(name: string, ...settings: readonly string[]): Promise<PostgresServer> {
  const dataDir = path.join(folder, name);
  return startPostgres({ dataDir, port, flags: flags(...settings) });
}

/** Production stands still, everything is applied, and trunk and rollout hold it. */
async function equal(): Promise<void> {
  await traffic.settle(await sharedConnect(), PREFIX);
  await expectEqual(workplace, production.url, {
    shop: { url: trunkUrl(), rollout: false },
    next: { url: databaseUrl(shadow.url, rollout), rollout: true },
  });
}

/** Waits until the trunk has applied something more. */
async function applies(): Promise<void> {
  const before = await appliedOffsets(trunkUrl());
  await until('it applies', async () => (await appliedOffsets(trunkUrl())) > before + 40n);
}

describe('the shadow server', () => {
  beforeAll(async () => {
    folder = await temporaryFolder('target');
    // The server may run as somebody else.
    await chmod(folder, 0o755);
    port = await freePort();
    shadow = await startShadow('first');
    const [kafka, connect] = await Promise.all([sharedKafka(), sharedConnect()]);
    traffic = await ShopTraffic.open(production.url);
    await connect.createConnector(PREFIX, await postgresConnector(production.url, PREFIX));
    workplace = await Workplace.make({
      source: {
        connector: 'postgresql',
        topicPrefix: PREFIX,
        kafka: { brokers: [kafka.broker] },
        connect: { url: connect.url, name: PREFIX },
      },
      production: { url: production.url },
      shadow: { url: shadow.url },
      trunk: { name: 'shop' },
      apply: { leaseSeconds: 3 },
    });
    await traffic.serve(20);
    await traffic.settle(connect, PREFIX);
    await workplace.json(['materialize', '--until-caught-up']);
    rollout = (await workplace.json<{ database: string }>(['rollout', 'create', 'next'])).database;
    run = await startRun(workplace, ['shop', 'next']);
  });

  afterAll(async () => {
    await traffic.stop();
    await workplace[Symbol.asyncDispose]();
    await (await sharedConnect()).deleteConnector(PREFIX);
    await shadow.stop();
    await disk?.[Symbol.asyncDispose]();
    await removeFolder(folder);
  });

  it('crashes and comes back without its last commits', async () => {
    const writers = traffic.start(3);
    await applies();
    for (let crash = 0; crash < 3 && !run.stderr.includes('SHADOW_REWOUND'); crash += 1) {
      await shadow.process.kill();
      await until('it is told', () => run.stderr.includes('SHADOW_UNREACHABLE'));
      shadow = await startShadow('first');
      await applies();
    }
    await writers.stop();
    // Without it, the changes of the lost commits would be missing for ever.
    expect(run.stderr).toContain('SHADOW_REWOUND');
    await equal();
  });

  it('is replaced by a stand-by that had not got its last commits', async () => {
    await shadow.stop();
    await runCommand('cp', ['-a', path.join(folder, 'first'), path.join(folder, 'second')]);
    await writeFile(path.join(folder, 'second', 'standby.signal'), '');
    shadow = await startShadow('first');
    const upstream = `primary_conninfo=host=127.0.0.1 port=${port} user=postgres`;
    const second = { dataDir: path.join(folder, 'second'), port: await freePort() };
    const standby = await startPostgres({ ...second, flags: flags(upstream) });
    const writers = traffic.start(3);
    await applies();
    await query(shadow.url, 'CHECKPOINT');
    await until('the stand-by gets something', async () => {
      const { rows } = await query(standby.url, 'SELECT pg_last_wal_receive_lsn() AS lsn');
      return (rows[0] as { lsn: string | null }).lsn !== null;
    });
    // It is cut off, the primary goes on for a while, and is gone.
    await standby.stop();
    await applies();
    await shadow.process.kill();
    shadow = await startShadow('second', 'primary_conninfo=host=127.0.0.1 port=1 user=postgres');
    await until('it is told that nothing can be written', () => run.stderr.includes('25006'));
    const rewinds = run.stderr.split('SHADOW_REWOUND').length;
    await query(shadow.url, 'SELECT pg_promote()');
    await applies();
    await writers.stop();
    expect(run.stderr.split('SHADOW_REWOUND').length).toBeGreaterThan(rewinds);
    await equal();
  });

  it('does not answer: it is told, and tried over new connections', async () => {
    const writers = traffic.start(2);
    await applies();
    const { rows } = await query(
      shadow.url,
      `SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'understudy:%'
        AND application_name NOT LIKE '%:read'`,
    );
    const pids = (rows as readonly { pid: number }[]).map(({ pid }) => pid);
    expect(pids.length).toBeGreaterThanOrEqual(4);
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    try {
      await until('it connects again', () => run.stderr.includes('does not answer'));
      const silent = (kind: string): boolean => kind === 'stalled' || kind === 'stopped';
      await untilStatus(workplace, 'shop', ({ activity }) => silent(activity.kind));
    } finally {
      for (const pid of pids) process.kill(pid, 'SIGCONT');
    }
    await applies();
    await writers.stop();
    await equal();
  });

  it('has no room, and limits statements: it is told, and goes on when there is room', async () => {
    await stopRun(run);
    disk = await smallDisk(128, (await embeddedBinaries()).owner);
    await query(shadow.url, `CREATE TABLESPACE small LOCATION '${disk.folder}'`);
    await query(shadow.url, 'ALTER DATABASE shop SET TABLESPACE small');
    await query(shadow.url, `ALTER DATABASE shop SET statement_timeout = '100ms'`);
    await disk.fill();
    run = await startRun(workplace, ['shop', 'next']);
    // More than 100 ms for one statement, and more than fits.
    await query(
      production.url,
      `INSERT INTO search_cache SELECT 'full ' || i, array_fill('some text'::text, ARRAY[20]), now()
        FROM generate_series(1, 15000) i`,
    );
    const { activity } = await untilStatus(workplace, 'shop', (facts) => {
      return facts.activity.kind === 'stalled' && facts.activity.reason?.includes('53100') === true;
    });
    expect(activity.reason).toContain('no room');
    // The other database goes on.
    await untilStatus(workplace, 'next', (facts) => facts.activity.kind !== 'stalled');
    await disk.free();
    await traffic.settle(await sharedConnect(), PREFIX);
    await untilStatus(workplace, 'shop', ({ lag }) => lag.offsets === 0);
    await query(shadow.url, 'ALTER DATABASE shop RESET statement_timeout');
    await equal();
  });

  it('is locked by somebody: it is told, and goes on when the lock is gone', async () => {
    const other = new pg.Client({ connectionString: trunkUrl() });
    await other.connect();
    try {
      await other.query('BEGIN; LOCK TABLE orders');
      await traffic.serve(10);
      const { activity } = await untilStatus(workplace, 'shop', (facts) => {
        return facts.activity.kind === 'stalled';
      });
      expect(activity.reason).toContain('APPLY_BLOCKED');
    } finally {
      await other.end();
    }
    await equal();
    await stopRun(run);
  });
});
