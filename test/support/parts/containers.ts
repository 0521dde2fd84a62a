import { createWriteStream } from 'node:fs';
import type { StartedTestContainer } from 'testcontainers';
import { pollUntil } from '../../../src/util/wait.ts';
import { tailOf, type ServerProcess } from '../process/server-process.ts';

/** Images of the versions in `versions.ts`; the same as in docker/compose.yaml. */
export const IMAGES = {
  kafka: 'apache/kafka:4.3.1',
  connect: 'quay.io/debezium/connect:3.6.0.Final',
  registry: 'quay.io/apicurio/apicurio-registry:3.0.9',
  mysql: 'mysql:9.7',
  mariadb: 'mariadb:10.11',
} as const;

/** How one server is run in a container. */
export interface ContainerOptions {
  readonly name: string;
  readonly image: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  readonly logFile: string;
  readonly ready: () => Promise<boolean>;
  readonly readyWithinMs: number;
}

async function engineAnswers(): Promise<boolean> {
  const { getContainerRuntimeClient } = await import('testcontainers');
  try {
    await getContainerRuntimeClient();
    return true;
  } catch {
    return false;
  }
}

/**
 * Whether parts run in containers: `TEST_PARTS=containers` or `native` says so, else whether a
 * Docker engine answers.
 */
export async function usesContainers(): Promise<boolean> {
  const choice = process.env['TEST_PARTS'] ?? '';
  switch (choice) {
    case 'native':
      return false;
    case 'containers':
      return true;
    case '':
      return engineAnswers();
    default:
      throw new Error(`TEST_PARTS is "${choice}"; it can be native or containers`);
  }
}

async function handle(
  container: StartedTestContainer,
  startMs: number,
  options: ContainerOptions,
): Promise<ServerProcess> {
  const { getContainerRuntimeClient } = await import('testcontainers');
  const engine = await getContainerRuntimeClient();
  const inner = engine.container.getById(container.getId());
  const { State: state } = await inner.inspect();
  let running = true;
  return {
    name: options.name,
    pid: state.Pid,
    logFile: options.logFile,
    startMs,
    isRunning: () => running,
    pause: async () => void (await inner.pause()),
    resume: async () => void (await inner.unpause()),
    async kill() {
      if (!running) return;
      running = false;
      await inner.kill({ signal: 'SIGKILL' });
    },
    async stop(withinMs = 20_000) {
      if (!running) return;
      running = false;
      await container.stop({ timeout: withinMs });
    },
  };
}

/**
 * Runs a server in a container on the host's own network, so that its addresses are the same as
 * natively. Testcontainers' reaper removes it when this process is gone.
 */
export async function startContainer(options: ContainerOptions): Promise<ServerProcess> {
  const began = performance.now();
  const { GenericContainer } = await import('testcontainers');
  const container = await new GenericContainer(options.image)
    .withNetworkMode('host')
    .withEnvironment({ ...options.environment })
    .withCommand([...(options.args ?? [])])
    .withLogConsumer((log) => void log.pipe(createWriteStream(options.logFile)))
    .start();
  try {
    await pollUntil({
      probe: async () => ((await options.ready().catch(() => false)) ? true : undefined),
      everyMs: 100,
      timeoutMs: options.readyWithinMs,
      timeout: () =>
        new Error(`${options.name} did not start in a container:\n${tailOf(options.logFile)}`),
    });
  } catch (error) {
    await container.stop();
    throw error;
  }
  return handle(container, Math.round(performance.now() - began), options);
}

/** Settings as the images of Kafka and Connect take them: `a.b` becomes `PREFIX_A_B`. */
export function settingsAsEnvironment(
  prefix: 'KAFKA' | 'CONNECT',
  settings: Readonly<Record<string, string>>,
): Record<string, string> {
  const named = Object.entries(settings).map(
    ([name, value]) => [`${prefix}_${name.toUpperCase().replaceAll('.', '_')}`, value] as const,
  );
  return Object.fromEntries(named);
}
