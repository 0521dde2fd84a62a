import path from 'node:path';
import type { Kafka } from 'kafkajs';
import { testKafka } from './kafka-client.ts';
import { newClusterId, startKafka, type KafkaServer } from './kafka.ts';
import { removeFolder, temporaryFolder } from './process/folders.ts';
import { freePort } from './process/ports.ts';

/** Some brokers of one cluster, each of which may go away and come back. */
export interface KafkaCluster {
  /** `host:port` of all, for clients. */
  readonly brokers: readonly string[];
  client(): Kafka;
  /** SIGKILL for the broker with this node id, from 1. */
  kill(node: number): Promise<void>;
  /** Starts those that were killed, with the data they had. */
  restore(): Promise<void>;
  stop(): Promise<void>;
}

/** Every broker is a controller too; every partition is on all of them unless its topic says else. */
export async function startKafkaCluster(size: number): Promise<KafkaCluster> {
  const folder = await temporaryFolder('kafka-cluster');
  const clusterId = newClusterId();
  const nodes = await Promise.all(
    Array.from({ length: size }, async (_, i) => ({
      ...{ id: i + 1, port: await freePort(), controller: await freePort() },
    })),
  );
  const voters = nodes.map(({ id, controller }) => `${id}@127.0.0.1:${controller}`).join(',');
  const start = ({ id, port, controller }: (typeof nodes)[number]): Promise<KafkaServer> =>
    startKafka({
      ...{ dataDir: path.join(folder, String(id)), port, clusterId, heapMb: 320 },
      settings: {
        'node.id': String(id),
        listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}`,
        'controller.quorum.voters': voters,
        'default.replication.factor': String(size),
        'offsets.topic.replication.factor': String(size),
        'transaction.state.log.replication.factor': String(size),
        'min.insync.replicas': '1',
        'auto.create.topics.enable': 'false',
        // So that a broker that was killed is missed soon.
        'broker.session.timeout.ms': '3000',
        'broker.heartbeat.interval.ms': '500',
      },
    });
  const running = new Map(
    await Promise.all(nodes.map(async (node) => [node.id, await start(node)] as const)),
  );
  const brokers = nodes.map(({ port }) => `127.0.0.1:${port}`);
  return {
    brokers,
    client: () => testKafka(brokers.join(',')),
    async kill(id) {
      await running.get(id)?.process.kill();
      running.delete(id);
    },
    async restore() {
      const gone = nodes.filter(({ id }) => !running.has(id));
      for (const [id, server] of await Promise.all(
        gone.map(async (node) => [node.id, await start(node)] as const),
      )) {
        running.set(id, server);
      }
    },
    async stop() {
      // Nobody reads the data again.
      await Promise.all([...running.values()].map((server) => server.process.kill()));
      await removeFolder(folder);
    },
  };
}
