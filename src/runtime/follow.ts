import { Follower } from '../apply/follower.ts';
import { decodingOf, type FollowerParts } from '../apply/follower-parts.ts';
import { HoldBack } from '../apply/hold-back.ts';
import {
  parsePartitionKey,
  type LogOffset,
  type OffsetMap,
  type Position,
} from '../change/position.ts';
import type { ChangeEvent, DecodedRecord, LogRecord } from '../change/record.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import type { Config } from '../config/schema.ts';
import { connectorNamed } from '../decode/connectors/connectors.ts';
import { topicName } from '../decode/forms/topic-tables.ts';
import { isBefore } from '../decode/table-names.ts';
import type {
  FollowingNote,
  HolderNote,
  ShadowDatabase,
  SnapshotView,
} from '../dialect/dialect.ts';
import type { Logger } from '../observability/logger.ts';
import { TransactionAssembler } from '../order/assembler.ts';
import { barriersOf } from '../order/barriers.ts';
import { SecondDeliveries } from '../order/second-deliveries.ts';
import { BatchBuilder } from '../order/batch-builder.ts';
import { FormerTopics } from '../order/former-topics.ts';
import type { Stuck } from '../order/free-events.ts';
import type { SourceOrderOptions } from '../order/source-order.ts';
import type { SchemaCatalogue, TableSchema } from '../schema/table-schema.ts';
import type { ChangeSource, PartitionFilter } from '../source/change-source.ts';
import { steadyNow } from '../util/clock.ts';
import { readHandOver } from './bootstrap-state.ts';
import { openDecoding } from './decoding.ts';
import type { Holder } from './holder.ts';
import { shapeWatch, type SchemaWatch } from './schema-watch.ts';
import { isTied } from '../order/cascades.ts';
import { readingBack } from './read-back.ts';
import { settleTopicIds } from './topic-ids.ts';
import { watchOthers } from './watch-others.ts';

/** How old the knowledge may be which partitions there are, for who asks for ends many times a second. */
const LISTED_MS = 1_000;

/** Some of the partitions, while other processes follow the rest. */
export interface PartOfLog {
  readonly owns: PartitionFilter;
  /** No partition of the topic is followed by another process. */
  readonly isWhole: (topic: string) => boolean;
  /** Reads of the rest what has to be watched. */
  readonly others: ChangeSource;
}

export interface Following {
  readonly follower: Follower;
  /** Of a part: where it cannot be followed on alone; null if nowhere. */
  readonly stuck: () => Stuck | null;
  /** Of a part: must run beside the follower. Rejects if that must end. */
  readonly watch: ((signal: AbortSignal) => Promise<void>) | null;
}

/** A change of a table whose rows may be in any partition. */
export class NotShareable extends Error {
  readonly at: LogOffset;

  constructor(at: LogOffset) {
    super('a change of a table that one process has to follow');
    this.at = at;
  }
}

/**
 * Builds the follower of a database that this process may write to: the whole way of the data. Of a
 * part, nothing is set aside: what cannot be read or written ends it, and NotShareable does.
 */
