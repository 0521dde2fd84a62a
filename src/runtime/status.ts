/** `understudy status`: what every database of ours has reached, and by which guarantee. */
import { tableName } from '../change/table-id.ts';
import { parsePartitionKey, type OffsetMap } from '../change/position.ts';
import { formLimits } from '../decode/forms/limits.ts';
import type { BootstrapState } from '../dialect/copying.ts';
import type { DatabaseKind, FenceState, HolderNote, ShadowDatabase } from '../dialect/dialect.ts';
import { possiblyOursOf, type PossiblyOurs } from '../dialect/possibly-ours.ts';
import { sharingOf } from '../dialect/sharing.ts';
import { isUnderstudyError } from '../errors/understudy-error.ts';
import type { ConnectorState } from '../source/connect/connect-client.ts';
import { isHeartbeat } from '../source/kafka/topics.ts';
import { activityOf, type Activity } from './activity.ts';
import { bootstrapOf } from './bootstrap-state.ts';
import type { RuntimeContext } from './context.ts';
import { askConnector, type AskedSource } from './inspected-source.ts';
import { readHeld } from './held-tables.ts';
import { lossyIn, type LossySetting } from './lossy.ts';
import { countRecords, describeOffsets } from './materialize.ts';
import { readAlarms, type RolloutAlarms } from './rollout-alarms.ts';
import { readWaiting, type WaitingStatus } from './waiting-keys.ts';

export interface DatabaseStatus {
  readonly name: string;
  readonly database: string;
  readonly kind: DatabaseKind;
  /** `stopped` or `failed` if nobody follows it; else what its holder says. */
  readonly state: string;
  readonly holder: string | null;
  /** Other processes that offer to share it, and what each has; the rest is the holder's. */
  readonly members: readonly MemberStatus[];
  /** Why its holder gives nothing to them; null if it does, or there is none. */
  readonly alone: string | null;
  /** Whether it gets on, is idle, or is stalled, and by what. */
  readonly activity: Activity;
  readonly position: {
    readonly offsets: Readonly<Record<string, string>>;
    readonly source: unknown;
  };
  readonly lag: {
    /** Records in the log that are not applied; null if the log cannot be reached. */
    readonly offsets: number | null;
    /** Age of the last applied change while there is something left to apply, else 0. */
    readonly eventTimeMs: number | null;
    /** Age of the oldest source transaction read but not applied, as its holder says. */
    readonly oldestTransactionMs: number | null;
  };
  readonly guarantee: 'transaction' | 'key';
  /** Why the guarantee is weaker than configured; null if it is not. */
  readonly degraded: string | null;
  /** How the copy stands that it is filled with; null if it is not, or that lies behind. */
  readonly bootstrap: BootstrapStatus | null;
  /** Keys whose changes could not be written yet: `waiting.keys`, and those among `gaps`. */
  readonly parked: number;
  /** Keys that a transaction of the candidate holds; production's image is exact for them. */
  readonly waiting: WaitingStatus;
  /** Errors that its candidate got, and that production may not have given; null where none are counted. */
  readonly possiblyOurs: PossiblyOurs | null;
  /** Keys that are set aside. */
  readonly deadLetters: number;
  /** Age of the oldest dead letter, by the shadow server's clock; null if there is none. */
  readonly oldestDeadLetterMs: number | null;
  /** Tables whose changes wait, because production's schema was changed: see `schema accept`. */
  readonly held: readonly {
    readonly table: string;
    readonly why: string;
    readonly ageMs: number;
    readonly queued: number;
  }[];
  /** Tables that are kept though production dropped them: `schema accept` drops them. */
  readonly kept: readonly { readonly table: string; readonly ageMs: number }[];
  /** Rows of theirs that a rollout's production views leave out, since they are not known. */
  readonly hidden: number;
  readonly unknown: number;
  /** What is unknown, by table and column; without column, rows that are parked. */
  readonly gaps: readonly {
    readonly table: string;
    readonly column: string | null;
    readonly entries: number;
    /** Age of the oldest, by the shadow server's clock. */
    readonly oldestMs: number;
  }[];
  /** How the gaps can be closed; null if there are none. */
  readonly gapsCure: string | null;
  /** Of a rollout: what makes its findings doubtful. */
  readonly alarms: RolloutAlarms;
}

export interface MemberStatus {
  readonly name: string;
  /** What it says of itself; `gone` if it gave no sign of life for long. */
  readonly state: string;
  /** `topic/partition` of all that it was given. */
  readonly partitions: readonly string[];
}

export interface BootstrapStatus {
  /** `handing-over`: all rows are in; the log is not yet read to where the copy ended. */
  readonly phase: 'copying' | 'handing-over';
  readonly startedAt: string;
  readonly tables: number;
  readonly tablesDone: number;
  readonly rows: number;
  /** On production's disk, about. */
  readonly bytes: number;
  readonly bytesDone: number;
}

