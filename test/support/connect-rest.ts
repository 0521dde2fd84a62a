import { pollUntil } from '../../src/util/wait.ts';

/** A connector's settings, as Connect takes them. */
export type ConnectorConfig = Readonly<Record<string, string>>;

/** What Connect says of a connector. */
export interface ConnectorStatus {
  readonly name: string;
  readonly connector: { readonly state: string; readonly trace?: string };
  readonly tasks: readonly {
    readonly id: number;
    readonly state: string;
    readonly trace?: string;
  }[];
}

/** One source partition and the offset committed for it. */
export interface ConnectorOffset {
  readonly partition: Readonly<Record<string, unknown>>;
  readonly offset: Readonly<Record<string, unknown>> | null;
}

/** The part of Connect's REST interface that tests use. Every method throws on an error status. */
export interface ConnectRest {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  connectors(): Promise<string[]>;
  /** Creates it, or changes its settings, and waits (default 60 s) until its tasks run. */
  createConnector(name: string, config: ConnectorConfig, withinMs?: number): Promise<void>;
  /** Waits until connector and tasks run; throws with the trace as soon as one has failed. */
  waitRunning(name: string, withinMs?: number): Promise<void>;
  status(name: string): Promise<ConnectorStatus>;
  /** Restarts connector and tasks, and waits until they run. */
  restartConnector(name: string): Promise<void>;
  pauseConnector(name: string): Promise<void>;
  resumeConnector(name: string): Promise<void>;
  /** Stops its tasks; their offsets can be read and changed then. */
  stopConnector(name: string): Promise<void>;
  /** The committed source offsets (up to one flush interval behind). */
  offsets(name: string): Promise<readonly ConnectorOffset[]>;
  /** Makes a stopped connector go on from there. */
  alterOffsets(name: string, offsets: readonly ConnectorOffset[]): Promise<void>;
  deleteConnector(name: string): Promise<void>;
}

async function request(url: string, method = 'GET', body?: unknown): Promise<unknown> {
  const response = await fetch(url, {
    method,
    signal: AbortSignal.timeout(30_000),
    ...(body !== undefined && {
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    }),
  });
  const text = await response.text();
  if (!response.ok) {
    throw new Error(`${method} ${url} was answered with ${String(response.status)}: ${text}`);
  }
  return text === '' ? undefined : (JSON.parse(text) as unknown);
}

/** Undefined while it is not decided. */
function runs(status: ConnectorStatus): boolean | undefined {
  const parts = [status.connector, ...status.tasks];
  const failed = parts.find(({ state }) => state === 'FAILED');
  if (failed !== undefined) {
    throw new Error(`connector ${status.name} failed: ${failed.trace ?? '(no trace)'}`);
  }
  const complete = status.tasks.length > 0 && parts.every(({ state }) => state === 'RUNNING');
  return complete ? true : undefined;
}

/** A client for the worker at `url`. */
export function connectRest(url: string): ConnectRest {
  const of = (name: string, rest = ''): string =>
    `${url}/connectors/${encodeURIComponent(name)}${rest}`;

  async function status(name: string): Promise<ConnectorStatus> {
    return (await request(of(name, '/status'))) as ConnectorStatus;
  }

  async function waitRunning(name: string, withinMs = 60_000): Promise<void> {
    let last: ConnectorStatus | undefined;
    await pollUntil({
      probe: async () => {
        // Unknown to the worker for a moment after it was created.
        last = await status(name).catch(() => undefined);
        return last === undefined ? undefined : runs(last);
      },
      everyMs: 250,
      timeoutMs: withinMs,
      timeout: () =>
        new Error(
          `connector ${name} did not run within ${String(withinMs)} ms: ${JSON.stringify(last)}`,
        ),
    });
  }

  return {
    url,
    status,
    waitRunning,
    connectors: async () => (await request(`${url}/connectors`)) as string[],
    async createConnector(name, config, withinMs) {
      // A worker that is rebalancing answers 409.
      await pollUntil({
        probe: async () => {
          const response = await fetch(of(name, '/config'), {
            method: 'PUT',
            body: JSON.stringify(config),
            headers: { 'content-type': 'application/json' },
            signal: AbortSignal.timeout(180_000),
          });
          if (response.status === 409) return undefined;
          if (response.ok) return true;
          throw new Error(`connector ${name} was refused: ${await response.text()}`);
        },
        everyMs: 200,
        timeoutMs: withinMs ?? 30_000,
        timeout: () => new Error(`connector ${name}: the worker is rebalancing for too long`),
      });
      await waitRunning(name, withinMs);
    },
    async restartConnector(name) {
      await request(of(name, '/restart?includeTasks=true&onlyFailed=false'), 'POST');
      await waitRunning(name);
    },
    pauseConnector: async (name) => void (await request(of(name, '/pause'), 'PUT')),
    resumeConnector: async (name) => void (await request(of(name, '/resume'), 'PUT')),
    stopConnector: async (name) => void (await request(of(name, '/stop'), 'PUT')),
    async offsets(name) {
      const answer = await request(of(name, '/offsets'));
      return (answer as { offsets: readonly ConnectorOffset[] }).offsets;
    },
    alterOffsets: async (name, offsets) =>
      void (await request(of(name, '/offsets'), 'PATCH', { offsets })),
    deleteConnector: async (name) => void (await request(of(name), 'DELETE')),
  };
}
