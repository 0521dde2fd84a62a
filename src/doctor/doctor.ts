/**
 * Everything that can be checked before it hurts, each finding with its cure. A part that cannot
 * be reached is a finding, not an exception: the other parts are still looked at. The connector
 * need not be there yet: its settings may come from a file, and production is looked at without.
 */
import { parsePartitionKey, type OffsetMap } from '../change/position.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import {
  inspectSettings,
  type ConnectorFacts,
  type ConnectorSettings,
} from '../decode/connectors/settings.ts';
import type { LogRecord } from '../change/record.ts';
import type { ValueSource } from '../decode/column.ts';
import { setsToKnow } from '../decode/types/charsets.ts';
import type { OriginReader } from '../decode/origin.ts';
import type {
  Diagnosis,
  ProductionDatabase,
  ShadowServer,
  StreamFacts,
} from '../dialect/dialect.ts';
import { diagnoseGround } from '../dialect/rollout-ground.ts';
import { diagnoseRollouts, type RolloutFacts } from './rollouts.ts';
import { diagnoseQueues } from './queue-tables.ts';
import { CODES } from '../errors/codes.ts';
import { isUnderstudyError, type UnderstudyError } from '../errors/understudy-error.ts';
import type { IsolationEvidence } from '../guard/isolation.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import type { ChangeSource, TopicSettingsReader } from '../source/change-source.ts';
import { diagnoseCapture } from './capture.ts';
import { diagnoseKeys } from './foreign-keys.ts';
import { diagnoseConnector } from './connector-settings.ts';
import { word } from './connector/rule.ts';
import { columnsToTell, diagnoseLosses, lossesSeen, levelOf, type LossyColumn } from './losses.ts';
import { diagnoseNeighbours } from './neighbours.ts';
import { diagnoseSample, readOrigins, takeSample, type Origins } from './sample.ts';
import { describeTables } from './tables.ts';
import { diagnoseTopics, isChangeTopic, type TopicFacts } from './topics.ts';

/** What the doctor may ask of Kafka Connect, or of a file that holds a connector's settings. */
export interface ConnectorParts {
  readonly name: string;
  config(): Promise<ConnectorSettings>;
  /** Null where the settings come from a file. */
  readonly running: {
    state(): Promise<{
      readonly connector: string;
      readonly tasks: readonly { readonly id: number; readonly state: string }[];
    }>;
    all(): Promise<ReadonlyMap<string, ConnectorSettings>>;
    /**
     * Milliseconds between two commits of its offset, as seen; null if too few were seen. Itself
     * null where no topic of the offsets is configured to look into.
     */
    readonly flushIntervalMs: (() => Promise<number | null>) | null;
  } | null;
}

/** What the doctor may ask. Each part is opened by itself, so that one failure stays one finding. */
export interface DoctorParts {
  readonly shadow: () => Promise<ShadowServer>;
  readonly isolation: () => Promise<IsolationEvidence>;
  readonly production: (() => Promise<ProductionDatabase>) | null;
  readonly source: () => Promise<ChangeSource>;
  readonly topics: TopicSettingsReader | null;
  readonly origins: OriginReader;
  /** Fetches the schemas that `origins` needs for a record; null if it needs none. */
  readonly prepare: (record: LogRecord) => Promise<void> | null;
  readonly connector: ConnectorParts | null;
  /** The trunk's tables and position; null if there is none yet. */
  readonly trunk: () => Promise<{
    readonly catalogue: SchemaCatalogue;
    readonly applied: NonNullable<TopicFacts['applied']>;
    /** Tables that wait, and such as are kept though production dropped them. */
    readonly held: readonly { readonly table: TableId; readonly why: string }[];
    readonly kept: readonly { readonly table: TableId }[];
  } | null>;
  /** What makes findings of rollouts doubtful. */
  readonly rollouts: () => Promise<readonly RolloutFacts[]>;
  /** What the configuration declares. */
  readonly declared: ValueSource & {
    readonly topicPrefix: string;
    /** The name of its database. */
    readonly trunk: string;
    readonly consistency: 'transaction' | 'key';
    readonly registry: boolean;
    /** Where it contradicts the connector's own settings: one sentence each. */
    readonly contradictions: (facts: ConnectorFacts) => readonly string[];
  };
  /** Tables that rollouts keep to themselves. */
  readonly isolates: (table: TableId) => boolean;
  readonly includes: (table: TableId) => boolean;
}

