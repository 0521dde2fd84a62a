/**
 * What the log holds goes wrong: it has records twice after the connector was killed, and none where
 * we stopped. And clocks jump. `run` ends equal to production, or stops with a cure that works.
 */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startConnect, type ConnectServer } from '../support/connect.ts';
import { postgresConnector } from '../support/connectors.ts';
import { databaseUrl, startPostgres, type PostgresServer } from '../support/postgres.ts';
import { removeFolder, temporaryFolder } from '../support/process/folders.ts';
import { freePort } from '../support/process/ports.ts';
import { payloadOf, readTopics } from '../support/read-topics.ts';
import { settleConnector } from '../support/settle.ts';
import { sharedKafka } from '../support/shared-stack.ts';
import {
  applies,
  expectEqual,
  query,
  startRun,
  statusOf,
  stopRun,
  until,
  untilStatus,
} from '../support/shop-follow.ts';
import { ShopTraffic } from '../support/shop-traffic.ts';
import { testDatabase } from '../support/test-database.ts';
import { followed, Workplace, type RunningCli } from '../support/understudy.ts';

const PREFIX = `log${process.pid}`;
const CLOCK_JUMPS = fileURLToPath(new URL('../support/clock-jumps.ts', import.meta.url));
const REFILL = ['materialize', '--refill', '--until-caught-up'];
const ORDERS = `${PREFIX}.public.orders`;
const production = await testDatabase('log');

let kafka: Awaited<ReturnType<typeof sharedKafka>>;
let connect: ConnectServer;
let worker: { readonly folder: string; readonly port: number };
let shadow: PostgresServer;
let workplace: Workplace;
let traffic: ShopTraffic;
let run: RunningCli;

const trunkUrl = (): string => databaseUrl(shadow.url, 'shop');

function startWorker(): Promise<ConnectServer> {
  const settings = {
    // So that a worker that is killed has sent what it will send again.
    'offset.flush.interval.ms': '3000',
    // So that the group misses it soon, and gives its tasks to the next one.
    ...{ 'session.timeout.ms': '6000', 'heartbeat.interval.ms': '1000' },
    'rebalance.timeout.ms': '6000',
  };
  return startConnect(kafka, { ...worker, group: `worker-${PREFIX}`, settings });
}

/** Production stands still, everything is applied, and the trunk holds it. */
async function equal(): Promise<void> {
  await settleConnector(production.url, connect, PREFIX, undefined, 240_000);
  await expectEqual(workplace, production.url, { shop: { url: trunkUrl(), rollout: false } });
}

/** Does the log hold a change twice? */
async function comesTwice(): Promise<boolean> {
  const admin = kafka.client().admin();
  await admin.connect();
  const topics = (await admin.listTopics()).filter((name) => name.startsWith(`${PREFIX}.public.`));
  const ends = await Promise.all(topics.map((topic) => admin.fetchTopicOffsets(topic)));
  await admin.disconnect();
  const total = ends.flat().reduce((sum, { high }) => sum + Number(high), 0);
  const isAll = (found: readonly unknown[]): boolean => found.length >= total;
  const records = await readTopics(kafka.client(), topics, isAll);
  const changes = records.flatMap(({ topic, key, value }) => {
    const { op, source } = (payloadOf(value) ?? {}) as {
      readonly op?: string;
      readonly source?: { readonly lsn: number; readonly txId: number };
    };
    if (op === undefined || op === 'r' || source === undefined) return [];
    return [JSON.stringify([topic, key?.toString(), op, source.txId, source.lsn])];
  });
  return changes.length > new Set(changes).size;
}

/** False if the writers of the traffic were in the way, each of the other. */
async function isTaken(sql: string): Promise<boolean> {
  try {
    await query(production.url, sql);
    return true;
  } catch (error) {
    if ((error as { code?: string }).code === '40P01') return false;
    throw error;
  }
}

