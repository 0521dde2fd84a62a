/**
 * Scale-out: the holder of a database gives some of the log's partitions to members, which are further
 * processes of `run` (member.ts). What keeps that exact is in the database: dialect/sharing.ts.
 *
 * One process follows all partitions, as if there were no others, whenever something concerns more than
 * one of them or must not be done by two: a truncate, a key change between two processes' partitions, a
 * request, a change of the schema, rows that are set aside or parked, what cannot be read or written. Whoever meets
 * such a thing stops before it and hands it over; the holder takes back all partitions, which waits for what
 * is being written, goes on alone past that point, and shares again. So what then happens is what happens
 * with one process, from a position that is a prefix of every partition.
 *
 * Tables that cannot be shared (isShareable) are the holder's with all their partitions, beside members.
 *
 * That leaves what others have written before: nobody must be past a truncate that is not carried out.
 * So each process watches the partitions that others follow (watch-others.ts), and holds its own events back
 * until it has seen that no truncate comes before them, as it does with partitions that are its own
 * (order/source-order.ts). It trusts no other process in this.
 */
import type { Follower } from '../apply/follower.ts';
import { isPast } from '../apply/positions.ts';
import { parsePartitionKey, partitionKey, type OffsetMap } from '../change/position.ts';
import { tableName } from '../change/table-id.ts';
import type { Config } from '../config/schema.ts';
import { topicName } from '../decode/forms/topic-tables.ts';
import type { DatabaseKind, ShadowDatabase } from '../dialect/dialect.ts';
import { schemaTargetOf } from '../dialect/evolving.ts';
import { sharingOf, type HandOver, type Member, type Sharing } from '../dialect/sharing.ts';
import { isUnderstudyError } from '../errors/understudy-error.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import { controlTopics, isHeartbeat } from '../source/kafka/topics.ts';
import { sleep } from '../util/wait.ts';
import { isBootstrapPast } from './bootstrap-state.ts';
import { isShareable, NotShareable } from './follow.ts';
import type { Running } from './running.ts';
import { settingsDigest } from './settings-digest.ts';
import type { Stage } from './stage.ts';

/** How often it is looked who would help, and how old the knowledge of partitions may be. */
const LOOK_MS = 200;
const LISTED_MS = 5_000;
/** How often it is looked whether something is to be mended, which costs more. */
const MEND_LOOK_MS = 2_000;
/** Each hand-over within this time doubles how long the holder stays alone after it. */
const MEMORY_MS = 60_000;
const FIRST_REST_MS = 250;
const LONGEST_REST_MS = 30_000;
/**
 * What was before a truncate may reach its partition a little after it, and is known for that by who
 * carried the truncate out: for so long at least, and until all is read that was there by then.
 */
const STRAGGLERS_MS = 2_000;

/**
 * The partitions of a database can be shared by this configuration; null if not. Only the trunk's: in a
 * rollout the candidate's rows and production's meet. `flat` records do not tell their order.
 */
export function sharedBy(
  config: Config,
  database: ShadowDatabase,
  kind: DatabaseKind,
): Sharing | null {
  const { consistency, source } = config;
  const can = consistency === 'key' && source.kafka !== undefined && source.form !== 'flat';
  return can && kind === 'trunk' ? sharingOf(database) : null;
}

/** Where a part has to be passed by one process, after it ended with an error; none if it cannot tell. */
export function pointsOf({ follower }: Running, error: unknown): readonly HandOver[] {
  if (error instanceof NotShareable) return [{ ...error.at, why: 'keyless' }];
  if (isUnderstudyError(error)) {
    const { topic, partition, offset } = error.context;
    if (topic !== undefined && partition !== undefined && offset !== undefined) {
      return [{ topic, partition, offset, why: 'failed' }];
    }
  }
  return unwritten(follower);
}

function unwritten({ consumed, position }: Follower): readonly HandOver[] {
  return [...consumed]
    .filter(([key, next]) => next > (position.offsets.get(key) ?? 0n))
    .map(([key, next]) => ({ ...parsePartitionKey(key), offset: next - 1n, why: 'failed' }));
}

/** Every nth partition is a member's, in turn; the holder has the first, and all that is named in neither. */
function shareOut(
  partitions: readonly string[],
  members: readonly bigint[],
): ReadonlyMap<string, bigint> {
  const shares = new Map<string, bigint>();
  partitions.forEach((key, i) => {
    const member = members[(i % (members.length + 1)) - 1];
    if (member !== undefined) shares.set(key, member);
  });
  return shares;
}

/** What the holder knows and does of it. */
export class SharedWork {
  readonly #stage: Stage;
  readonly #sharing: Sharing;
  readonly #canMend: boolean;
  #given: ReadonlyMap<string, bigint> = new Map();
  #wanted: ReadonlyMap<string, bigint> = new Map();
  #catalogue: SchemaCatalogue | null = null;
  #exact: ReadonlySet<string> | null = null;
  #bootstrapped = false;
  #lookedMs = -Infinity;
  /** What the holder's own part has to pass alone. */
  #own: readonly HandOver[] = [];
  /** Topics that were found to hold what cannot be shared. */
  readonly #whole = new Set<string>();
  /** Why nothing is given away. */
  #alone: string | null = null;
  readonly #settings: string;
  /** Something is set aside, or parked or unknown and can be read from production. */
  #mending: { readonly why: string | null; readonly atMs: number } | null = null;
  #handOversMs: number[] = [];
  #aloneUntilMs = 0;
  /** Where partitions of a truncated table ended after it was emptied. */
  #stragglers: OffsetMap = new Map();