export interface StatusReport {
  readonly databases: readonly DatabaseStatus[];
  /** What the form of the records leaves out of production's changes, one sentence each. */
  readonly limits: readonly string[];
  /** Columns whose values the connector, as it is set, does not send exactly, with the cure. */
  readonly lossy: readonly LossySetting[];
  /** Null if the event log answered. */
  readonly logError: string | null;
  /** The connector's and its tasks' states, by Kafka Connect; null if that was not asked or is away. */
  readonly connector: ConnectorState | null;
}

/** Reads; writes nothing and takes no fence. */
export async function readStatus(context: RuntimeContext): Promise<StatusReport> {
  const [log, connector] = await Promise.all([readLog(context), connectorState(context)]);
  const databases: DatabaseStatus[] = [];
  const trunk = context.config.trunk.name;
  const names = [{ name: trunk, database: trunk, failed: false }];
  const control = await context.existingControl();
  for (const row of (await control?.rollouts()) ?? []) {
    names.push({ name: row.name, database: row.database, failed: row.state === 'failed' });
  }
  for (const { name, database, failed } of names) {
    const opened = await context.server.open(database);
    if (opened === null) continue;
    try {
      const status = await statusOf(context, name, opened, log, connector);
      databases.push(failed && status.holder === null ? { ...status, state: 'failed' } : status);
    } finally {
      await opened[Symbol.asyncDispose]();
    }
  }
  const { config, connect, logger } = context;
  const asked = await askConnector(config, connect, logger);
  const { form, modes } = asked.source;
  return {
    databases,
    lossy: await lossyInTrunk(context, asked),
    limits: formLimits(form, modes.deletes ?? null).map(({ text }) => text),
    logError: 'error' in log ? log.error : null,
    connector,
  };
}

async function lossyInTrunk(
  context: RuntimeContext,
  asked: AskedSource,
): Promise<StatusReport['lossy']> {
  const trunk = await context.server.open(context.config.trunk.name);
  if (trunk === null) return [];
  await using database = trunk;
  return lossyIn(asked, await database.catalogue(), context.includes);
}

interface Offsets {
  readonly ends: OffsetMap;
  readonly starts: OffsetMap;
}

type Log = Offsets | { readonly error: string };

async function readLog(context: RuntimeContext): Promise<Log> {
  try {
    await using source = await context.openSource();
    return { ends: await source.ends(), starts: await source.starts() };
  } catch (error) {
    // A log that is away hides no state; a wrong configuration of it is an error like elsewhere.
    if (!isUnderstudyError(error) || error.exit !== 4) throw error;
    return { error: error.describe() };
  }
}

async function connectorState({ connect, logger }: RuntimeContext): Promise<ConnectorState | null> {
  try {
    return (await connect?.state()) ?? null;
  } catch (error) {
    if (!isUnderstudyError(error, 'CONNECT_UNREACHABLE', 'CONNECTOR_MISSING')) throw error;
    logger.debug('the connector’s state is not known', { error });
    return null;
  }
}

/** What keeps the connector from sending; null if nothing is known to. */
function connectorTrouble(state: ConnectorState | null): string | null {
  if (state === null) return null;
  const { connector, tasks } = state;
  if (connector !== 'RUNNING') return `the connector is ${connector}: see it in Kafka Connect`;
  const bad = tasks.find((task) => task.state !== 'RUNNING');
  if (bad !== undefined)
    return `the connector’s task ${bad.id} is ${bad.state}: restart it in Kafka Connect`;
  return tasks.length === 0 ? 'the connector has no task: see it in Kafka Connect' : null;
}

/** Records that say something of production's rows: not the connector's signs of life. */
function countBehind({ ends, starts }: Offsets, applied: OffsetMap): number {
  const rows = new Map([...ends].filter(([key]) => !isHeartbeat(parsePartitionKey(key).topic)));
  const { total, done } = countRecords(rows, starts, new Map(), applied);
  return total - done;
}

function hasHeartbeats({ ends }: Offsets): boolean {
  return [...ends].some(([key, end]) => end > 0n && isHeartbeat(parsePartitionKey(key).topic));
}

/** Processes with other settings than the holder's are given nothing. */
function isOfOtherSettings(note: HolderNote | null, holder: HolderNote | null): boolean {
  const [a, b] = [note?.settings, holder?.settings];
  return a !== undefined && b !== undefined && a !== b;
}