describe('the log', () => {
  beforeAll(async () => {
    worker = { folder: await temporaryFolder('worker'), port: await freePort() };
    [kafka, shadow] = await Promise.all([sharedKafka(), startPostgres()]);
    [connect, traffic] = await Promise.all([startWorker(), ShopTraffic.open(production.url)]);
    await connect.createConnector(PREFIX, await postgresConnector(production.url, PREFIX));
    workplace = await Workplace.make({
      ...followed(PREFIX, { kafka, connect, production, shadow }),
      trunk: { name: 'shop', bootstrap: 'production' },
      apply: { leaseSeconds: 3, batchEvents: 50 },
    });
    await traffic.serve(20);
    await traffic.settle(connect, PREFIX);
    await workplace.json(['materialize', '--until-caught-up']);
    run = workplace.start(['run'], { NODE_OPTIONS: `--import=${CLOCK_JUMPS}` });
    await untilStatus(workplace, 'shop', ({ holder }) => holder !== null);
  });

  afterAll(async () => {
    await traffic.stop();
    await workplace[Symbol.asyncDispose]();
    await connect.stop();
    await shadow.stop();
    await removeFolder(worker.folder);
  });

  it('holds records twice when the connector was killed, and they are applied once', async () => {
    const writers = traffic.start(2);
    // It may be killed just after it noted how far it was: then nothing comes twice.
    for (let kills = 0; kills < 5 && !(await comesTwice()); kills += 1) {
      await applies(trunkUrl());
      await connect.process.kill();
      connect = await startWorker();
      await connect.waitRunning(PREFIX);
      await applies(trunkUrl());
    }
    await writers.stop();
    await equal();
    expect(await comesTwice()).toBe(true);
  });

  it('is read by a process whose clock jumps', async () => {
    // The connector that was killed in a transaction has one that nobody can call whole.
    const before = (await statusOf(workplace))?.databases[0]?.degraded;
    const writers = traffic.start(3);
    for (let jump = 0; jump < 8; jump += 1) {
      // Of some tables, so that its parts come one after another.
      await until('production takes it', () =>
        isTaken(`BEGIN; UPDATE inventory SET on_hand = on_hand + 1;
          UPDATE products SET name = name || '.'; UPDATE customers SET name = name || '.'; COMMIT`),
      );
      run.kill('SIGUSR2');
    }
    await writers.stop();
    await equal();
    // No transaction was given up as late.
    expect((await statusOf(workplace))?.databases[0]?.degraded).toBe(before);
  });

  /** Production goes on unfollowed, and the topic loses all that it has. */
  async function lose(topic: string): Promise<void> {
    await traffic.serve(30);
    await traffic.settle(connect, PREFIX);
    const admin = kafka.client().admin();
    await admin.connect();
    const [end] = await admin.fetchTopicOffsets(topic);
    const partitions = [{ partition: 0, offset: end?.high ?? '0' }];
    await admin.deleteTopicRecords({ topic, partitions });
    await admin.disconnect();
    const stopped = await workplace.run(['run']);
    expect(stopped.status, stopped.stderr).toBe(4);
    expect(stopped.stderr).toContain('LOG_GAP');
    expect(stopped.stderr).toContain(topic);
    expect(stopped.stderr).toContain('materialize --refill');
    expect(stopped.stderr).toContain('materialize --anew');
  }

  it('has lost what was not read of a table: a loud stop, and that table is copied anew', async () => {
    await stopRun(run);
    const before = (await statusOf(workplace))?.databases[0]?.degraded;
    await lose(ORDERS);
    // What is wrong with another table stays so: it is not read again.
    await query(trunkUrl(), `INSERT INTO coupons VALUES ('LEFT ALONE', 1, 0)`);
    const writers = traffic.start(2);
    let copied: readonly string[] = [];
    try {
      copied = (await workplace.json<{ refilled: string[] }>(REFILL)).refilled;
    } finally {
      await writers.stop();
    }
    expect(copied).toEqual(['public.orders']);
    run = await startRun(workplace, ['shop']);
    await settleConnector(production.url, connect, PREFIX, undefined, 240_000);
    await untilStatus(workplace, 'shop', ({ lag }) => lag.offsets === 0);
    const left = await query(trunkUrl(), `DELETE FROM coupons WHERE code = 'LEFT ALONE'`);
    expect(left.rowCount).toBe(1);
    await equal();
    expect((await statusOf(workplace))?.databases[0]?.degraded).toBe(before);
    await stopRun(run);
  });

  it('has lost ends of transactions: all tables are copied anew, by either cure', async () => {
    await lose(`${PREFIX}.transaction`);
    await query(trunkUrl(), `INSERT INTO coupons VALUES ('NOT LEFT ALONE', 1, 0)`);
    const all = await workplace.json<{ refilled: string[] }>(REFILL);
    expect(all.refilled).toHaveLength(8);
    run = await startRun(workplace, ['shop']);
    await equal();
    await stopRun(run);
    await lose(ORDERS);
    await workplace.json(['materialize', '--anew', '--until-caught-up']);
    run = await startRun(workplace, ['shop']);
    await equal();
    await stopRun(run);
  });
});
