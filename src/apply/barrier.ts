/**
 * A point at which the shadow equals a production snapshot, reached by applying what the
 * snapshot saw and holding back what it did not (pin-proofs: visible first and deferred later
 * commute with log order).
 *
 * Invariant: while a change is deferred, the stored position does not move, so that after a crash
 * the log is read again from before the first deferred change. What was applied ahead is stored by
 * its places in the log, and passed over then: what remains is applied, in log order.
 */
import type { ChangeEvent } from '../change/record.ts';
import type { OffsetMap } from '../change/position.ts';
import type { Release } from '../order/release.ts';
import type { BatchStep } from '../order/change-batch.ts';

export interface BarrierPlan {
  /** Whether the pinned snapshot contains the change. */
  readonly visible: (change: ChangeEvent) => boolean;
  /** The log must have been read to here. */
  readonly ends: OffsetMap;
  /** First offsets of partitions that were never read. */
  readonly starts: OffsetMap;
  /**
   * Called at the barrier, before the base is opened and the waiting changes are applied: what it
   * gives `write` is written there, each time in a transaction of its own. If `write` rejects,
   * nothing of that was written, and it may go on. Given how many changes are missing, see
   * BarrierOutcome.
   */
  readonly supply?: (
    missing: number,
    write: (steps: readonly BatchStep[]) => Promise<void>,
  ) => Promise<void>;
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
   * Splits releases into what is applied now and what waits. From the first batch with something
   * that waits on, all offsets are left behind with what waits.
   */
  admit(releases: readonly Release[]): {
    readonly releases: readonly Release[];
    readonly holdPosition: boolean;
  } {
    const now: Release[] = [];
    const later: Release[] = [];
    for (const release of releases) {
      const seen: ChangeEvent[] = [];
      const unseen: ChangeEvent[] = [];
      for (const change of release.changes) {
        (this.plan.visible(change) ? seen : unseen).push(change);
      }
      if (unseen.length > 0) this.#deferredTransactions += 1;
      // Bytes that belong to no change (duplicates passed over) are freed with this part.
      const bytes = release.bytes - bytesOf(unseen);
      // Ahead of the position a transaction is whole only if all of it is here. One without changes
      // may be the second delivery of one that waits.
      const whole = unseen.length === 0 && seen.length > 0;
      const complete = release.complete && whole;
      // What is to be stored of it tells of all of it, and is stored with the rest.
      const notes = whole ? (release.notes ?? []) : [];
      now.push({ ...release, changes: seen, complete, bytes, notes, places: new Map() });
      later.push({ ...release, changes: unseen, bytes: bytesOf(unseen) });
    }
    const holdPosition =
      this.#deferred.length > 0 || later.some((release) => release.changes.length > 0);
    if (!holdPosition) return { releases, holdPosition };
    // Every offset from here on is reached only when what waits has been applied.
    this.#deferred.push(...later);
    return { releases: now, holdPosition };
  }

  /** How many of the changes that could not be applied yet belong before the barrier. */
  missing(held: readonly ChangeEvent[]): number {
    return held.filter((change) => this.plan.visible(change)).length;
  }

  reach(base: unknown, held: readonly ChangeEvent[]): void {
    this.#outcome.resolve({
      base,
      deferredTransactions: this.#deferredTransactions,
      missing: this.missing(held),
    });
  }

  fail(error: unknown): void {
    this.#outcome.reject(error);
  }
}

function bytesOf(changes: readonly ChangeEvent[]): number {
  return changes.reduce((sum, change) => sum + change.bytes, 0);
}
