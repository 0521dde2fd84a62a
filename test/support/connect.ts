import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connectRest, type ConnectRest } from './connect-rest.ts';
import { connectPlugins } from './parts/connect-plugins.ts';
import {
  IMAGES,
  settingsAsEnvironment,
  startContainer,
  usesContainers,
} from './parts/containers.ts';
import { javaCommand, properties } from './parts/java.ts';
import { removeFolder, temporaryFolder } from './process/folders.ts';
import { freePort } from './process/ports.ts';
import { startServerProcess, type ServerProcess } from './process/server-process.ts';

/** How `startConnect` starts a worker. */
export interface ConnectOptions {
  /** Source offsets and records in one Kafka transaction. Default false. */
  readonly exactlyOnce?: boolean;
  /** Workers of one group share connectors and offsets. Default: `connect`. */
  readonly group?: string;
  readonly port?: number;
  /** Further worker settings. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly heapMb?: number;
  /** For configuration and log; `stop` then leaves it there. Such a worker runs natively. */
  readonly folder?: string;
  readonly detached?: boolean;
}

/** A running Connect worker, with its REST interface. */
export interface ConnectServer extends ConnectRest {
  readonly port: number;
  readonly pid: number;
  readonly process: ServerProcess;
  /** The topic that holds the source offsets. */
  readonly offsetsTopic: string;
  /** Stops the worker; connectors and offsets stay in Kafka. Idempotent. */
  stop(): Promise<void>;
}

interface NativeOptions {
  readonly name: string;
  readonly logFile: string;
  readonly ready: () => Promise<boolean>;
  readonly readyWithinMs: number;
  readonly heapMb: number;
  readonly detached: boolean | undefined;
}

async function startNative(
  folder: string,
  settings: Readonly<Record<string, string>>,
  { heapMb, detached, ...options }: NativeOptions,
): Promise<ServerProcess> {
  const config = join(folder, 'connect.properties');
  const plugins = {
    'plugin.path': await connectPlugins(),
    'plugin.discovery': 'service_load',
  };
  await writeFile(config, properties({ ...plugins, ...settings }));
  const java = await javaCommand({
    neededFor: 'Kafka Connect',
    mainClass: 'org.apache.kafka.connect.cli.ConnectDistributed',
    args: [config],
    heapMb,
  });
  return startServerProcess({
    ...options,
    ...java,
    cwd: folder,
    ...(detached !== undefined && { detached }),
  });
}

/** Debezium's image insists on some settings under names of its own. */
function containerEnvironment(
  settings: Readonly<Record<string, string>>,
  port: number,
  heapMb: number,
): Record<string, string> {
  return {
    ...settingsAsEnvironment('CONNECT', settings),
    BOOTSTRAP_SERVERS: settings['bootstrap.servers'] ?? '',
    GROUP_ID: settings['group.id'] ?? '',
    CONFIG_STORAGE_TOPIC: settings['config.storage.topic'] ?? '',
    OFFSET_STORAGE_TOPIC: settings['offset.storage.topic'] ?? '',
    STATUS_STORAGE_TOPIC: settings['status.storage.topic'] ?? '',
    OFFSET_FLUSH_INTERVAL_MS: settings['offset.flush.interval.ms'] ?? '',
    HOST_NAME: '127.0.0.1',
    REST_PORT: String(port),
    ADVERTISED_PORT: String(port),
    HEAP_OPTS: `-Xmx${String(heapMb)}m`,
    ENABLE_APICURIO_CONVERTERS: 'true',
  };
}

/**
 * Starts a Connect worker (distributed mode) with Debezium's source connectors for PostgreSQL,
 * MySQL and MariaDB, its JDBC sink and the Avro converter. Records are JSON with schemas unless a
 * connector says otherwise (see `avroConverters`). Offsets are flushed every second.
 */
export async function startConnect(
  kafka: { readonly broker: string },
  options: ConnectOptions = {},
): Promise<ConnectServer> {
  const folder = options.folder ?? (await temporaryFolder('connect'));
  const port = options.port ?? (await freePort());
  const group = options.group ?? 'connect';
  const offsetsTopic = `${group}.offsets`;
  const url = `http://127.0.0.1:${String(port)}`;
  const settings: Readonly<Record<string, string>> = {
    'bootstrap.servers': kafka.broker,
    'group.id': group,
    listeners: url,
    'rest.advertised.host.name': '127.0.0.1',
    'rest.advertised.port': String(port),
    'key.converter': 'org.apache.kafka.connect.json.JsonConverter',
    'value.converter': 'org.apache.kafka.connect.json.JsonConverter',
    'config.storage.topic': `${group}.configs`,
    'offset.storage.topic': offsetsTopic,
    'status.storage.topic': `${group}.status`,
    'offset.storage.partitions': '5',
    'config.storage.replication.factor': '1',
    'offset.storage.replication.factor': '1',
    'status.storage.replication.factor': '1',
    'offset.flush.interval.ms': '1000',
    'scheduled.rebalance.max.delay.ms': '0',
    'exactly.once.source.support': options.exactlyOnce === true ? 'enabled' : 'disabled',
    ...options.settings,
  };
  const rest = connectRest(url);
  const common = {
    name: 'Kafka Connect',
    logFile: join(folder, 'connect.log'),
    // The list is answered only when the worker has joined its group.
    ready: async () => Array.isArray(await rest.connectors()),
    readyWithinMs: 120_000,
  };
  const heapMb = options.heapMb ?? 1024;
  const server =
    options.folder === undefined && (await usesContainers())
      ? await startContainer({
          ...common,
          image: IMAGES.connect,
          environment: containerEnvironment(settings, port, heapMb),
        })
      : await startNative(folder, settings, { ...common, heapMb, detached: options.detached });
  return {
    ...rest,
    port,
    pid: server.pid,
    process: server,
    offsetsTopic,
    async stop() {
      await server.stop();
      if (options.folder === undefined) await removeFolder(folder);
    },
  };
}
