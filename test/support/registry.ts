import { join } from 'node:path';
import type { ConnectorConfig } from './connect-rest.ts';
import { IMAGES, startContainer, usesContainers } from './parts/containers.ts';
import { registryJar } from './parts/java.ts';
import { requireTool } from './parts/tools.ts';
import { removeFolder, temporaryFolder } from './process/folders.ts';
import { freePort } from './process/ports.ts';
import { startServerProcess, type ServerProcess } from './process/server-process.ts';

/** How `startRegistry` starts the registry. */
export interface RegistryOptions {
  readonly port?: number;
  /** For the log; `stop` then leaves it there. Such a registry runs natively. */
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
  const folder = options.folder ?? (await temporaryFolder('registry'));
  const port = options.port ?? (await freePort());
  const url = `http://127.0.0.1:${String(port)}/apis/ccompat/v7`;
  const common = {
    name: 'the schema registry',
    logFile: join(folder, 'registry.log'),
    ready: async () => (await fetch(`${url}/subjects`)).ok,
    readyWithinMs: 60_000,
  };
  const listen = { 'quarkus.http.port': String(port), 'quarkus.http.host': '127.0.0.1' };
  const server =
    options.folder === undefined && (await usesContainers())
      ? await startContainer({
          ...common,
          image: IMAGES.registry,
          environment: { QUARKUS_HTTP_PORT: String(port), QUARKUS_HTTP_HOST: '127.0.0.1' },
        })
      : await startServerProcess({
          ...common,
          command: requireTool('java', 'the schema registry'),
          args: [
            ...['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'],
            ...Object.entries(listen).map(([name, value]) => `-D${name}=${value}`),
            ...['-jar', await registryJar()],
          ],
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
