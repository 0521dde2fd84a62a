import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type pg from 'pg';
import { readCatalogue } from '../../src/dialect/postgres/catalogue/catalogue.ts';
import { pinSnapshot } from '../../src/dialect/postgres/production/pin.ts';
import { findBarrier } from '../../src/source/barrier.ts';
import { silentLogger } from '../../src/observability/logger.ts';
import type { CommittedOffsets } from '../../src/source/committed-offsets.ts';
import { ConnectClient } from '../../src/source/connect/connect-client.ts';
import { KafkaCluster } from '../../src/source/kafka/cluster.ts';
import { openKafkaSource } from '../../src/source/kafka/kafka-source.ts';
import { OffsetsTopic } from '../../src/source/kafka/offsets-topic.ts';
import { connect } from '../support/comparison.ts';
import { postgresConnector } from '../support/connectors.ts';
import { startPostgres, type PostgresServer } from '../support/postgres.ts';
import { sharedConnect, sharedKafka } from '../support/shared-stack.ts';

const prefix = `offsets_${randomBytes(4).toString('hex')}`;
let server: PostgresServer;
let client: pg.Client;
let worker: Awaited<ReturnType<typeof sharedConnect>>;
let broker: string;
let cluster: KafkaCluster;

beforeAll(async () => {
  [{ broker }, worker, server] = await Promise.all([
    sharedKafka(),
    sharedConnect(),
    startPostgres(),
  ]);
  client = await connect(server.url);
  await client.query('CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)');
  await worker.createConnector(prefix, await postgresConnector(server.url, prefix));
  cluster = await KafkaCluster.connect({ brokers: [broker] }, silentLogger);
});

afterAll(async () => {
  await worker.deleteConnector(prefix);
  await cluster.close();
  await client.end();
  await server.stop();
});

const rest = (): ConnectClient => new ConnectClient({ url: worker.url, name: prefix });
const topic = (connector: string | null = prefix): OffsetsTopic =>
  new OffsetsTopic({ cluster, topic: worker.offsetsTopic, server: prefix, connector });

test('both ways reach a marker, and everything before it is within the ends', async () => {
  await using source = openKafkaSource({
    client: { brokers: [broker] },
    topicPrefix: prefix,
  });
  const ways: readonly CommittedOffsets[] = [rest(), topic(), topic(null)];
  for (const [i, offsets] of ways.entries()) {
    await client.query(`INSERT INTO t SELECT generate_series(${i * 100 + 2}, ${i * 100 + 101})`);
    await using pinned = await pinSnapshot({
      connect: () => connect(server.url),
      tables: readCatalogue,
    });
    const result = await findBarrier({
      offsets,
      source,
      marker: pinned.marker,
      timing: { everyMs: 50, timeoutMs: 90_000 },
      signal: new AbortController().signal,
    });
    if (result.kind !== 'found') throw new Error(`${offsets.description} never reached the marker`);
    const rows = [...result.point.ends].find(([partition]) => partition.includes('.public.t/'));
    expect(rows?.[1]).toBeGreaterThanOrEqual(BigInt(1 + (i + 1) * 100));
  }
});

test('a reader of the offsets topic goes on where it stopped', async () => {
  const reader = topic();
  const first = await reader.committed();
  expect(first).not.toBeNull();
  expect((await reader.committed()) ?? 0n).toBeGreaterThanOrEqual(first ?? 0n);
});

test('the connector tells where it reads, and how it is', async () => {
  expect(await rest().target()).toEqual({
    host: '127.0.0.1',
    port: String(server.port),
    database: 'postgres',
    slot: prefix,
  });
  expect(await rest().state()).toEqual({
    connector: 'RUNNING',
    tasks: [{ id: 0, state: 'RUNNING' }],
  });
});

test('what cannot be asked is an error, not a null', async () => {
  const unknown = new ConnectClient({ url: worker.url, name: 'nobody' });
  await expect(unknown.committed()).rejects.toMatchObject({ code: 'CONNECT_UNREACHABLE' });
  const nowhere = new ConnectClient({ url: 'http://user:secret@127.0.0.1:1', name: 'nobody' });
  await expect(nowhere.committed()).rejects.toMatchObject({ code: 'CONNECT_UNREACHABLE' });
  expect(nowhere.description).not.toContain('secret');
  const missing = new OffsetsTopic({ cluster, topic: 'no-such', server: prefix, connector: null });
  await expect(missing.committed()).rejects.toMatchObject({ code: 'KAFKA_TOPICS_MISSING' });
});

test('a connector that never ran has no position', async () => {
  expect(await topic('nobody').committed()).toBeNull();
});