export interface DoctorReport {
  readonly findings: readonly Diagnosis[];
  /** True if nothing but `ok` was found. */
  readonly healthy: boolean;
}

/** The connector's settings, as far as they could be read. */
interface Known {
  readonly settings: ConnectorSettings;
  readonly facts: ConnectorFacts;
  readonly started: boolean;
}

/** A flush interval above which a drift check waits noticeably, and a crash repeats much. */
const LONG_FLUSH_MS = 30_000;

export async function examine(parts: DoctorParts): Promise<DoctorReport> {
  const found: Diagnosis[] = [];
  const look = async (id: string, check: () => Promise<readonly Diagnosis[]>): Promise<void> => {
    found.push(...(await guarded(id, check)));
  };
  let known: Known | null = null;
  let catalogue: SchemaCatalogue | null = null;
  let applied: TopicFacts['applied'] = null;
  const settings = await guarded('connector', async () => {
    known = await readSettings(parts.connector);
    return [];
  });
  let ground = (): Promise<readonly Diagnosis[]> => Promise.resolve([]);
  await look('shadow', async () => {
    const server = await parts.shadow();
    ground = () => diagnoseGround(server, parts.declared.trunk);
    const trunk = await parts.trunk();
    catalogue = trunk?.catalogue ?? null;
    applied = trunk?.applied ?? null;
    return [
      ok('shadow.server', `shadow server ${server.address}: version ${server.version}`),
      ...(trunk === null ? [] : describeTables(trunk)),
    ];
  });
  await look('shadow.ground', () => ground());
  await look('rollout.alarm', async () => diagnoseRollouts(await parts.rollouts()));
  await look('shadow.isolation', async () => describeIsolation(await parts.isolation()));
  await look('production', async () => {
    if (parts.production === null) return productionMissing(parts.declared.connector);
    const production = await parts.production();
    const ours = catalogue;
    catalogue = await production.catalogue();
    const found = await examineProduction(production, catalogue, known, parts);
    return ours === null ? found : [...found, ...diagnoseKeys(ours, catalogue)];
  });
  let origins: Origins = new Map();
  const log = await guarded('log', () =>
    examineLog(parts, known, applied, (read) => {
      origins = read;
    }),
  );
  if (catalogue !== null) {
    const followed = [...(catalogue as SchemaCatalogue).values()].map(({ id }) => id);
    found.push(...diagnoseQueues(followed.filter(parts.includes), parts.isolates));
    const told = tellColumns(parts, known, catalogue);
    const tables: SchemaCatalogue = catalogue;
    const seen = [...origins.values()].flatMap(({ own }) =>
      own !== null && parts.includes(own.table)
        ? lossesSeen(sourceOf(parts, known), tables, own)
        : [],
    );
    found.push(...diagnoseLosses([...told, ...unique(seen)]));
  }
  found.push(...log);
  found.push(...settings);
  await look('connector', () => examineConnector(parts, known, catalogue !== null));
  return { findings: found, healthy: found.every((finding) => finding.level === 'ok') };
}

/** Both ends of all partitions of a table say the same of its columns. */
function unique<
  T extends { readonly id: string; readonly table: TableId; readonly column: string },
>(columns: readonly T[]): readonly T[] {
  const named = columns.map(
    (one) => [JSON.stringify([one.id, one.table, one.column]), one] as const,
  );
  return [...new Map(named).values()];
}

function ok(id: string, message: string): Diagnosis {
  return { id, level: 'ok', message, cure: null };
}

const PRODUCTION_MISSING: Diagnosis = {
  id: 'production.not-configured',
  level: 'warning',
  message: 'production.url is not set: no schema from production and no drift check',
  cure: 'set production.url to an account that may SELECT',
};

