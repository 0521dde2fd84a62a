/**
 * Brokers go wrong under a `run` in full flow: they die, lead elsewhere, cannot be reached; others
 * join our group; the connector stands still. Every time `run` tells it, goes on by itself, and ends
 * equal to production.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startConnect, type ConnectServer } from '../support/connect.ts';
import { postgresConnector } from '../support/connectors.ts';
import { startKafkaCluster, type KafkaCluster } from '../support/kafka-cluster.ts';
import { databaseUrl, startPostgres, type PostgresServer } from '../support/postgres.ts';
import {
  appliedOffsets,
  expectEqual,
  statusOf,
  until,
  untilStatus,
} from '../support/shop-follow.ts';
import { settleConnector } from '../support/settle.ts';
import { ShopTraffic } from '../support/shop-traffic.ts';
import { testDatabase } from '../support/test-database.ts';
import { Workplace } from '../support/understudy.ts';

const PREFIX = `source${process.pid}`;
const ORDERS = `${PREFIX}.public.orders`;
const production = await testDatabase('source');

let kafka: KafkaCluster;
let connect: ConnectServer;
let shadow: PostgresServer;
let workplace: Workplace;
let traffic: ShopTraffic;

const trunkUrl = (): string => databaseUrl(shadow.url, 'shop');

function startWorker(): Promise<ConnectServer> {
  const replicas = Object.fromEntries(
    ['config', 'offset', 'status'].map((what) => [`${what}.storage.replication.factor`, '3']),
  );
  // So that it is soon back in its group after the brokers were away.
  const haste = { 'session.timeout.ms': '6000', 'heartbeat.interval.ms': '1000' };
  const settings = { ...replicas, ...haste, 'rebalance.timeout.ms': '6000' };
  return startConnect({ broker: kafka.brokers.join(',') }, { settings });
}

/** Node id of the broker that leads the topic's first partition. */
async function leaderOf(topic: string): Promise<number> {
  const admin = kafka.client().admin();
  await admin.connect();
  try {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    return topics[0]?.partitions.find(({ partitionId }) => partitionId === 0)?.leader ?? -1;
  } finally {
    await admin.disconnect();
  }
}

/** Production stands still, everything is applied, and the trunk holds it. */
async function equal(): Promise<void> {
  await settleConnector(production.url, connect, PREFIX, undefined, 240_000);
  await expectEqual(workplace, production.url, { shop: { url: trunkUrl(), rollout: false } });
}

/** Waits until the trunk has applied something more. */
async function applies(): Promise<void> {
  const before = await appliedOffsets(trunkUrl());
  await until('it applies', async () => (await appliedOffsets(trunkUrl())) > before + 40n);
}

describe('the event log', () => {
  beforeAll(async () => {
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
      trunk: { name: 'shop' },
      apply: { leaseSeconds: 3, batchEvents: 50 },
    });
    await traffic.serve(20);
    await traffic.settle(connect, PREFIX);
    await workplace.json(['materialize', '--until-caught-up']);
    workplace.start(['run']);
    await untilStatus(workplace, 'shop', ({ holder }) => holder !== null);
  });

  afterAll(async () => {
    await traffic.stop();
    await workplace[Symbol.asyncDispose]();
    await connect.stop();
    await Promise.all([kafka.stop(), shadow.stop()]);
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
    const leader = await leaderOf(ORDERS);
    await kafka.kill(leader);
    await applies();
    expect(await leaderOf(ORDERS)).not.toBe(leader);
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
});
