/** One process that follows the history into a shadow database, as `understudy run` does it. */
import type { BarrierPlan } from '../../../src/apply/barrier.ts';
import { Follower } from '../../../src/apply/follower.ts';
import { dialectFor } from '../../../src/dialect/registry.ts';
import { isUnderstudyError } from '../../../src/errors/understudy-error.ts';
import { silentLogger } from '../../../src/observability/logger.ts';
import { TransactionAssembler } from '../../../src/order/assembler.ts';
import { BatchBuilder } from '../../../src/order/batch-builder.ts';
import { Holder } from '../../../src/runtime/holder.ts';
import { pollUntil, sleep } from '../../../src/util/wait.ts';
import type { CrashFault, CrashServer } from './engine.ts';
import type { HistoryLog } from './history-log.ts';

/** How a process ended; anything else fails the seed. */
export type Ending =
  /** It applied all there is. */
  | 'caught-up'
  /** Another one holds the database. */
  | 'fenced'
  /** It lost the server before it followed, or was killed. */
  | 'lost';

export interface ApplierOptions {
  readonly server: CrashServer;
  /** The server's address, mostly through a proxy. */
  readonly url: string;
  readonly database: string;
  readonly log: HistoryLog;
  readonly marked: boolean;
  /** A barrier that is armed when so many changes were applied, or null. */
  readonly barrier: { readonly plan: BarrierPlan; readonly afterEvents: number } | null;
  readonly batchEvents: number;
  readonly leaseMs: number;
  readonly signal: AbortSignal;
  readonly name: string;
  /** The real cycle if null. */
  readonly fault: CrashFault | null;
}

const TAKE_OVER_MS = 15_000;

export class CrashApplier {
  readonly ended: Promise<Ending>;
  readonly holding = Promise.withResolvers<void>();
  readonly #options: ApplierOptions;
  readonly #killed = new AbortController();

  constructor(options: ApplierOptions) {
    this.#options = options;
    this.ended = this.#run().finally(() => this.holding.resolve());
    // Whoever waits for it learns of a failure; nobody may wait yet.
    this.ended.catch(() => undefined);
  }

  /** Ends it at the next turn. What it had asked of the server, it has asked. */
  kill(): void {
    this.#killed.abort(new Error('killed'));
  }

  async #run(): Promise<Ending> {
    try {
      return await this.#live();
    } catch (error) {
      if (isUnderstudyError(error, 'FENCED')) return 'fenced';
      if (isUnderstudyError(error, 'SHADOW_UNREACHABLE') || this.#killed.signal.aborted) {
        return 'lost';
      }
      throw error;
    }
  }

  async #live(): Promise<Ending> {
    const { url, database: name, leaseMs, fault } = this.#options;
    await using opened = new Opened();
    const server = opened.add(await dialectFor(url).connectShadow(url, { leaseMs }));
    const database = await server.open(name);
    if (database === null) throw new Error('the database is gone');
    opened.add(database);
    const holder = opened.add(await this.#take(database));
    this.holding.resolve();
    // A process without fence leaves locks that no take-over ends: that seed shows nothing.
    const giveUpAfterMs = fault === null ? 60_000 : 5_000;
    const naive = fault === null ? null : this.#options.server.naive(url, database, fault);
    if (naive !== null) opened.add(naive);
    const { log, marked, batchEvents } = this.#options;
    const catalogue = await database.catalogue();
    const { position, ahead, delivered } = await database.resumePoint();
    const follower = new Follower(
      {
        database: naive ?? database,
        fence: holder.fence,
        source: log,
        decode: (record) => log.decode(record),
        mask: (event) => event,
        assembler: new TransactionAssembler({
          mode: marked ? 'transaction' : 'key',
          isSubscribed: () => true,
          delivered,
        }),
        ahead,
        builder: (at) => new BatchBuilder({ catalogue, position: at }),
        limits: { batchEvents, batchBytes: 1e9, budgetBytes: 1e9, giveUpAfterMs },
        logger: silentLogger,
      },
      position,
    );
    // Who asks nothing does not hear either that it lost the database.
    const isDeaf = fault === 'no-fence';
    const ends = isDeaf ? [] : [holder.lost];
    const stop = AbortSignal.any([...ends, this.#killed.signal, this.#options.signal]);
    stop.addEventListener('abort', () => follower.stop());
    if (stop.aborted) follower.stop();
    const check = this.#check(follower);
    try {
      await follower.run();
    } finally {
      await check;
      if (!isDeaf) holder.throwIfLost();
    }
    return stop.aborted ? 'lost' : 'caught-up';
  }

  /** As a drift check does: what its snapshot does not see waits until the barrier. */
  async #check(follower: Follower): Promise<void> {
    const { barrier } = this.#options;
    if (barrier === null) return;
    await follower.until(() => follower.totals.events >= barrier.afterEvents);
    try {
      await follower.freeze();
      const reached = await follower.runToBarrier(barrier.plan);
      await reached.base[Symbol.asyncDispose]();
    } catch (error) {
      // A check that a lock or a crash is in the way of fails, and nothing else does.
      if (!isUnderstudyError(error)) throw error;
    }
  }

  /** As a stand-by does: tries until the holder is gone or silent. */
  #take(database: Parameters<typeof Holder.take>[0]): Promise<Holder> {
    const { leaseMs, name, signal } = this.#options;
    return pollUntil({
      probe: async () =>
        (await Holder.take(database, name, { leaseMs, logger: silentLogger })) ?? undefined,
      everyMs: 20,
      timeoutMs: TAKE_OVER_MS,
      timeout: () => new Error(`${name} could not take the database over`),
      signal: AbortSignal.any([signal, this.#killed.signal]),
    });
  }
}

/** Closes what was opened, the last first; a server that is not there any more closes nothing. */
class Opened implements AsyncDisposable {
  readonly #parts: AsyncDisposable[] = [];

  add<T extends AsyncDisposable>(part: T): T {
    this.#parts.push(part);
    return part;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const part of this.#parts.toReversed()) {
      const closed = Promise.resolve(part[Symbol.asyncDispose]()).catch(() => undefined);
      await Promise.race([closed, sleep(5_000)]);
    }
  }
}
