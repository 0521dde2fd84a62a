import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { Config } from '../config/schema.ts';
import type { LogRecord } from '../change/record.ts';
import { OriginReader } from '../decode/origin.ts';
import { followedTables, isolatedTables } from '../config/table-filter.ts';
import type { ProductionDatabase } from '../dialect/dialect.ts';
import {
  examine,
  type ConnectorParts,
  type DoctorParts,
  type DoctorReport,
} from '../doctor/doctor.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import type { Logger } from '../observability/logger.ts';
import { ConnectClient } from '../source/connect/connect-client.ts';
import { contradictions } from '../source/connect/settle.ts';
import { RuntimeContext } from './context.ts';
import type { RolloutFacts } from '../doctor/rollouts.ts';
import { describeAlarms, readAlarms } from './rollout-alarms.ts';
import { readHeld } from './held-tables.ts';
import { describeWaiting, readWaiting } from './waiting-keys.ts';
import { fetching, openRegistry } from './schema-registry.ts';
import { openProduction } from './production.ts';
import { openConfiguredSource, openTopicSettings, readFlushInterval } from './sources.ts';

export interface DoctorOptions {
  /** A file with the settings of a connector that is not registered yet, or null. */
  readonly connectorFile: string | null;
}

/**
 * Opens every part by itself, so that one that is away hides nothing of the others, and closes
 * everything it opened.
 */
export async function runDoctor(
  config: Config,
  logger: Logger,
  options: DoctorOptions,
): Promise<DoctorReport> {
  const includes = followedTables(config);
  const { source } = config;
  const connector = await openConnector(config, logger, options);
  const opening = RuntimeContext.open(config, logger);
  const production = config.production === undefined ? null : reachProduction(config);
  const topics = openTopicSettings(config, logger);
  // Each is awaited, and its failure reported, inside the examination.
  opening.catch(() => undefined);
  production?.catch(() => undefined);
  try {
    return await examine({
      shadow: async () => (await opening).server,
      isolation: async () => (await opening).assertIsolated(),
      production: production === null ? null : () => production,
      source: () => openConfiguredSource(config, includes, logger),
      topics,
      ...originsOf(config, logger),
      connector,
      trunk: async () => readTrunk(await opening),
      rollouts: async () => readRollouts(await opening),
      declared: {
        connector: source.connector,
        topicPrefix: source.topicPrefix,
        trunk: config.trunk.name,
        modes: source.modes,
        consistency: config.consistency,
        registry: source.schemaRegistry !== undefined,
        contradictions: (facts) => contradictions(source, facts),
      },
      ...{ includes, isolates: isolatedTables(config) },
    });
  } finally {
    await topics?.[Symbol.asyncDispose]();
    await (await production?.catch(() => null))?.[Symbol.asyncDispose]();
    await (await opening.catch(() => null))?.[Symbol.asyncDispose]();
  }
}

/** How long a registry that does not answer is waited for, in all. */
const REGISTRY_LIMIT_MS = 20_000;

function originsOf(config: Config, logger: Logger): Pick<DoctorParts, 'origins' | 'prepare'> {
  const registry = openRegistry(config, logger);
  const origins = new OriginReader(config.source.connector, registry);
  if (registry === null) return { origins, prepare: () => null };
  const fetch = fetching(origins, registry.schemas);
  let limit: AbortSignal | null = null;
  const inTime = async (fetched: Promise<void>, signal: AbortSignal): Promise<void> => {
    try {
      await fetched;
    } catch (error) {
      if (!signal.aborted || isUnderstudyError(error)) throw error;
      throw new UnderstudyError(
        'REGISTRY_UNREACHABLE',
        'the schema registry does not answer',
        {},
        error,
      );
    }
  };
  const prepare = (record: LogRecord): Promise<void> | null => {
    // From the first question on: what comes before may take long by itself.
    const signal = (limit ??= AbortSignal.timeout(REGISTRY_LIMIT_MS));
    const fetched = fetch(record, { signal, onState: () => undefined });
    return fetched === null ? null : inTime(fetched, signal);
  };
  return { origins, prepare };
}

async function reachProduction(config: Config): Promise<ProductionDatabase> {
  const production = await openProduction(config);
  if (production !== null) return production;
  throw new UnderstudyError('CONFIG_INVALID', 'production.url is not set');
}

async function readRollouts(context: RuntimeContext): Promise<readonly RolloutFacts[]> {
  const control = await context.existingControl();
  const found: RolloutFacts[] = [];
  for (const { name, database } of (await control?.rollouts()) ?? []) {
    const opened = await context.server.open(database);
    if (opened === null) continue;
    await using rollout = opened;
    const waiting = describeWaiting(await readWaiting(rollout));
    found.push({ name, alarms: [...describeAlarms(await readAlarms(rollout)), ...waiting] });
  }
  return found;
}

type Trunk = Awaited<ReturnType<Parameters<typeof examine>[0]['trunk']>>;

async function readTrunk(context: RuntimeContext): Promise<Trunk> {
  const database = await context.server.open(context.config.trunk.name);
  if (database === null) return null;
  try {
    const [catalogue, { position }, letters] = await Promise.all([
      database.catalogue(),
      database.progress(),
      database.deadLetters.list(),
    ]);
    const { offsets, eventTimeMs } = position;
    const eventAgeMs = eventTimeMs === null ? null : Math.max(0, Date.now() - eventTimeMs);
    const tables = await readHeld(database, letters);
    return { catalogue, applied: { offsets, eventAgeMs }, ...tables };
  } finally {
    await database[Symbol.asyncDispose]();
  }
}

/** As Kafka Connect takes it: settings, or name and settings. */
const fileShape = z.union([
  z.object({ name: z.string(), config: z.record(z.string(), z.string()) }),
  z.record(z.string(), z.string()).transform((config) => ({ name: config['name'] ?? '', config })),
]);

async function openConnector(
  config: Config,
  logger: Logger,
  { connectorFile }: DoctorOptions,
): Promise<ConnectorParts | null> {
  if (connectorFile !== null) {
    const { name, config: settings } = await readConnectorFile(connectorFile);
    const map = new Map(Object.entries(settings));
    return { name: name || connectorFile, config: () => Promise.resolve(map), running: null };
  }
  const { connect } = config.source;
  if (connect === undefined) return null;
  const client = new ConnectClient(connect);
  return {
    name: connect.name,
    config: () => client.config(),
    running: {
      state: () => client.state(),
      all: () => client.all(),
      flushIntervalMs:
        config.source.offsetsTopic === undefined ? null : () => readFlushInterval(config, logger),
    },
  };
}

async function readConnectorFile(file: string): Promise<z.output<typeof fileShape>> {
  let content: unknown;
  try {
    content = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new UnderstudyError('USAGE', `cannot read ${file} as JSON`, {}, error);
  }
  const parsed = fileShape.safeParse(content);
  if (parsed.success) return parsed.data;
  throw new UnderstudyError('USAGE', `${file} holds no connector configuration`, {
    detail: 'expected what POST /connectors takes: name and config, all values as text',
  });
}
