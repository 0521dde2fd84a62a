/**
 * Holding a database: the fence, with a sign of life every fifth of the lease. When the fence is
 * lost, `lost` aborts with why and whatever runs under it stops.
 */
import type { Fence, HolderNote, ShadowDatabase } from '../dialect/dialect.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import type { Logger } from '../observability/logger.ts';
import { sleep } from '../util/wait.ts';

export class Holder implements AsyncDisposable {
  readonly database: ShadowDatabase;
  readonly fence: Fence;
  /** Aborts with FENCED when another holder took over, SHADOW_REWOUND when the take-over is lost. */
  readonly lost: AbortSignal;
  readonly #lost = new AbortController();
  readonly #ended = new AbortController();
  readonly #logger: Logger;
  readonly #everyMs: number;
  readonly #leaseMs: number;
  #note: () => HolderNote;
  #more: () => Partial<HolderNote> = () => ({});
  #beating: Promise<void> = Promise.resolve();

  private constructor(
    database: ShadowDatabase,
    fence: Fence,
    options: { readonly leaseMs: number; readonly logger: Logger },
  ) {
    this.database = database;
    this.fence = fence;
    this.lost = this.#lost.signal;
    this.#logger = options.logger;
    this.#everyMs = Math.max(100, options.leaseMs / 5);
    this.#leaseMs = options.leaseMs;
    this.#note = () => ({ state: 'holding', oldestTransactionMs: null, degraded: 0 });
  }

  /** Takes the fence if it is free; null if another process holds it. */
  static async take(
    database: ShadowDatabase,
    holder: string,
    options: { readonly leaseMs: number; readonly logger: Logger },
  ): Promise<Holder | null> {
    const fence = await database.takeFence(holder);
    if (fence === null) return null;
    const taken = new Holder(database, fence, options);
    taken.#beating = taken.#beat();
    return taken;
  }

  /** What the signs of life say from now on. */
  describe(note: () => HolderNote): void {
    this.#note = note;
  }

  /** And beside that, whatever they say. */
  describeMore(more: () => Partial<HolderNote>): void {
    this.#more = more;
  }

  async #beat(): Promise<void> {
    while (!this.#ended.signal.aborted) {
      try {
        await sleep(this.#everyMs, this.#ended.signal);
      } catch {
        return; // released
      }
      try {
        await this.#renew();
      } catch (error) {
        if (isUnderstudyError(error, 'FENCED', 'SHADOW_REWOUND')) {
          this.#lost.abort(error);
          return;
        }
        // A server that is away for a moment: the fence decides when it is back.
        this.#logger.warn('no sign of life could be written', {
          database: this.database.name,
          error,
        });
      }
    }
  }

  /**
   * A server that stands still, or a network that swallows packets, ends no connection. After a
   * lease without an answer a stand-by may take over anyway: then all is tried over new ones.
   */
  async #renew(): Promise<void> {
    const giveUp = setTimeout(() => {
      this.#logger.warn('the shadow server does not answer, connecting again', {
        ...{ database: this.database.name, withinMs: this.#leaseMs },
      });
      this.database.breakConnections();
    }, this.#leaseMs);
    try {
      await this.database.renewFence(this.fence, { ...this.#note(), ...this.#more() });
    } finally {
      clearTimeout(giveUp);
    }
  }

  throwIfLost(): void {
    if (!this.lost.aborted) return;
    const reason: unknown = this.lost.reason;
    throw reason instanceof UnderstudyError
      ? reason
      : new UnderstudyError('FENCED', 'the fence was lost', { database: this.database.name });
  }

  /** Gives the fence back; the database stays open. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort();
    await this.#beating;
    if (!this.lost.aborted) await this.database.releaseFence(this.fence);
  }
}