export async function createFollower(parts: {
  readonly config: Config;
  readonly holder: Pick<Holder, 'database' | 'fence' | 'describe'>;
  readonly source: ChangeSource;
  /** Another one of the same log, for what has to be read again. */
  readonly openSource: () => Promise<ChangeSource>;
  /** Null: all partitions. */
  readonly part: PartOfLog | null;
  /** Ids of the topics that positions are of; null lets them be kept here, by a holder. */
  readonly topicIds: ReadonlyMap<string, string> | null;
  readonly includes: (table: TableId) => boolean;
  readonly logger: Logger;
  readonly snapshotView: (snapshot: string) => SnapshotView;
  /** How long a blocked or unreachable shadow is retried before giving up. */
  readonly giveUpAfterMs: number;
  /** Null where no change of production's schema is followed. */
  readonly watch: SchemaWatch | null;
  /** Source transactions that are not written in parts that are committed together. */
  readonly apart: ReadonlySet<string>;
}): Promise<Following> {
  const { config, holder, part } = parts;
  const [catalogue, resume] = await Promise.all([
    holder.database.catalogue(),
    holder.database.resumePoint(),
  ]);
  const { snapshotView } = parts;
  const { offsets } = resume.position;
  const handOver = await readHandOver(holder, { catalogue, offsets, snapshotView });
  const at = { source: parts.source, offsets };
  const topicIds = parts.topicIds ?? (await settleTopicIds(holder.database, holder.fence, at));
  const { deadLetters } = holder.database;
  const maxDead = part === null ? config.deadLetters.max : 0;
  const { watch } = parts;
  const decoding = openDecoding({
    ...{ ...parts, catalogue, setsAside: maxDead > 0 },
    ...{ held: watch?.held, heldUnder: watch?.heldUnder, isGone: watch?.isGone },
    isOld: watch?.isOld,
    watch: watch === null ? undefined : shapeWatch(catalogue, watch, config.source.modes.names),
  });
  const { prepare, mask } = decoding;
  const byKey = config.consistency === 'key';
  const exact = byKey || part !== null ? (await deadLetters.state()).exact : null;
  const decode = (record: LogRecord): DecodedRecord => {
    const decoded = decoding.decode(record);
    if (exact !== null && part !== null && !part.isWhole(record.topic)) {
      assertShareable(decoded, catalogue, exact);
    }
    return decoded;
  };
  const former = formerTopics(catalogue, offsets, parts);
  const order = sourceOrder(config, parts.source, resume.position);
  const spread = byKey && exact !== null ? barriersOf(catalogue, exact) : undefined;
  const { compareInLog } = connectorNamed(config.source.connector);
  const seconds =
    spread && new SecondDeliveries({ compareInLog, ...spread }, [...resume.delivered]);
  const screened = (record: DecodedRecord): DecodedRecord => {
    const left = handOver?.screen(record) ?? record;
    if (left !== record && record.kind === 'change') seconds?.skipped(record);
    return left;
  };
  const group = `understudy.${holder.database.name}`;
  const named = new Set([...catalogue.values()].flatMap(namesOf));
  const assembler = new TransactionAssembler({
    mode: config.consistency,
    isSubscribed: (collection) =>
      isSubscribed(collection, parts.includes) &&
      (watch?.isGone(collection) !== true || named.has(collection) || catalogue.has(collection)),
    stallLimitMs: config.apply.stallLimitSeconds * 1000,
    // A clock that is set must not make a transaction look as if its rest would never come.
    now: steadyNow,
    sourceOrder: order && { ...order, ...(spread && { isBarrier: spread.isBarrier }) },
    seconds,
    former,
    delivered: resume.delivered,
    ...{ pairs: true, isShared: part !== null },
  });
  const cascades = config.consistency === 'transaction';
  const follower = new Follower(
    {
      database: holder.database,
      fence: holder.fence,
      source: parts.source,
      ...heldBack(prepare, config, holder.database),
      decode: (record) => screened(decode(record)),
      mask,
      assembler,
      ...(handOver !== null && { trim: (release) => handOver.trim(release) }),
      ...(order !== undefined && {
        rowsAfter: readingBack({
          ...{ openSource: parts.openSource, isBefore: order.isBefore },
          stream: { budgetBytes: config.apply.budgetBytes, group },
          decode: async (record, signal) => {
            const reading = { ...(prepare !== null && { prepare }), decode, mask };
            const own = decodingOf(reading, signal, () => undefined);
            await own.prepare(record);
            return own.decode(record);
          },
          // What a copy has, or foreign keys did unseen, the log does not tell.
          isTold: ({ table }, until) =>
            handOver?.isDone(until) !== false && !isTied(tableName(table), catalogue),
        }),
      }),
      ...{ ahead: resume.ahead, apart: parts.apart, topicIds },
      builder: (position) => new BatchBuilder({ catalogue, position, cascades }),
      dead: {
        ...{ box: deadLetters, catalogue, max: maxDead, cascades },
        ...(watch !== null && { explain: watch.explain }),
      },
      limits: {
        batchEvents: config.apply.batchEvents,
        batchBytes: config.apply.batchBytes,
        budgetBytes: config.apply.budgetBytes,
        giveUpAfterMs: parts.giveUpAfterMs,
      },
      logger: parts.logger,
    },
    part === null ? resume.position : { ...resume.position, offsets: owned(offsets, part.owns) },
  );
  holder.describe(() => noteOf(follower));
  const watching = {
    ...{ from: offsets, group, decoding },
    onRead: (key: string, events: readonly ChangeEvent[], next: bigint) => {
      assembler.watched(key, events, next);
    },
  };
  return {
    follower,
    stuck: () => assembler.stuck,
    watch:
      part === null ? null : (signal) => watchOthers({ ...watching, source: part.others }, signal),
  };
}

/** A rollout's records wait until its candidate has seen the mirrored requests: see HoldBack. */
function heldBack(
  prepare: NonNullable<FollowerParts['prepare']> | null,
  { overlay }: Config,
  { marker }: Pick<ShadowDatabase, 'marker'>,
): Pick<FollowerParts, 'prepare'> {
  const delayMs = overlay.applyDelaySeconds * 1000;
  if (marker.kind !== 'rollout' || delayMs === 0) return prepare === null ? {} : { prepare };
  const holdBack = new HoldBack(delayMs);
  return {
    prepare: (record, options) => {
      const wait = holdBack.wait(record.timestampMs, options.signal);
      if (wait === null) return prepare?.(record, options) ?? null;
      return wait.then(() => prepare?.(record, options) ?? undefined);
    },
  };
}

/** Names that records of the table may have beside its own. */
function namesOf({ names = [] }: TableSchema): readonly string[] {
  return names.map(({ table }) => tableName(table));
}

