/**
 * A process that helps with a database which another one holds: it follows the partitions that it is
 * given, and hands over what it cannot do alone. See sharing.ts for who does what.
 *
 * What it believes is checked by every transaction. So whatever goes wrong here ends its part, and it
 * begins anew with what the database says then.
 */
import { parsePartitionKey } from '../change/position.ts';
import type { HolderNote, ShadowDatabase } from '../dialect/dialect.ts';
import { shareFence, type HandOver, type Sharing } from '../dialect/sharing.ts';
import { isUnderstudyError } from '../errors/understudy-error.ts';
import { steadyNow } from '../util/clock.ts';
import { backoffMs, sleep } from '../util/wait.ts';
import type { RuntimeContext } from './context.ts';
import { startFollowing, type Running, type Split } from './running.ts';
import { settingsDigest } from './settings-digest.ts';
import { pointsOf } from './sharing.ts';
import { UnsentColumns } from './unsent-columns.ts';

const LOOK_MS = 100;
/** After a failure that nobody was told of, it offers its help again later. */
const LONGEST_PAUSE_MS = 30_000;
/** How long a broker may be away before who follows better gives back what it was given. */
const CUT_OFF_MS = 10_000;
const WAITING: HolderNote = { state: 'waiting', oldestTransactionMs: null, degraded: 0 };

interface Part {
  readonly running: Running;
  /** Why it ended; null while it runs. */
  failure: unknown;
}

export interface MemberOptions {
  readonly signal: AbortSignal;
  /** Told when it begins to follow something. */
  readonly onShare: () => void;
}

/** Until the database's fence is free, or the signal aborts. Errors: SHADOW_UNREACHABLE. */
export async function help(
  context: RuntimeContext,
  database: ShadowDatabase,
  sharing: Sharing,
  options: MemberOptions,
): Promise<void> {
  await using membership = new Membership(context, database, sharing, options);
  while (!options.signal.aborted) {
    if ((await database.fenceState()).free) return;
    await membership.tend();
    await sleep(LOOK_MS, options.signal).catch(() => undefined);
  }
}

class Membership implements AsyncDisposable {
  readonly #context: RuntimeContext;
  readonly #database: ShadowDatabase;
  readonly #sharing: Sharing;
  readonly #options: MemberOptions;
  readonly #ended = new AbortController();
  readonly #everyMs: number;
  readonly #settings: string;
  #beating: Promise<void> | null = null;
  #number: bigint | null = null;
  /** What it was given when its part began; null if it is to look anew. */
  #grants: ReadonlyMap<string, bigint> | null = null;
  #part: Part | null = null;
  #note: () => HolderNote = () => WAITING;
  readonly #unsent: UnsentColumns;
  #failures = 0;
  #pausedUntilMs = 0;

  constructor(
    context: RuntimeContext,
    database: ShadowDatabase,
    sharing: Sharing,
    options: MemberOptions,
  ) {
    this.#context = context;
    this.#database = database;
    this.#sharing = sharing;
    this.#options = options;
    this.#unsent = new UnsentColumns(context);
    this.#settings = settingsDigest(context.config);
    this.#everyMs = Math.max(100, context.config.apply.leaseSeconds * 200);
  }

  async tend(): Promise<void> {
    if (performance.now() < this.#pausedUntilMs) return;
    const isNew = this.#number === null;
    if (this.#number === null) {
      if (!(await this.#reachesLog())) return;
      this.#number = await this.#sharing.join(this.#context.holder);
      this.#beating ??= this.#beat();
    }
    // Nothing is given to who has not said what it would do.
    const grants = await this.#sharing.visit(this.#number, isNew ? this.#tells() : null);
    if (grants === null) {
      // It was silent for too long, or the server was away.
      await this.#stop();
      this.#number = null;
      return;
    }
    if (this.#isCutOff()) {
      this.#context.logger.warn('the log is away: a part is given back', {
        database: this.#database.name,
      });
      await this.#stop();
      await this.#pause();
      return;
    }
    await this.#handOver();
    if (this.#grants !== null && sameGrants(grants, this.#grants)) return;
    await this.#stop();
    this.#grants = grants;
    if (grants.size > 0) await this.#start(this.#number, grants);
  }

  /** What a sign of life says. */
  #tells(): HolderNote {
    return { ...this.#note(), settings: this.#settings };
  }

  /** Has it been without the log for long, though it may well reach the database? */
  #isCutOff(): boolean {
    const state = this.#part?.running.follower.sourceState;
    return state?.state === 'reconnecting' && steadyNow() - state.since > CUT_OFF_MS;
  }

  /** False, and a pause, if it would be of no help. */
  async #reachesLog(): Promise<boolean> {
    try {
      await using source = await this.#context.openSource();
      await source.ends();
      return true;
    } catch (error) {
      if (!isUnderstudyError(error)) throw error;
      this.#context.logger.debug('the log cannot be read', { error });
      await this.#pause();
      return false;
    }
  }

