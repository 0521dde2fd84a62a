/** Kafka Connect's REST interface, as far as one connector's state is needed. Reads only. */
import { z } from 'zod';
import { UnderstudyError } from '../../errors/understudy-error.ts';
import { positionOf, type StoredOffset, type StoredOffsets } from '../committed-offsets.ts';

const TIMEOUT_MS = 10_000;

const taskState = z.object({ state: z.string(), trace: z.string().optional() });
const statusShape = z.object({
  connector: taskState,
  tasks: z.array(taskState.extend({ id: z.number() })),
});
const configShape = z.record(z.string(), z.string().nullable());
const offsetsShape = z.object({
  offsets: z.array(z.object({ partition: z.unknown(), offset: z.unknown() })),
});

const allShape = z.record(z.string(), z.object({ info: z.object({ config: configShape }) }));

export interface ConnectorState {
  /** RUNNING, PAUSED, FAILED … as Connect says it. */
  readonly connector: string;
  readonly tasks: readonly { readonly id: number; readonly state: string }[];
}

/** Where the connector reads, by its own configuration. Null where it does not say. */
export interface ConnectTarget {
  readonly host: string | null;
  readonly port: string | null;
  readonly database: string | null;
  /** The replication slot; null for connectors that have none. */
  readonly slot: string | null;
}

/** Every question may reject with CONNECT_UNREACHABLE; state and settings with CONNECTOR_MISSING. */
export class ConnectClient implements StoredOffsets {
  readonly description: string;
  readonly #root: string;
  readonly #base: string;
  readonly #headers: Readonly<Record<string, string>>;

  /** `url` may carry a user and a password, which are sent as basic authentication. */
  constructor(options: { readonly url: string; readonly name: string }) {
    const url = new URL(options.url);
    const credentials = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
    this.#headers =
      url.username === ''
        ? {}
        : { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` };
    url.username = '';
    url.password = '';
    const root = url.href.replace(/\/+$/, '');
    this.#root = root;
    this.#base = `${root}/connectors/${encodeURIComponent(options.name)}`;
    this.description = `connector ${options.name} at ${root}`;
  }

  async committed(signal?: AbortSignal): Promise<bigint | null> {
    const { offsets } = await this.#get('/offsets', offsetsShape, signal);
    // A connector of several source partitions is as far as the least of them.
    const positions = offsets.map(({ offset }) => positionOf(offset));
    const known = positions.filter((lsn) => lsn !== null);
    if (known.length === 0 || known.length < positions.length) return null;
    return known.reduce((least, lsn) => (lsn < least ? lsn : least));
  }

  async stored(signal?: AbortSignal): Promise<readonly StoredOffset[]> {
    const { offsets } = await this.#get('/offsets', offsetsShape, signal);
    return offsets.flatMap(({ offset }) =>
      typeof offset === 'object' && offset !== null ? [offset as StoredOffset] : [],
    );
  }

  async state(signal?: AbortSignal): Promise<ConnectorState> {
    const status = await this.#get('/status', statusShape, signal);
    return {
      connector: status.connector.state,
      tasks: status.tasks.map(({ id, state }) => ({ id, state })),
    };
  }

  /** The connector's settings. They may hold secrets: never to be shown whole. */
  async config(signal?: AbortSignal): Promise<ReadonlyMap<string, string>> {
    return settingsOf(await this.#get('/config', configShape, signal));
  }

  /** All connectors of the worker with their settings, this one too. */
  async all(signal?: AbortSignal): Promise<ReadonlyMap<string, ReadonlyMap<string, string>>> {
    const found = await this.#ask(`${this.#root}/connectors?expand=info`, allShape, signal);
    return new Map(
      Object.entries(found).map(([name, { info }]) => [name, settingsOf(info.config)]),
    );
  }

  async target(signal?: AbortSignal): Promise<ConnectTarget> {
    const config = await this.config(signal);
    // Connectors that read as a replica have a server id, and no slot.
    const slot = config.has('database.server.id') ? null : (config.get('slot.name') ?? 'debezium');
    return {
      host: config.get('database.hostname') ?? null,
      port: config.get('database.port') ?? null,
      database: config.get('database.dbname') ?? null,
      slot,
    };
  }

  #get<T>(path: string, shape: z.ZodType<T>, signal: AbortSignal | undefined): Promise<T> {
    return this.#ask(this.#base + path, shape, signal);
  }

  async #ask<T>(url: string, shape: z.ZodType<T>, signal: AbortSignal | undefined): Promise<T> {
    const path = url.slice(this.#root.length);
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    let response: Response;
    let body: unknown;
    try {
      response = await fetch(url, {
        headers: this.#headers,
        signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
      });
      body = response.ok ? await response.json() : await response.body?.cancel();
    } catch (error) {
      if (signal?.aborted === true) throw signal.reason;
      throw this.#failed(timeout.aborted ? 'no answer in time' : 'no connection', error);
    }
    // Offsets are unknown to old workers, whatever the connector.
    if (response.status === 404 && !path.endsWith('/offsets')) {
      const message = `there is no ${this.description}`;
      throw new UnderstudyError('CONNECTOR_MISSING', message, { detail: 'Kafka Connect says 404' });
    }
    if (!response.ok) throw this.#failed(`${path} was answered with ${response.status}`);
    const parsed = shape.safeParse(body);
    if (!parsed.success) throw this.#failed(`${path} was answered with something else`);
    return parsed.data;
  }

  #failed(detail: string, cause?: unknown): UnderstudyError {
    const message = `${this.description} could not be asked`;
    return new UnderstudyError('CONNECT_UNREACHABLE', message, { detail }, cause);
  }
}

function settingsOf(config: z.output<typeof configShape>): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(config).filter((entry): entry is [string, string] => entry[1] !== null),
  );
}
