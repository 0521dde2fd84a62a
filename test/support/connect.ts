import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connectRest, type ConnectRest } from './connect-rest.ts';
import { connectPlugins } from './parts/connect-plugins.ts';
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
  /** For configuration and log; `stop` then leaves it there. */
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
  const settings = {
    'bootstrap.servers': kafka.broker,
    'group.id': group,
    listeners: url,
    'rest.advertised.host.name': '127.0.0.1',
    'rest.advertised.port': String(port),
    'plugin.path': await connectPlugins(),
    'plugin.discovery': 'service_load',
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
  const config = join(folder, 'connect.properties');
  await writeFile(config, properties(settings));
  const rest = connectRest(url);
  const server = await startServerProcess({
    name: 'Kafka Connect',
    ...(await javaCommand({
      neededFor: 'Kafka Connect',
      mainClass: 'org.apache.kafka.connect.cli.ConnectDistributed',
      args: [config],
      heapMb: options.heapMb ?? 1024,
    })),
    logFile: join(folder, 'connect.log'),
    // The list is answered only when the worker has joined its group.
    ready: async () => Array.isArray(await rest.connectors()),
    readyWithinMs: 120_000,
    cwd: folder,
    ...(options.detached !== undefined && { detached: options.detached }),
  });
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