  private constructor(stage: Stage, sharing: Sharing) {
    this.#stage = stage;
    this.#sharing = sharing;
    const { dialect, config } = stage.context;
    const { connect, offsetsTopic } = config.source;
    this.#settings = settingsDigest(config);
    stage.holder.describeMore(() => ({
      settings: this.#settings,
      ...(this.#alone !== null && { alone: this.#alone }),
    }));
    this.#canMend =
      dialect.rereads &&
      config.production !== undefined &&
      (connect !== undefined || offsetsTopic !== undefined);
  }

  /** Null where one process follows all of it. */
  static of(stage: Stage, kind: DatabaseKind): SharedWork | null {
    const sharing = sharedBy(stage.context.config, stage.database, kind);
    return sharing === null ? null : new SharedWork(stage, sharing);
  }

  /** Some partitions are given away. */
  get isShared(): boolean {
    return this.#given.size > 0;
  }

  /** Should others have them than do? Then `regroup` is to be called. */
  async isDue(running: Running): Promise<boolean> {
    const nowMs = performance.now();
    if (nowMs - this.#lookedMs < LOOK_MS) return false;
    this.#lookedMs = nowMs;
    const members = (await this.#sharing.members()).filter(
      ({ gone, note }) => !gone && note?.settings === this.#settings,
    );
    this.#alone = null;
    if (members.length === 0 && !this.isShared) return false;
    this.#alone = await this.#mustBeAlone(running, nowMs);
    const isAlone = this.#alone !== null;
    const partitions = isAlone ? [] : await this.#partitions(running);
    this.#wanted = shareOut(partitions, numbersOf(members));
    if (!isAlone && this.#wanted.size === 0) this.#alone = 'no partition can be given away';
    return !sameShares(this.#wanted, this.#given);
  }

  /** Shares out what is due; nobody's follower runs here afterwards. Errors: FENCED, SHADOW_UNREACHABLE. */
  async regroup(): Promise<void> {
    const { context, database, holder } = this.#stage;
    await this.#stage.stopFollowing();
    [this.#catalogue, this.#exact] = [null, null];
    try {
      this.#given = await this.#sharing.assign(holder.fence, this.#wanted);
      this.#stage.given = new Set(this.#given.keys());
      context.logger.info('partitions are shared out', {
        ...{ database: database.name, given: this.#given.size },
        members: new Set(this.#given.values()).size,
      });
    } catch (error) {
      // A member's batch takes long: nothing is changed, and it is tried again.
      if (!isUnderstudyError(error, 'APPLY_BLOCKED')) throw error;
    }
  }

  /** Takes all partitions back. True if any was given away: then the follower was stopped. */
  async gather(): Promise<boolean> {
    if (!this.isShared) return false;
    const { holder, stopping } = this.#stage;
    // Who is to end need not gather first: whoever takes the fence next takes all back.
    while (this.isShared && !stopping.aborted) {
      this.#wanted = new Map();
      await this.regroup();
      holder.throwIfLost();
      if (this.isShared) await sleep(LOOK_MS, stopping).catch(() => undefined);
    }
    return true;
  }

  /**
   * The holder's own part ended. True if it is to be tried with all partitions: they are gathered.
   * Else the error is what it is without members, too.
   */
  async triesAlone(running: Running, error: unknown): Promise<boolean> {
    const passes = ['FENCED', 'SHADOW_REWOUND', 'SHADOW_UNREACHABLE', 'INTERRUPTED'] as const;
    if (!this.isShared || isUnderstudyError(error, ...passes)) return false;
    if (!isUnderstudyError(error) && !(error instanceof NotShareable)) return false;
    this.#own = pointsOf(running, error);
    this.#rest();
    if (this.#own.length === 0) this.#aloneUntilMs = performance.now() + LONGEST_REST_MS;
    this.#stage.context.logger.warn('a part cannot be followed on alone', { error });
    return this.gather();
  }

  /** Why; null if it need not be. */
  async #mustBeAlone(running: Running, nowMs: number): Promise<string | null> {
    if (await this.#isCopying()) return 'the copy from production is not yet passed';
    const points = await this.#handedOver(running);
    if (points.length > 0) {
      if (this.isShared) {
        this.#tell(points);
        this.#rest();
        return describePoint(points);
      }
      if (!(await this.#passed(running, points))) return describePoint(points);
    }
    if (performance.now() < this.#aloneUntilMs) return 'it had to go on alone a moment ago';
    if (!isPast(running.follower.position.offsets, this.#stragglers, new Map())) {
      return 'rows of before a truncate may still come';
    }
    this.#stragglers = new Map();
    if (this.#mending !== null && nowMs - this.#mending.atMs < MEND_LOOK_MS) {
      if (this.isShared || this.#mending.why !== null) return this.#mending.why;
    }
    const why = await this.#needsOne();
    this.#mending = { why, atMs: nowMs };
    return why;
  }

  /** Why one process has to see all that comes, for longer than a moment; null if none has. */
  async #needsOne(): Promise<string | null> {
    const { database } = this.#stage;
    const { deadLetters, parked, unknown } = await database.progress();
    if (deadLetters > 0) return 'rows are set aside';
    if (this.#canMend && parked + unknown > 0) return 'rows are read again from production';
    const noted = (await schemaTargetOf(database)?.noted()) ?? [];
    return noted.length > 0 ? 'a table is kept that production dropped' : null;
  }

  async #isCopying(): Promise<boolean> {
    this.#bootstrapped ||= await isBootstrapPast(this.#stage.holder);
    return !this.#bootstrapped;
  }

  async #handedOver({ stuck }: Running): Promise<readonly HandOver[]> {
    const place = stuck();
    if (place !== null) this.#own = [{ ...place.at, why: place.why }];
    return [...(await this.#sharing.handOvers()), ...this.#own];
  }

  /** Is everything that was handed over behind us? */
  async #passed({ follower, source }: Running, points: readonly HandOver[]): Promise<boolean> {
    const { offsets } = follower.position;
    const isPast = ({ topic, partition, offset }: HandOver): boolean =>
      (offsets.get(partitionKey(topic, partition)) ?? 0n) > offset;
    for (const { why, topic } of points) if (why === 'keyless') this.#whole.add(topic);
    if (!points.every(isPast)) return false;
    const emptied = new Set(
      points.filter(({ why }) => why === 'truncate').map(({ topic }) => topic),
    );
    if (emptied.size > 0) {
      const [ends, starts] = [await source.ends(), await source.starts()];
      const isOf = (key: string): boolean => emptied.has(parsePartitionKey(key).topic);
      const holds = ([key, end]: readonly [string, bigint]): boolean =>
        isOf(key) && end > (starts.get(key) ?? 0n);
      this.#stragglers = new Map([...this.#stragglers, ...[...ends].filter(holds)]);
    }
    await this.#sharing.passed(this.#stage.holder.fence, points);
    this.#own = [];
    if (emptied.size > 0) {
      this.#aloneUntilMs = Math.max(this.#aloneUntilMs, performance.now() + STRAGGLERS_MS);
    }
    return true;
  }

  #tell(points: readonly HandOver[]): void {
    const [first] = points;
    this.#stage.context.logger.info('one process has to pass this alone', {
      ...{ database: this.#stage.database.name, why: first?.why, topic: first?.topic },
      ...{ partition: first?.partition, offset: first?.offset.toString() },
    });
  }

  /** Who has to gather often loses more by it than members bring. */
  #rest(): void {
    const nowMs = performance.now();
    this.#handOversMs = [...this.#handOversMs.filter((ms) => nowMs - ms < MEMORY_MS), nowMs];
    const rest = FIRST_REST_MS * 2 ** Math.min(this.#handOversMs.length, 10);
    this.#aloneUntilMs = nowMs + Math.min(rest, LONGEST_REST_MS);
  }

  /** Those that may be shared, in order. */
  async #partitions({ source }: Running): Promise<readonly string[]> {
    const { database } = this.#stage;
    this.#catalogue ??= await database.catalogue();
    this.#exact ??= (await database.deadLetters.state()).exact;
    const exact = this.#exact;
    const { topicPrefix } = this.#stage.context.config.source;
    const control = new Set(controlTopics(topicPrefix));
    const whole = new Set(
      [...this.#catalogue.values()]
        .filter((table) => !isShareable(table, exact))
        // What it got under other names has to go before.
        .flatMap(({ id, names = [] }) => [id, ...names.map(({ table }) => table)])
        .map((id) => topicName(`${topicPrefix}.${tableName(id)}`)),
    );
    return [...(await source.ends(LISTED_MS)).keys()]
      .filter((key) => {
        const { topic } = parsePartitionKey(key);
        const isWhole = whole.has(topic) || this.#whole.has(topic);
        return !control.has(topic) && !isHeartbeat(topic) && !isWhole;
      })
      .toSorted();
  }
}

function describePoint([first]: readonly HandOver[]): string {
  if (first === undefined) return '';
  const place = `${partitionKey(first.topic, first.partition)} at ${first.offset}`;
  return `one process has to pass ${WHAT_IS_PASSED[first.why]} in ${place}`;
}

const WHAT_IS_PASSED: Record<HandOver['why'], string> = {
  truncate: 'a truncate',
  'key-change': 'a change of a key',
  order: 'a record whose place is not known',
  keyless: 'a record of a table whose rows may be in any partition',
  failed: 'a record that could not be read or written',
};

function numbersOf(members: readonly Member[]): readonly bigint[] {
  return members.map(({ number }) => number);
}

function sameShares(a: ReadonlyMap<string, bigint>, b: ReadonlyMap<string, bigint>): boolean {
  return a.size === b.size && [...a].every(([key, member]) => b.get(key) === member);
}
