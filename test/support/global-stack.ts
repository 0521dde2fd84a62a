import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestProject } from 'vitest/node';
import { startConnect, type ConnectServer } from './connect.ts';
import providePostgres from './global-postgres.ts';
import { startKafka, type KafkaServer } from './kafka.ts';
import { freePort } from './process/ports.ts';
import { startMariaDB } from './mariadb.ts';
import { startMySQL } from './mysql.ts';
import type { MySqlServer } from './mysql-server.ts';
import { startRegistry, type RegistryServer } from './registry.ts';
import type { SharedAddresses, SharedPart } from './shared-stack.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Where test files ask for shared parts; read by `shared-stack.ts`. */
    sharedStackUrl: string;
  }
}

interface Stoppable {
  readonly stop: () => Promise<void>;
}

/** Starts each part when it is first asked for, and at most once. */
class SharedParts {
  readonly #started = new Map<SharedPart, Promise<Stoppable>>();

  kafka(): Promise<KafkaServer> {
    return this.#once('kafka', async () =>
      startKafka({ aside: { port: await freePort(), target: await freePort() } }),
    );
  }

  connect(): Promise<ConnectServer> {
    return this.#once('connect', async () => startConnect(await this.kafka()));
  }

  registry(): Promise<RegistryServer> {
    return this.#once('registry', () => startRegistry());
  }

  mysql(): Promise<MySqlServer> {
    return this.#once('mysql', () => startMySQL());
  }

  mariadb(): Promise<MySqlServer> {
    return this.#once('mariadb', () => startMariaDB());
  }

  /** Connect first: a database waits for a connector that still reads it. */
  async stop(): Promise<void> {
    await this.#stopPart('connect');
    await Promise.all([...this.#started.keys()].map((part) => this.#stopPart(part)));
  }

  async #stopPart(part: SharedPart): Promise<void> {
    // One that did not start has told the test that asked for it, and left nothing to stop.
    const running = await this.#started.get(part)?.catch(() => undefined);
    await running?.stop();
  }

  #once<T extends Stoppable>(part: SharedPart, start: () => Promise<T>): Promise<T> {
    const started = this.#started.get(part) ?? start();
    this.#started.set(part, started);
    return started as Promise<T>;
  }
}

async function addressOf(
  parts: SharedParts,
  part: string,
): Promise<SharedAddresses[SharedPart] | undefined> {
  switch (part as SharedPart) {
    case 'kafka': {
      const { broker, pid, aside } = await parts.kafka();
      return { broker, pid, aside };
    }
    case 'connect': {
      const { url, offsetsTopic, pid } = await parts.connect();
      return { url, offsetsTopic, pid };
    }
    case 'registry': {
      const { url, port } = await parts.registry();
      return { url, port };
    }
    case 'mysql':
    case 'mariadb': {
      const { host, port, user, password, url, version } =
        part === 'mysql' ? await parts.mysql() : await parts.mariadb();
      return { host, port, user, password, url, version };
    }
    default:
      return undefined;
  }
}

/**
 * Vitest's globalSetup of the end-to-end tests: a PostgreSQL, and on demand one Kafka, one Connect
 * and the like for all test files of the run. The files ask for them over HTTP, since they run in
 * other processes; see `shared-stack.ts`.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const stopPostgres = await providePostgres(project);
  const parts = new SharedParts();
  const desk = createServer((request, response) => {
    addressOf(parts, (request.url ?? '').slice(1)).then(
      (address) => {
        response.statusCode = address === undefined ? 404 : 200;
        response.end(JSON.stringify(address ?? 'no such part'));
      },
      (error: unknown) => {
        response.statusCode = 500;
        response.end(error instanceof Error ? (error.stack ?? error.message) : String(error));
      },
    );
  });
  desk.requestTimeout = 0;
  await new Promise<void>((resolve) => desk.listen(0, '127.0.0.1', resolve));
  const { port } = desk.address() as AddressInfo;
  project.provide('sharedStackUrl', `http://127.0.0.1:${String(port)}`);
  return async () => {
    desk.close();
    desk.closeAllConnections();
    await parts.stop();
    await stopPostgres();
  };
}
