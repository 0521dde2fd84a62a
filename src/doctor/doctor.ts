/**
 * Everything that can be checked before it hurts, each finding with its cure. A part that cannot
 * be reached is a finding, not an exception: the other parts are still looked at.
 */
import type { TableId } from '../change/table-id.ts';
import type { Diagnosis, ProductionDatabase, ShadowServer } from '../dialect/dialect.ts';
import { CODES } from '../errors/codes.ts';
import { isUnderstudyError } from '../errors/understudy-error.ts';
import type { IsolationEvidence } from '../guard/isolation.ts';
import type { ChangeSource } from '../source/change-source.ts';
import { parsePartitionKey } from '../change/position.ts';
import { diagnoseConnector } from './connector-settings.ts';

/** What the doctor may ask. Each part is opened by itself, so that one failure stays one finding. */
export interface DoctorParts {
  readonly shadow: () => Promise<ShadowServer>;
  readonly isolation: () => Promise<IsolationEvidence>;
  readonly production: (() => Promise<ProductionDatabase>) | null;
  readonly source: () => Promise<ChangeSource>;
  readonly connector: {
    readonly name: string;
    config(): Promise<ReadonlyMap<string, string>>;
    state(): Promise<{
      readonly connector: string;
      readonly tasks: readonly { readonly id: number; readonly state: string }[];
    }>;
  } | null;
  readonly topicPrefix: string;
  readonly consistency: 'transaction' | 'key';
  readonly tables: readonly TableId[];
}

export interface DoctorReport {
  readonly findings: readonly Diagnosis[];
  /** True if nothing but `ok` was found. */
  readonly healthy: boolean;
}

export async function examine(parts: DoctorParts): Promise<DoctorReport> {
  const findings: Diagnosis[] = [
    ...(await guarded('shadow', async () => {
      const server = await parts.shadow();
      return [ok('shadow.server', `shadow server ${server.address}: version ${server.version}`)];
    })),
    ...(await guarded('shadow.isolation', async () => describeIsolation(await parts.isolation()))),
    ...(await guarded('production', () => examineProduction(parts))),
    ...(await guarded('log', () => examineLog(parts))),
    ...(await guarded('connector', () => examineConnector(parts))),
  ];
  return { findings, healthy: findings.every((finding) => finding.level === 'ok') };
}

function ok(id: string, message: string): Diagnosis {
  return { id, level: 'ok', message, cure: null };
}

async function guarded(
  id: string,
  check: () => Promise<readonly Diagnosis[]>,
): Promise<readonly Diagnosis[]> {
  try {
    return await check();
  } catch (error) {
    if (!isUnderstudyError(error)) throw error;
    const { detail } = error.context;
    return [
      {
        id: `${id}.${error.code.toLowerCase().replaceAll('_', '-')}`,
        level: 'error',
        message: detail === undefined ? error.message : `${error.message}: ${detail}`,
        cure: CODES[error.code].cure,
      },
    ];
  }
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

async function examineProduction(parts: DoctorParts): Promise<readonly Diagnosis[]> {
  if (parts.production === null) {
    return [
      {
        id: 'production.not-configured',
        level: 'warning',
        message: 'production.url is not set: no schema from production and no drift check',
        cure: 'set production.url to an account that may SELECT',
      },
    ];
  }
  const production = await parts.production();
  return production.diagnose(parts.tables);
}

async function examineLog(parts: DoctorParts): Promise<readonly Diagnosis[]> {
  await using source = await parts.source();
  const ends = await source.ends();
  const findings: Diagnosis[] = [
    ok('log.reachable', `${source.description}: ${ends.size} partitions`),
  ];
  if (parts.consistency === 'transaction') findings.push(...examineTransactionTopic(parts, ends));
  return findings;
}

/** END records have an order only within one partition. */
function examineTransactionTopic(
  parts: DoctorParts,
  ends: ReadonlyMap<string, bigint>,
): readonly Diagnosis[] {
  const name = `${parts.topicPrefix}.transaction`;
  const partitions = [...ends.keys()].filter((key) => parsePartitionKey(key).topic === name).length;
  if (partitions === 1) return [ok('log.transaction-topic', `${name} has one partition`)];
  // It comes with the first transaction after the snapshot; the connector's settings tell whether.
  if (partitions === 0 && parts.connector !== null) return [];
  return [
    partitions === 0
      ? {
          id: 'log.transaction-topic-missing',
          level: 'warning',
          message: `there is no topic ${name}: source transactions cannot be kept whole`,
          cure: 'set provide.transaction.metadata=true in the connector, or consistency: key',
        }
      : {
          id: 'log.transaction-topic-partitions',
          level: 'error',
          message: `${name} has ${partitions} partitions; the order of transactions is lost`,
          cure: 'make the topic anew with one partition (topic.creation.* in the connector)',
        },
  ];
}

async function examineConnector(parts: DoctorParts): Promise<readonly Diagnosis[]> {
  const { connector } = parts;
  if (connector === null) return [];
  const [state, config] = await Promise.all([connector.state(), connector.config()]);
  const failed = state.tasks.filter((task) => task.state !== 'RUNNING');
  const running = state.connector === 'RUNNING' && failed.length === 0 && state.tasks.length > 0;
  return [
    running
      ? ok('connector.state', `connector ${connector.name} is running`)
      : {
          id: 'connector.not-running',
          level: 'error',
          message: `connector ${connector.name} is ${state.connector}, ${failed.length} of ${state.tasks.length} tasks are not running`,
          cure: 'look at its trace in Kafka Connect and restart it',
        },
    ...diagnoseConnector(connector.name, config, { byColumn: false }),
  ];
}