function productionMissing(connector: ValueSource['connector']): readonly Diagnosis[] {
  const sets = setsToKnow(connector);
  if (sets.length === 0) return [PRODUCTION_MISSING];
  return [
    PRODUCTION_MISSING,
    {
      id: 'production.charsets-unknown',
      level: 'warning',
      message: `events do not tell the character set of a column: texts in ${sets.join(', ')} may arrive altered, and are then written so`,
      cure: 'set production.url, so that they are put back, or refused where that cannot be',
    },
  ];
}

async function guarded(
  id: string,
  check: () => Promise<readonly Diagnosis[]>,
): Promise<readonly Diagnosis[]> {
  try {
    return await check();
  } catch (error) {
    if (!isUnderstudyError(error)) throw error;
    return [failed(id, error)];
  }
}

/** The finding that an error is. */
function failed(id: string, error: UnderstudyError): Diagnosis {
  const { detail } = error.context;
  return {
    id: `${id}.${error.code.toLowerCase().replaceAll('_', '-')}`,
    level: 'error',
    message: detail === undefined ? error.message : `${error.message}: ${detail}`,
    cure: CODES[error.code].cure,
  };
}

async function readSettings(connector: ConnectorParts | null): Promise<Known | null> {
  if (connector === null) return null;
  const settings = await connector.config();
  return { settings, facts: inspectSettings(settings), started: connector.running !== null };
}

function connectorSettings(known: Known | null): ConnectorSettings | null {
  return known?.settings ?? null;
}

function modesOf(parts: DoctorParts, known: Known | null): ValueSource['modes'] {
  return { ...parts.declared.modes, ...known?.facts.modes };
}

function describeIsolation(evidence: IsolationEvidence): readonly Diagnosis[] {
  switch (evidence) {
    case 'production':
      return [ok('shadow.isolation', 'the shadow server is not production (shown by a lock)')];
    case 'connector':
      return [ok('shadow.isolation', 'the connector does not read from the shadow server')];
    case 'none':
      return [
        {
          id: 'shadow.isolation-unproven',
          level: 'warning',
          message: 'nothing shows that the shadow server is not production',
          cure: 'set production.url or source.connect; until then only our marker protects',
        },
      ];
  }
}

async function examineProduction(
  production: ProductionDatabase,
  catalogue: SchemaCatalogue,
  known: Known | null,
  parts: DoctorParts,
): Promise<readonly Diagnosis[]> {
  const tables = [...catalogue.values()]
    .filter(({ id, partitionOf }) => parts.includes(id) && partitionOf === undefined)
    .map(({ id }) => id);
  const stream: StreamFacts | null =
    known === null ? null : { ...known.facts, started: known.started };
  const found = [
    ...(await production.diagnose(tables, stream)),
    ...(known === null ? [] : diagnoseCapture(known.settings, tables)),
  ];
  const columns = tellColumns(parts, known, catalogue);
  const unsummed = found.filter(({ id }) => id !== 'table.ready' && id !== 'tables.ready');
  return [...unsummed, ...describeReady(found, tables, columns)];
}

function tellColumns(
  parts: DoctorParts,
  known: Known | null,
  catalogue: SchemaCatalogue,
): readonly LossyColumn[] {
  const source = sourceOf(parts, known);
  return columnsToTell(source, catalogue, parts.includes, connectorSettings(known));
}

function sourceOf(parts: DoctorParts, known: Known | null): ValueSource {
  return { ...parts.declared, modes: modesOf(parts, known) };
}

/** One line for all tables without a finding, and without a column that stops what follows it. */
function describeReady(
  found: readonly Diagnosis[],
  tables: readonly TableId[],
  columns: readonly LossyColumn[],
): readonly Diagnosis[] {
  const stopping = columns.filter(({ id }) => levelOf(id) === 'error').map(({ table }) => table);
  const named = found.flatMap(({ level, table }) =>
    level === 'ok' || table === undefined ? [] : [table],
  );
  const unready = new Set([...named, ...stopping].map(tableName));
  const ready = tables.filter((table) => !unready.has(tableName(table))).length;
  return tables.length === 0
    ? []
    : [ok('table.ready', `${ready} of ${tables.length} tables are ready`)];
}

