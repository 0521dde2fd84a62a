/**
 * A database that this process holds, with everything an act on it may need: the fence, and a
 * running follower (started when first asked for). Used alike by `run`, whose follower always
 * runs, and by single commands that found nobody holding the database.
 */
import type { Follower } from '../apply/follower.ts';
import type { FollowerTotals } from '../apply/follower-state.ts';
import type { ShadowDatabase } from '../dialect/dialect.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import { parsePartitionKey, partitionKey } from '../change/position.ts';
import type { RuntimeContext } from './context.ts';
import { Holder } from './holder.ts';
import { startFollowing, type Running } from './running.ts';
import type { SchemaWatch } from './schema-watch.ts';

export interface StageOptions {
  /** How long a blocked or unreachable shadow is retried before its follower gives up. */
  readonly giveUpAfterMs: number;
  readonly stopping?: AbortSignal;
}

export class Stage {
  readonly context: RuntimeContext;
  readonly holder: Holder;
  readonly giveUpAfterMs: number;
  /** Aborts when the process is to end: acts that take long give up. */
  readonly stopping: AbortSignal;
  /** Source transactions that could not be written whole. */
  readonly apart = new Set<string>();
  /** Partitions that members follow (sharing.ts): a follower started from now on leaves them out. */
  given: ReadonlySet<string> = new Set();
  #running: Promise<Running> | null = null;
  /** Of followers that were stopped. */
  #before: FollowerTotals = { events: 0, rows: 0, transactions: 0, degraded: 0 };
  #closed: Promise<void> | null = null;
  #watch: SchemaWatch | null = null;
  /** What ended following for good. */
  #failure: { readonly error: unknown } | null = null;

  private constructor(context: RuntimeContext, holder: Holder, options: StageOptions) {
    this.context = context;
    this.holder = holder;
    this.giveUpAfterMs = options.giveUpAfterMs;
    this.stopping = options.stopping ?? new AbortController().signal;
  }

  /**
   * Takes the database's fence. Null if another process holds it. On success the stage owns
   * `database` and closes it; else the caller does. TARGET_NOT_OURS if it follows another log.
   */
  static async take(
    context: RuntimeContext,
    database: ShadowDatabase,
    options: StageOptions,
  ): Promise<Stage | null> {
    assertSameSource(database, context.config.source.topicPrefix);
    const holder = await Holder.take(database, context.holder, {
      leaseMs: context.config.apply.leaseSeconds * 1000,
      logger: context.logger,
    });
    if (holder === null) return null;
    // What a holder that died had begun is done anew.
    const control = await context.existingControl();
    await control?.reopenRequests(database.name, context.holder);
    return new Stage(context, holder, options);
  }

  /** True once an act has closed the stage: it can be used no more. */
  get closed(): boolean {
    return this.#closed !== null;
  }

  get database(): ShadowDatabase {
    return this.holder.database;
  }

  /** Asked by followers that start from now on. */
  watchSchema(watch: SchemaWatch): void {
    this.#watch = watch;
  }

  /**
   * The running follower, started at the stored position if there is none yet; with `frozen` it
   * then reads but does not apply until it is told to.
   */
  running(options: { readonly frozen?: boolean } = {}): Promise<Running> {
    // The promise is kept, not its outcome: who asks while it starts must not start another.
    this.#running ??= this.#start(options.frozen ?? false).catch((error: unknown) => {
      this.#running = null;
      throw error;
    });
    return this.#running;
  }

  async #start(frozen: boolean): Promise<Running> {
    const { given } = this;
    const isGiven = (topic: string, partition: number): boolean =>
      given.has(partitionKey(topic, partition));
    const topics = new Set(Array.from(given, (key) => parsePartitionKey(key).topic));
    const running = await startFollowing({
      ...{ context: this.context, writer: this.holder, apart: this.apart, frozen },
      giveUpAfterMs: this.giveUpAfterMs,
      watch: this.#watch,
      split:
        given.size === 0
          ? null
          : {
              owns: (topic, partition) => !isGiven(topic, partition),
              watches: isGiven,
              isWhole: (topic) => !topics.has(topic),
            },
    });
    const stopWhenLost = (): void => {
      running.follower.stop();
    };
    this.holder.lost.addEventListener('abort', stopWhenLost, { once: true });
    if (this.#failure !== null) running.fail(this.#failure.error);
    return running;
  }

  /** Who follows ends with this error, as does who would begin again. Never rejects. */
  async fail(error: unknown): Promise<void> {
    this.#failure = { error };
    (await this.#started())?.fail(error);
  }

  /** What all followers of this stage did so far. */
  totals(running: Follower): FollowerTotals {
    const [a, b] = [this.#before, running.totals];
    return {
      events: a.events + b.events,
      rows: a.rows + b.rows,
      transactions: a.transactions + b.transactions,
      degraded: a.degraded + b.degraded,
    };
  }

  /** Ends the follower, if there is one; the next is started as the first was. Keeps the fence. */
  async stopFollowing(): Promise<void> {
    const running = await this.#started();
    this.#running = null;
    if (running === null) return;
    await running.stop();
    this.#before = this.totals(running.follower);
  }

  /** Runs `act` while no batch is being written, also between the attempts at a blocked one. */
  async betweenWrites<T>(act: () => Promise<T>): Promise<T> {
    const follower = (await this.#started())?.follower;
    return follower === undefined ? await act() : await follower.betweenWrites(act);
  }

  /** What is set aside was changed by an act; to be called in its turn. */
  async forgetDead(): Promise<void> {
    (await this.#started())?.follower.forgetDead();
  }

  /** Null if nothing was started, or if that failed: then who started it knows. */
  async #started(): Promise<Running | null> {
    return (await this.#running?.catch(() => null)) ?? null;
  }

  /** Stops following, gives the fence back, closes every session on the database. Idempotent. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await this.stopFollowing();
    try {
      await this.holder[Symbol.asyncDispose]();
    } finally {
      await this.database[Symbol.asyncDispose]();
    }
  }
}

/** One log's changes must never be written into another one's shadow. */
function assertSameSource(database: ShadowDatabase, topicPrefix: string): void {
  if (database.marker.topicPrefix === topicPrefix) return;
  throw new UnderstudyError(
    'TARGET_NOT_OURS',
    `it follows the topics of '${database.marker.topicPrefix}', not of '${topicPrefix}'`,
    { database: database.name },
  );
}
