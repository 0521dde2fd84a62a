import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Kafka, logLevel } from 'kafkajs';
import { testKafka } from './kafka-client.ts';
import {
  IMAGES,
  settingsAsEnvironment,
  startContainer,
  usesContainers,
} from './parts/containers.ts';
import { javaCommand, properties } from './parts/java.ts';
import { removeFolder, temporaryFolder } from './process/folders.ts';
import { freePort } from './process/ports.ts';
import { runCommand } from './process/run-command.ts';
import { startServerProcess, type ServerProcess } from './process/server-process.ts';

/** How `startKafka` starts a broker. */
export interface KafkaOptions {
  /**
   * A folder of an earlier broker to start again, or a new one; `stop` then leaves it there. Such
   * a broker never runs in a container.
   */
  readonly dataDir?: string;
  /** Default: a free one. Needed to come back at the address clients know. */
  readonly port?: number;
  /** Further broker settings, e.g. `{ 'num.partitions': '4' }`. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly heapMb?: number;
  readonly detached?: boolean;
  /** A second address, which some clients may be cut off from. Default: none. */
  readonly aside?: Aside;
  /** Of the cluster that a new folder is made for. Default: one of its own. */
  readonly clusterId?: string;
}

/** Clients are told `port`, and it listens on `target`: what lies between is the test's (`Way`). */
export interface Aside {
  readonly port: number;
  readonly target: number;
}

function asideSettings(aside: Aside | undefined, broker: string): Record<string, string> {
  if (aside === undefined) return {};
  return {
    'listener.security.protocol.map': `${FIXED_SETTINGS['listener.security.protocol.map']},ASIDE:PLAINTEXT`,
    'advertised.listeners': `PLAINTEXT://${broker},ASIDE://127.0.0.1:${String(aside.port)}`,
  };
}

/** A running broker (KRaft, one node, which is also the controller). */
export interface KafkaServer {
  /** For clients: `127.0.0.1:PORT`. */
  readonly broker: string;
  readonly brokers: string[];
  readonly port: number;
  readonly dataDir: string;
  readonly pid: number;
  readonly process: ServerProcess;
  readonly aside: Aside | null;
  /** A kafkajs client for tests: quiet, quick to retry. */
  client(clientId?: string): Kafka;
  /** Stops it, then removes the data unless `dataDir` was given. Idempotent. */
  stop(): Promise<void>;
}

const FIXED_SETTINGS = {
  'process.roles': 'broker,controller',
  'node.id': '1',
  'controller.listener.names': 'CONTROLLER',
  'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
  'offsets.topic.replication.factor': '1',
  'offsets.topic.num.partitions': '4',
  'transaction.state.log.replication.factor': '1',
  'transaction.state.log.min.isr': '1',
  'transaction.state.log.num.partitions': '4',
  'group.initial.rebalance.delay.ms': '0',
};

async function answers(broker: string): Promise<boolean> {
  const kafka = new Kafka({
    clientId: 'readiness',
    brokers: [broker],
    logLevel: logLevel.NOTHING,
    connectionTimeout: 1_000,
    retry: { retries: 0 },
  });
  const admin = kafka.admin();
  try {
    await admin.connect();
    return (await admin.describeCluster()).brokers.some(
      (one) => `${one.host}:${one.port}` === broker,
    );
  } finally {
    await admin.disconnect();
  }
}

/** As Kafka writes one: 16 random bytes in URL-safe base64; it must not begin with a dash. */
export function newClusterId(): string {
  return `A${randomBytes(16).toString('base64url').slice(1)}`;
}

async function format(dataDir: string, config: string, clusterId: string): Promise<void> {
  const { command, args } = await javaCommand({
    neededFor: 'Kafka',
    mainClass: 'kafka.tools.StorageTool',
    args: ['format', '-t', clusterId, '-c', config],
    heapMb: 256,
    javaOptions: ['-XX:TieredStopAtLevel=1'],
  });
  await runCommand(command, args, { cwd: dataDir });
}

interface NativeOptions {
  readonly name: string;
  readonly logFile: string;
  readonly ready: () => Promise<boolean>;
  readonly readyWithinMs: number;
  readonly heapMb: number;
  readonly detached: boolean | undefined;
  readonly clusterId: string;
}

async function startNative(
  dataDir: string,
  settings: Readonly<Record<string, string>>,
  { heapMb, detached, clusterId, ...options }: NativeOptions,
): Promise<ServerProcess> {
  const config = join(dataDir, 'kafka.properties');
  const data = join(dataDir, 'data');
  await writeFile(config, properties({ 'log.dirs': data, ...settings }));
  if (!existsSync(join(data, 'meta.properties'))) await format(dataDir, config, clusterId);
  const java = await javaCommand({
    neededFor: 'Kafka',
    mainClass: 'kafka.Kafka',
    args: [config],
    heapMb,
  });
  return startServerProcess({
    ...options,
    ...java,
    cwd: dataDir,
    ...(detached !== undefined && { detached }),
  });
}

/** Starts a Kafka broker with a cluster id of its own. It dies with this process. */
export async function startKafka(options: KafkaOptions = {}): Promise<KafkaServer> {
  const own = options.dataDir === undefined;
  const dataDir = options.dataDir ?? (await temporaryFolder('kafka'));
  await mkdir(dataDir, { recursive: true });
  const port = options.port ?? (await freePort());
  const broker = `127.0.0.1:${String(port)}`;
  const controller = `127.0.0.1:${String(await freePort())}`;
  const settings = {
    ...FIXED_SETTINGS,
    ...asideSettings(options.aside, broker),
    listeners: [
      `PLAINTEXT://${broker}`,
      ...(options.aside === undefined ? [] : [`ASIDE://127.0.0.1:${String(options.aside.target)}`]),
      `CONTROLLER://${controller}`,
    ].join(','),
    'controller.quorum.voters': `1@${controller}`,
    ...options.settings,
  };
  const common = {
    name: 'Kafka',
    logFile: join(dataDir, 'kafka.log'),
    ready: () => answers(broker),
    readyWithinMs: 60_000,
  };
  const heapMb = options.heapMb ?? 512;
  const server =
    own && (await usesContainers())
      ? await startContainer({
          ...common,
          image: IMAGES.kafka,
          environment: {
            ...settingsAsEnvironment('KAFKA', settings),
            KAFKA_HEAP_OPTS: `-Xmx${String(heapMb)}m`,
          },
        })
      : await startNative(dataDir, settings, {
          ...{ ...common, heapMb, detached: options.detached },
          clusterId: options.clusterId ?? newClusterId(),
        });
  return {
    broker,
    brokers: [broker],
    port,
    dataDir,
    pid: server.pid,
    process: server,
    aside: options.aside ?? null,
    client: (clientId) => testKafka(broker, clientId),
    async stop() {
      await server.stop();
      if (own) await removeFolder(dataDir);
    },
  };
}