  /** A part of which something has to be passed by another process; what it has written stays. */
  async #handOver(): Promise<void> {
    const part = this.#part;
    if (part === null) return;
    const { failure, running } = part;
    const stuck = running.stuck();
    if (failure === null && stuck === null) return;
    await this.#stop();
    // The share was taken back, or the database has lost commits: it says what is next.
    if (isUnderstudyError(failure, 'FENCED', 'SHADOW_REWOUND', 'SHADOW_UNREACHABLE')) {
      this.#grants = null;
      return;
    }
    if (await this.#unsent.explains(failure)) {
      this.#grants = null;
      return;
    }
    const points: readonly HandOver[] =
      stuck === null ? pointsOf(running, failure) : [{ ...stuck.at, why: stuck.why }];
    if (failure !== null) {
      this.#context.logger.warn('a part cannot be followed on alone', { error: failure });
    }
    if (points.length > 0) await this.#sharing.handOver(points);
    else await this.#pause();
  }

  async #start(number: bigint, grants: ReadonlyMap<string, bigint>): Promise<void> {
    const { holder: name, logger } = this.#context;
    const fence = shareFence({ number, name }, grants);
    const describe = (note: () => HolderNote): void => {
      this.#note = note;
    };
    try {
      const running = await startFollowing({
        ...{ context: this.#context, split: splitOf(grants), frozen: false, member: true },
        watch: this.#unsent,
        writer: { database: this.#database, fence, describe },
        giveUpAfterMs: Infinity,
        apart: new Set(),
      });
      const part: Part = { running, failure: null };
      this.#part = part;
      running.done.catch((error: unknown) => {
        part.failure = error;
      });
    } catch (error) {
      if (!isUnderstudyError(error) || isUnderstudyError(error, 'SHADOW_UNREACHABLE')) throw error;
      logger.warn('cannot follow a part', { database: this.#database.name, error });
      await this.#pause();
      return;
    }
    this.#failures = 0;
    logger.info('following a part', { database: this.#database.name, partitions: grants.size });
    this.#options.onShare();
  }

  /** Gives everything back for a while. */
  async #pause(): Promise<void> {
    const number = this.#number;
    this.#failures += 1;
    this.#pausedUntilMs = performance.now() + backoffMs(this.#failures, 500, LONGEST_PAUSE_MS);
    [this.#number, this.#grants] = [null, null];
    if (number !== null) await this.#sharing.leave(number);
  }

  async #stop(): Promise<void> {
    const part = this.#part;
    this.#part = null;
    this.#note = () => WAITING;
    await part?.running.stop();
  }

  /** Signs of life, also while a batch takes long. */
  async #beat(): Promise<void> {
    const { signal } = this.#ended;
    while (!signal.aborted) {
      await sleep(this.#everyMs, signal).catch(() => undefined);
      const number = this.#number;
      if (signal.aborted || number === null) continue;
      // As the holder does (holder.ts): a server that stands still ends no connection.
      const giveUp = setTimeout(() => {
        this.#database.breakConnections();
      }, this.#everyMs * 5);
      try {
        await this.#sharing.visit(number, this.#tells());
      } catch (error) {
        this.#context.logger.debug('no sign of life could be written', { error });
      } finally {
        clearTimeout(giveUp);
      }
    }
  }

  /** Leaves, if the server can be told so; else it is found gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop();
    this.#ended.abort();
    await this.#beating;
    const number = this.#number;
    if (number !== null) await this.#sharing.leave(number).catch(() => undefined);
  }
}

/** Of the topics in which it has some partitions, it watches the others. */
function splitOf(grants: ReadonlyMap<string, bigint>): Split {
  const topics = new Map<string, Set<number>>();
  for (const key of grants.keys()) {
    const { topic, partition } = parsePartitionKey(key);
    topics.set(topic, (topics.get(topic) ?? new Set()).add(partition));
  }
  return {
    owns: (topic, partition) => topics.get(topic)?.has(partition) === true,
    watches: (topic, partition) => topics.get(topic)?.has(partition) === false,
    // New partitions of a topic are the holder's.
    isWhole: () => false,
  };
}

function sameGrants(a: ReadonlyMap<string, bigint>, b: ReadonlyMap<string, bigint>): boolean {
  return a.size === b.size && [...a].every(([key, granted]) => b.get(key) === granted);
}