async function statusOf(
  context: RuntimeContext,
  name: string,
  database: ShadowDatabase,
  log: Log,
  connector: ConnectorState | null,
): Promise<DatabaseStatus> {
  const [fence, members, progress, gaps, bootstrap, letters, waiting, ours] = await Promise.all([
    database.fenceState(),
    sharingOf(database)?.members() ?? [],
    database.progress(),
    database.gapCounts(),
    bootstrapOf(database),
    database.deadLetters.list(),
    readWaiting(database),
    possiblyOursOf(database),
  ]);
  const { held, kept } = await readHeld(database, letters);
  const { offsets, source, eventTimeMs } = progress.position;
  const behind = 'error' in log ? null : countRecords(log.ends, log.starts, new Map(), offsets);
  const missing = behind === null ? null : behind.total - behind.done;
  const degraded = fence.note?.degraded ?? 0;
  return {
    name,
    database: database.name,
    kind: database.marker.kind,
    state: describeState(fence, bootstrap),
    holder: fence.free ? null : fence.holder,
    members: members.map(({ name: member, gone, note, partitions }) => ({
      ...{ name: member, partitions },
      state: gone
        ? 'gone'
        : isOfOtherSettings(note, fence.note)
          ? 'other settings'
          : (note?.state ?? 'waiting'),
    })),
    alone: members.length === 0 ? null : (fence.note?.alone ?? null),
    activity: activityOf({
      ...{ fence, leaseMs: context.config.apply.leaseSeconds * 1000 },
      behind: 'error' in log ? null : countBehind(log, offsets),
      heartbeats: !('error' in log) && hasHeartbeats(log),
      connector: connectorTrouble(connector),
    }),
    position: { offsets: describeOffsets(offsets), source: describeSource(source) },
    lag: {
      offsets: missing,
      eventTimeMs:
        missing === 0 ? 0 : eventTimeMs === null ? null : Math.max(0, Date.now() - eventTimeMs),
      oldestTransactionMs: fence.free ? null : (fence.note?.oldestTransactionMs ?? null),
    },
    guarantee: progress.unmarked === 0 ? context.config.consistency : 'key',
    degraded: describeDegradation(context, progress.unmarked === 0, degraded),
    bootstrap: bootstrap === null ? null : describeBootstrap(bootstrap),
    parked: progress.parked + waiting.keys,
    ...{ waiting, possiblyOurs: ours },
    deadLetters: progress.deadLetters,
    oldestDeadLetterMs: letters[0]?.ageMs ?? null,
    held: held.map((one) => ({ ...one, table: tableName(one.table) })),
    kept: kept.map((one) => ({ ...one, table: tableName(one.table) })),
    hidden: letters.reduce((sum, letter) => sum + letter.hidden, 0),
    unknown: progress.unknown,
    gaps: gaps.map((gap) => ({ ...gap, table: tableName(gap.table) })),
    gapsCure: gaps.length === 0 ? null : gapsCure(context),
    alarms: await readAlarms(database),
  };
}

function gapsCure(context: RuntimeContext): string {
  if (!context.dialect.rereads)
    return 'an event brings each of these rows whole, when it is changed';
  const { production, source } = context.config;
  const read =
    production !== undefined && (source.connect !== undefined || source.offsetsTopic !== undefined)
      ? 'they are read from production while `understudy run` follows, or at the end of `materialize`'
      : 'configure production.url and source.connect to have them read from production, or send a ' +
        'Debezium incremental-snapshot signal for the table';
  return `${read}; ALTER TABLE … REPLICA IDENTITY FULL in production prevents new ones`;
}

function describeState(fence: FenceState, bootstrap: BootstrapState | null): string {
  if (fence.free) return bootstrap === null ? 'stopped' : 'stopped bootstrapping';
  const said = fence.note?.state ?? 'holding';
  return bootstrap !== null && said === 'following' ? 'bootstrapping: handing-over' : said;
}

function describeBootstrap(state: BootstrapState): BootstrapStatus {
  const sum = (of: (table: BootstrapState['tables'][number]) => number): number =>
    state.tables.reduce((total, table) => total + of(table), 0);
  return {
    phase: state.ends === null ? 'copying' : 'handing-over',
    startedAt: state.startedAt.toISOString(),
    tables: state.tables.length,
    tablesDone: state.tables.filter((table) => table.done).length,
    rows: sum((table) => table.rows),
    bytes: sum((table) => table.bytes),
    bytesDone: sum((table) => table.bytesDone),
  };
}

function describeDegradation(
  context: RuntimeContext,
  transactional: boolean,
  degraded: number,
): string | null {
  if (degraded > 0) return `${degraded} source transactions were applied in parts`;
  if (context.config.consistency === 'transaction' && !transactional) {
    return 'the connector sends no transaction metadata (provide.transaction.metadata)';
  }
  return null;
}

function describeSource(source: unknown): unknown {
  return JSON.parse(
    JSON.stringify(source, (_, item: unknown) => (typeof item === 'bigint' ? String(item) : item)),
  ) as unknown;
}
