import { join } from 'node:path';
import type { ConnectorConfig } from './connect-rest.ts';
import { registryJar } from './parts/java.ts';
import { requireTool } from './parts/tools.ts';
import { removeFolder, temporaryFolder } from './process/folders.ts';
import { freePort } from './process/ports.ts';
import { startServerProcess, type ServerProcess } from './process/server-process.ts';

/** How `startRegistry` starts the registry. */
export interface RegistryOptions {
  readonly port?: number;
  /** For the log; `stop` then leaves it there. */
  readonly folder?: string;
  readonly detached?: boolean;
}

/** A running schema registry (Apicurio, in memory). */
export interface RegistryServer {
  /** What clients of Confluent's registry are given; schemas are at `/schemas/ids/ID` below it. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  readonly process: ServerProcess;
  stop(): Promise<void>;
}

/** Starts a schema registry with an interface compatible with Confluent's. */
export async function startRegistry(options: RegistryOptions = {}): Promise<RegistryServer> {
  const java = requireTool('java', 'the schema registry');
  const folder = options.folder ?? (await temporaryFolder('registry'));
  const port = options.port ?? (await freePort());
  const url = `http://127.0.0.1:${String(port)}/apis/ccompat/v7`;
  const server = await startServerProcess({
    name: 'the schema registry',
    command: java,
    args: [
      ...['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'],
      ...[`-Dquarkus.http.port=${String(port)}`, '-Dquarkus.http.host=127.0.0.1'],
      ...['-jar', await registryJar()],
    ],
    logFile: join(folder, 'registry.log'),
    ready: async () => (await fetch(`${url}/subjects`)).ok,
    readyWithinMs: 60_000,
    cwd: folder,
    ...(options.detached !== undefined && { detached: options.detached }),
  });
  return {
    url,
    port,
    pid: server.pid,
    process: server,
    async stop() {
      await server.stop();
      if (options.folder === undefined) await removeFolder(folder);
    },
  };
}

/**
 * Connector settings with which its records are Avro in Confluent's wire format: a zero byte, the
 * schema's id in four bytes, the datum. Laid over a connector's settings, they win.
 */
export function avroConverters(registry: { readonly port: number }): ConnectorConfig {
  const settings = ['key', 'value'].flatMap((side) => {
    const prefix = `${side}.converter.apicurio.registry`;
    return [
      [`${side}.converter`, 'io.apicurio.registry.utils.converter.AvroConverter'],
      [`${prefix}.url`, `http://127.0.0.1:${String(registry.port)}/apis/registry/v2`],
      [`${prefix}.as-confluent`, 'true'],
      [`${prefix}.headers.enabled`, 'false'],
      [`${prefix}.use-id`, 'contentId'],
      [`${prefix}.auto-register`, 'true'],
      [`${prefix}.find-latest`, 'true'],
    ];
  });
  return {
    ...(Object.fromEntries(settings) as ConnectorConfig),
    'schema.name.adjustment.mode': 'avro',
    'field.name.adjustment.mode': 'avro',
  };
}