async function examineLog(
  parts: DoctorParts,
  known: Known | null,
  applied: TopicFacts['applied'],
  onOrigins: (origins: Origins) => void,
): Promise<readonly Diagnosis[]> {
  const { topicPrefix, connector, registry, consistency } = parts.declared;
  await using source = await parts.source();
  const [ends, starts] = await Promise.all([source.ends(), source.starts()]);
  const findings: Diagnosis[] = [
    ok('log.reachable', `${source.description}: ${ends.size} partitions`),
  ];
  if (consistency === 'transaction') findings.push(...examineTransactionTopic(parts, known, ends));
  if (parts.topics !== null) {
    const historyTopic = known?.settings.get('schema.history.internal.kafka.topic') ?? null;
    const { topics, denied } = await parts.topics.read(
      (topic) => isChangeTopic(topic, topicPrefix) || topic === historyTopic,
    );
    if (denied !== null) findings.push(settingsDenied(denied));
    const facts = { settings: topics, starts, topicPrefix, historyTopic, applied };
    findings.push(...diagnoseTopics(facts));
  }
  const sample = await takeSample(source, starts, ends);
  // Only a connector that reads a slot reads one database.
  const database = known?.settings.get('database.dbname') ?? null;
  const compare: OriginReader['compare'] = (a, b) => parts.origins.compare(a, b);
  const { origins, failure } = await readOrigins(sample, parts.origins, parts.prepare);
  onOrigins(origins);
  if (failure !== null) findings.push(failed('log', failure));
  const expected = { topicPrefix, connector, database, registry, compare };
  findings.push(...diagnoseSample(sample, origins, expected));
  return findings;
}

function settingsDenied(detail: string): Diagnosis {
  return {
    id: 'log.settings-denied',
    level: 'warning',
    message: `compaction and retention of the topics cannot be looked up: ${detail}`,
    cure: 'grant DescribeConfigs on the topics',
  };
}

/** END records have an order only within one partition. */
function examineTransactionTopic(
  parts: DoctorParts,
  known: Known | null,
  ends: OffsetMap,
): readonly Diagnosis[] {
  const name = `${parts.declared.topicPrefix}.transaction`;
  const partitions = [...ends.keys()].filter((key) => parsePartitionKey(key).topic === name).length;
  if (partitions === 1) return [ok('log.transaction-topic', `${name} has one partition`)];
  const cure = 'make the topic anew with one partition (topic.creation.* in the connector)';
  if (partitions > 1) {
    const message = `${name} has ${partitions} partitions; the order of transactions is lost`;
    return [{ id: 'log.transaction-topic-partitions', level: 'error', message, cure }];
  }
  if (known === null) {
    return [
      {
        id: 'log.transaction-topic-missing',
        level: 'warning',
        message: `there is no topic ${name}: source transactions cannot be kept whole`,
        cure: 'set provide.transaction.metadata=true in the connector, or consistency: key',
      },
    ];
  }
  // It comes with the first transaction after the snapshot, as the connector makes it.
  const sends = word(known, 'provide.transaction.metadata') === 'true';
  const made = partitionsMade(known.settings, name);
  if (!sends || made === '1') return [];
  const message = `${name} will be made with ${made ?? 'the broker’s default of'} partitions: with more than one the order of transactions is lost`;
  return [{ id: 'log.transaction-topic-to-come', level: 'warning', message, cure }];
}

/** Partitions with which the connector makes a topic; null for what the broker makes of it. */
function partitionsMade(settings: ConnectorSettings, topic: string): string | null {
  const groups = (settings.get('topic.creation.groups') ?? '').split(',').map((one) => one.trim());
  const group = groups.find((one) =>
    (settings.get(`topic.creation.${one}.include`) ?? '')
      .split(',')
      .some((pattern) => pattern !== '' && matches(pattern.trim(), topic)),
  );
  const made = settings.get(`topic.creation.${group ?? 'default'}.partitions`);
  return made === undefined || made === '-1' ? null : made;
}

