/**
 * What lies before us goes wrong under a `run` in full flow: brokers die and lead elsewhere, the
 * connector stands still or sends twice, others join our group, clocks jump. Every time `run` tells
 * it, goes on by itself, and ends equal to production; where the log has lost what we need, it stops
 * with the cure.
 */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startConnect, type ConnectServer } from '../support/connect.ts';
import { postgresConnector } from '../support/connectors.ts';
import { startKafkaCluster, type KafkaCluster } from '../support/kafka-cluster.ts';
import { databaseUrl, startPostgres, type PostgresServer } from '../support/postgres.ts';
import { removeFolder, temporaryFolder } from '../support/process/folders.ts';
import { freePort } from '../support/process/ports.ts';
import { payloadOf, readTopics } from '../support/read-topics.ts';
import {
  appliedOffsets,
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
import { Workplace, type RunningCli } from '../support/understudy.ts';

const PREFIX = `source${process.pid}`;
const CLOCK_JUMPS = fileURLToPath(new URL('../support/clock-jumps.ts', import.meta.url));
const ORDERS = `${PREFIX}.public.orders`;
const production = await testDatabase('source');

let kafka: KafkaCluster;
let connect: ConnectServer;
let worker: { readonly folder: string; readonly port: number };
let shadow: PostgresServer;
let workplace: Workplace;
let traffic: ShopTraffic;
let run: RunningCli;

const trunkUrl = (): string => databaseUrl(shadow.url, 'shop');

function startWorker(): Promise<ConnectServer> {
  return startConnect(
    { broker: kafka.brokers.join(',') },
    {
      ...worker,
      settings: {
        // So that a worker that is killed has sent what it will send again.
        'offset.flush.interval.ms': '3000',
        'config.storage.replication.factor': '3',
        'offset.storage.replication.factor': '3',
        'status.storage.replication.factor': '3',
      },
    },
  );
}

/** Production stands still, everything is applied, and the trunk holds it. */
async function equal(): Promise<void> {
  await traffic.settle(connect, PREFIX);
  await expectEqual(workplace, production.url, { shop: { url: trunkUrl(), rollout: false } });
}

/** Waits until the trunk has applied something more. */
async function applies(): Promise<void> {
  const before = await appliedOffsets(trunkUrl());
  await until('it applies', async () => (await appliedOffsets(trunkUrl())) > before + 40n);
}

describe('the event log', () => {
  beforeAll(async () => {
    worker = { folder: await temporaryFolder('worker'), port: await freePort() };
    [kafka, shadow] = await Promise.all([startKafkaCluster(3), startPostgres()]);
    [connect, traffic] = await Promise.all([startWorker(), ShopTraffic.open(production.url)]);
    await connect.createConnector(PREFIX, await postgresConnector(production.url, PREFIX));
    workplace = await Workplace.make({
      source: {
        connector: 'postgresql',
        topicPrefix: PREFIX,
        kafka: { brokers: [...kafka.brokers] },
        connect: { url: connect.url, name: PREFIX },
      },
      production: { url: production.url },
      shadow: { url: shadow.url },
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
    await Promise.all([kafka.stop(), shadow.stop(), removeFolder(worker.folder)]);
  });

  it('is idle while heartbeats come, and stalled when the connector stands still', async () => {
    await untilStatus(workplace, 'shop', ({ activity }) => activity.kind === 'idle');
    await connect.pauseConnector(PREFIX);
    const paused = await untilStatus(workplace, 'shop', ({ activity }) => {
      return activity.kind === 'stalled';
    });
    expect(paused.activity.reason).toContain('PAUSED');
    // People are told the same.
    expect((await workplace.run(['status'])).stdout).toMatch(/^shop: stalled for .*PAUSED/m);
    await connect.resumeConnector(PREFIX);
    await untilStatus(workplace, 'shop', ({ activity }) => activity.kind === 'idle');
  });

  it('is led from elsewhere when a broker dies, while others join our group', async () => {
    const writers = traffic.start(2);
    await applies();
    const admin = kafka.client().admin();
    await admin.connect();
    const { topics } = await admin.fetchTopicMetadata({ topics: [ORDERS] });
    await admin.disconnect();
    const leader = topics[0]?.partitions[0]?.leader ?? 0;
    await kafka.kill(leader);
    await applies();
    // A member of our group makes it rebalance; nothing of ours hangs on that.
    const foreign = kafka.client().consumer({ groupId: 'understudy.shop' });
    await foreign.connect();
    await foreign.subscribe({ topics: [ORDERS] });
    await foreign.run({ autoCommit: false, eachMessage: () => Promise.resolve() });
    await applies();
    await foreign.disconnect();
    await kafka.restore();
    await applies();
    await writers.stop();
    await equal();
  });

  it('cannot be reached: it is told, and read on from where it was', async () => {
    const writers = traffic.start(1);
    await applies();
    for (const node of [1, 2, 3]) await kafka.kill(node);
    const { activity } = await untilStatus(workplace, 'shop', (facts) => {
      return facts.activity.kind === 'stalled';
    });
    expect(activity.reason).toContain('the event log cannot be read');
    expect((await statusOf(workplace))?.logError).toContain('KAFKA_UNREACHABLE');
    await kafka.restore();
    await applies();
    await writers.stop();
    await equal();
  });

  it('holds records twice when the connector was killed, and they are applied once', async () => {
    const writers = traffic.start(2);
    await applies();
    await connect.process.kill();
    connect = await startWorker();
    await connect.waitRunning(PREFIX);
    await applies();
    await writers.stop();
    await equal();
    const records = await readTopics(kafka.client(), [ORDERS], () => true);
    const places = records.map(({ value }) => {
      const { source } = payloadOf(value) as { source: { lsn: number; txId: number } };
      return `${source.txId}/${source.lsn}`;
    });
    expect(places.length).toBeGreaterThan(new Set(places).size);
  });

  it('is read by a process whose clock jumps', async () => {
    const writers = traffic.start(3);
    for (let jump = 0; jump < 20; jump += 1) {
      // Of some tables, so that its parts come one after another.
      await query(
        production.url,
        `BEGIN; UPDATE inventory SET on_hand = on_hand + 1; UPDATE products SET price = price + 1;
         UPDATE customers SET name = name || '.'; COMMIT`,
      );
      run.kill('SIGUSR2');
    }
    await writers.stop();
    // No transaction was given up for late: `equal` looks for that too.
    await equal();
  });

  it('has lost what was not read: a loud stop, and a cure that works', async () => {
    await stopRun(run);
    await traffic.serve(30);
    await traffic.settle(connect, PREFIX);
    const admin = kafka.client().admin();
    await admin.connect();
    const [end] = await admin.fetchTopicOffsets(ORDERS);
    await admin.deleteTopicRecords({
      topic: ORDERS,
      partitions: [{ partition: 0, offset: end?.high ?? '0' }],
    });
    await admin.disconnect();
    const stopped = await workplace.run(['run']);
    expect(stopped.status, stopped.stderr).toBe(4);
    expect(stopped.stderr).toContain('LOG_GAP');
    expect(stopped.stderr).toContain(ORDERS);
    expect(stopped.stderr).toContain('materialize --anew');
    await workplace.json(['materialize', '--anew', '--until-caught-up']);
    run = await startRun(workplace, ['shop']);
    await equal();
    await stopRun(run);
  });
});
