/**
 * A point at which the shadow equals a production snapshot, reached by applying what the
 * snapshot saw and holding back what it did not (pin-proofs: visible first and deferred later
 * commute with log order).
 *
 * Invariant: while a change is deferred, the stored position does not move, so that a crash
 * replays from before the first deferred change and ends in log order.
 */
import type { ChangeEvent } from '../change/record.ts';
import type { OffsetMap } from '../change/position.ts';
import type { Release } from '../order/assembler.ts';

export interface BarrierPlan {
  /** Whether the pinned snapshot contains the change. */
  readonly visible: (change: ChangeEvent) => boolean;
  /** The log must have been read to here. */
  readonly ends: OffsetMap;
  /** First offsets of partitions that were never read. */
  readonly starts: OffsetMap;
}

export interface BarrierOutcome<Base> {
  /** The shadow's production image at the pinned point. */
  readonly base: Base;
  readonly deferredTransactions: number;
  /** Changes that the snapshot contains but that could not be applied before the barrier. */
  readonly missing: number;
}

export class Barrier {
  readonly plan: BarrierPlan;
  readonly #outcome = Promise.withResolvers<BarrierOutcome<unknown>>();
  #deferred: Release[] = [];
  #deferredTransactions = 0;

  constructor(plan: BarrierPlan) {
    this.plan = plan;
  }

  get reached(): Promise<BarrierOutcome<unknown>> {
    return this.#outcome.promise;
  }

  /** Everything that waits, in log order, with the offsets it leads to. */
  get deferred(): readonly Release[] {
    return this.#deferred;
  }

  /**
   * Splits releases into what is applied now and what waits. From the first one that waits on,
   * every release also leaves its offsets behind with the waiting ones.
   */
  admit(releases: readonly Release[]): {
    readonly releases: readonly Release[];
    readonly holdPosition: boolean;
  } {
    const now: Release[] = [];
    for (const release of releases) {
      const seen: ChangeEvent[] = [];
      const unseen: ChangeEvent[] = [];
      for (const change of release.changes) {
        (this.plan.visible(change) ? seen : unseen).push(change);
      }
      if (unseen.length > 0) this.#deferredTransactions += 1;
      if (unseen.length === 0 && this.#deferred.length === 0) {
        now.push(release);
        continue;
      }
      if (seen.length > 0) now.push({ ...release, changes: seen, bytes: bytesOf(seen) });
      this.#deferred.push({ ...release, changes: unseen, bytes: bytesOf(unseen) });
    }
    // Once something waits, releases applied in the same batch may not move the position either.
    return { releases: now, holdPosition: this.#deferred.length > 0 };
  }

  reach(base: unknown, held: readonly ChangeEvent[]): void {
    this.#outcome.resolve({
      base,
      deferredTransactions: this.#deferredTransactions,
      missing: held.filter((change) => this.plan.visible(change)).length,
    });
  }

  fail(error: unknown): void {
    this.#outcome.reject(error);
  }
}

function bytesOf(changes: readonly ChangeEvent[]): number {
  return changes.reduce((sum, change) => sum + change.bytes, 0);
}