function matches(pattern: string, text: string): boolean {
  try {
    return new RegExp(`^(?:${pattern})$`).test(text);
  } catch (error) {
    if (error instanceof SyntaxError) return false;
    throw error;
  }
}

async function examineConnector(
  parts: DoctorParts,
  known: Known | null,
  byColumn: boolean,
): Promise<readonly Diagnosis[]> {
  const { connector, declared } = parts;
  if (connector === null || known === null) return [];
  const contradictions = declared.contradictions(known.facts).map((message) => ({
    id: 'connector.contradiction',
    level: 'error' as const,
    message,
    cure: 'correct the one that is wrong: nothing is read until both agree',
  }));
  const settings = diagnoseConnector(connector.name, known.settings, { byColumn });
  if (known.facts.value === 'avro' && !declared.registry) contradictions.push(REGISTRY_MISSING);
  const { running } = connector;
  if (running === null) return [...contradictions, ...settings];
  const [state, all, flushMs] = await Promise.all([
    running.state(),
    running.all(),
    running.flushIntervalMs === null ? NOT_LOOKED_AT : running.flushIntervalMs(),
  ]);
  return [
    describeState(connector.name, state),
    ...contradictions,
    ...settings,
    ...diagnoseNeighbours(connector.name, all),
    ...diagnoseFlush(connector.name, known.settings, flushMs),
    ...describeAcks(connector.name, known.settings),
  ];
}

const REGISTRY_MISSING = {
  id: 'connector.registry-missing',
  level: 'error' as const,
  message: 'the connector writes Avro, and no schema registry is configured to read it',
  cure: 'set source.schemaRegistry',
};

function describeState(
  name: string,
  state: { readonly connector: string; readonly tasks: readonly { readonly state: string }[] },
): Diagnosis {
  const failed = state.tasks.filter((task) => task.state !== 'RUNNING');
  const running = state.connector === 'RUNNING' && failed.length === 0 && state.tasks.length > 0;
  if (running) return ok('connector.state', `connector ${name} is running`);
  return {
    id: 'connector.not-running',
    level: 'error',
    message: `connector ${name} is ${state.connector}, ${failed.length} of ${state.tasks.length} tasks are not running`,
    cure: 'look at its trace in Kafka Connect and restart it',
  };
}

/** The worker's own settings are not told by Kafka Connect; its default is fit. */
function describeAcks(name: string, settings: ConnectorSettings): readonly Diagnosis[] {
  if (word({ settings }, 'producer.override.acks') !== '') return [];
  const unseen =
    'producer.acks of its worker cannot be asked; it must be all, which is the default';
  return [ok('connector.acks-unseen', `connector ${name}: ${unseen}`)];
}

const NOT_LOOKED_AT = 'not looked at' as const;

/** The worker's offset.flush.interval.ms cannot be asked: only seen. */
function diagnoseFlush(
  name: string,
  settings: ConnectorSettings,
  flushMs: number | null | typeof NOT_LOOKED_AT,
): readonly Diagnosis[] {
  if (word({ settings }, 'exactly.once.support') === 'required') return [];
  const id = 'connector.offset-flush';
  const unseen = `connector ${name}: how often its offset is committed was not seen`;
  if (flushMs === NOT_LOOKED_AT) return [ok(id, `${unseen}: source.offsetsTopic is not set`)];
  if (flushMs === null) return [ok(id, `${unseen}: the offsets topic holds too few commits`)];
  if (flushMs <= LONG_FLUSH_MS) return [];
  const seconds = Math.round(flushMs / 1000);
  return [
    {
      id,
      level: 'warning',
      message: `connector ${name}: its offset is committed every ${seconds} s (seen in the offsets topic): a drift check waits as long, and a crash of the worker sends the changes since then again`,
      cure: 'set offset.flush.interval.ms=5000 in the worker, or exactly.once.support=required',
    },
  ];
}