/** Undefined where no table had another name. */
function formerTopics(
  catalogue: SchemaCatalogue,
  from: OffsetMap,
  { config, source }: { readonly config: Config; readonly source: ChangeSource },
): FormerTopics | undefined {
  const tables = [...catalogue].filter(([, table]) => table.names !== undefined);
  if (tables.length === 0) return undefined;
  const { connector, topicPrefix } = config.source;
  const topics = tables.map(
    ([label, { names = [] }]) =>
      [
        label,
        names.map(({ table, until }) => ({
          ...{ topic: topicName(`${topicPrefix}.${tableName(table)}`), until },
        })),
      ] as const,
  );
  const named = connectorNamed(connector);
  return new FormerTopics({
    ...{ topics: new Map(topics), from, now: steadyNow },
    isBefore: (place, until) => isBefore(named, place, until),
    ends: async (topic) => {
      const [ends, starts] = await Promise.all([source.ends(), source.starts()]);
      const isLeft = ([key, end]: readonly [string, bigint]): boolean =>
        parsePartitionKey(key).topic === topic && end > (starts.get(key) ?? 0n);
      return new Map([...ends].filter(isLeft));
    },
  });
}

function owned(offsets: OffsetMap, owns: PartitionFilter): OffsetMap {
  const mine = [...offsets].filter(([key]) => {
    const { topic, partition } = parsePartitionKey(key);
    return owns(topic, partition);
  });
  return new Map(mine);
}

/**
 * Rows of a table without key, or of one of a table's partitions, are in no partition of their own. Nor
 * is a row whose key can be spelled in several ways, which are in several partitions: only of `exact`
 * tables (by `tableName()`) is that not so.
 */
export function isShareable(table: TableSchema, exact: ReadonlySet<string>): boolean {
  // What has come under several names is in several topics, too.
  const { id, names, partitionOf } = table;
  return partitionOf === undefined && names === undefined && exact.has(tableName(id));
}

function assertShareable(
  decoded: DecodedRecord,
  catalogue: SchemaCatalogue,
  exact: ReadonlySet<string>,
): void {
  if (decoded.kind !== 'change') return;
  const table = catalogue.get(tableName(decoded.table));
  if (table !== undefined && !isShareable(table, exact)) throw new NotShareable(decoded.at);
}

/** How truncates without a transaction find their place; undefined where the form has none. */
function sourceOrder(
  config: Config,
  source: ChangeSource,
  { offsets: from, source: applied }: Position,
): SourceOrderOptions | undefined {
  const { connector: name, form } = config.source;
  if (form === 'flat') return undefined;
  const connector = connectorNamed(name);
  let starts: OffsetMap = new Map();
  let startsAtMs = -Infinity;
  return {
    isBefore: (a, b) => connector.compare(a, b) === 'before',
    ends: async () => {
      // Asked many times a second; what is deleted is deleted seldom.
      if (performance.now() - startsAtMs > LISTED_MS) {
        startsAtMs = performance.now();
        starts = await source.starts();
      }
      const held = new Map<string, bigint>();
      for (const [key, end] of await source.ends(LISTED_MS)) {
        held.set(key, end > (starts.get(key) ?? 0n) ? end : 0n);
      }
      return held;
    },
    ...{ from, goesOn: applied !== null },
    transactionsToo: !connector.truncatesAreMarked,
  };
}

/** Debezium names collections `schema.table`; message collections have names of their own. */
function isSubscribed(collection: string, includes: (table: TableId) => boolean): boolean {
  const dot = collection.indexOf('.');
  if (dot < 0) return false;
  return includes({ schema: collection.slice(0, dot), name: collection.slice(dot + 1) });
}

function noteOf(follower: Follower): HolderNote {
  const { pulse } = follower;
  const held = follower.held();
  return {
    state: stateOf(follower),
    oldestTransactionMs:
      held.oldestEventTimeMs === null
        ? ageOf(held.oldestSinceMs, steadyNow())
        : ageOf(held.oldestEventTimeMs, Date.now()),
    degraded: follower.totals.degraded,
    following: {
      trouble: troubleOf(follower),
      silentMs: Math.round(pulse.silentMs),
      heartbeatMs: pulse.heartbeatMs === null ? null : Math.round(pulse.heartbeatMs),
      heartbeatEveryMs: pulse.heartbeatEveryMs,
      unwrittenMs: Math.round(pulse.unwrittenMs),
      waitsFor: held.oldestTransaction,
    },
  };
}

function stateOf({ state, sourceState }: Follower): string {
  if (state.kind === 'retrying') return `retrying ${state.error.code}`;
  if (sourceState.state === 'reconnecting') return 'reconnecting';
  return state.kind === 'stopped' ? 'log ended' : state.kind;
}

function troubleOf({ state, sourceState }: Follower): FollowingNote['trouble'] {
  const since = (epochMs: number): number => Math.round(steadyNow() - epochMs);
  if (state.kind === 'retrying') {
    return { what: state.error.describe(), sinceMs: since(state.sinceMs) };
  }
  if (sourceState.state !== 'reconnecting') return null;
  const what = `the event log cannot be read: ${sourceState.detail ?? 'no connection'}`;
  return { what, sinceMs: since(sourceState.since) };
}

/** Since production committed it; two clocks may disagree, but nothing is younger than now. */
function ageOf(epochMs: number | null, nowMs: number): number | null {
  return epochMs === null ? null : Math.max(0, Math.round(nowMs - epochMs));
}
