import type { ChangeEvent } from '../change/record.ts';
import type { OffsetMap, Position } from '../change/position.ts';
import type { BaseReader } from '../dialect/dialect.ts';
import type { BatchStep } from '../order/change-batch.ts';
import type { BarrierPoint } from '../source/barrier.ts';

/** What a check needs to know of the follower's past. Read while it is frozen. */
export interface FollowerProgress {
  readonly position: Position;
  /** Applied source transactions that no production snapshot was seen to contain yet. */
  readonly unproven: readonly number[];
  /** Newest id that fell out of `unproven` for lack of room, or null. */
  readonly unprovenEvicted: number | null;
}

export interface BarrierRun extends BarrierPoint {
  /**
   * Whether the pinned snapshot contains the change. The others wait, and are applied in log
   * order after the base was opened; meanwhile the stored position does not pass them. May be
   * asked more than once about a change.
   */
  readonly visible: (change: ChangeEvent) => boolean;
  /**
   * Called at the barrier, before the base is opened: what it gives `write` is written as part of
   * it, each time in a transaction of its own. Given how many visible changes are missing, see
   * ReachedBarrier.
   */
  readonly supply?: (
    missing: number,
    write: (steps: readonly BatchStep[]) => Promise<void>,
  ) => Promise<void>;
}

export interface ReachedBarrier {
  /** Production's image as it stood at the barrier: a snapshot, which the follower leaves alone. */
  readonly base: BaseReader;
  readonly deferredTransactions: number;
  /** Visible changes that could not be applied, because their transaction is not complete. */
  readonly missing: number;
}

/**
 * One shadow database's follower, as a drift check steers it. Implemented by the runtime.
 * `resume` must be called in the end, whatever happened, and may be called twice.
 */
export interface FollowerControl {
  /** Stops applying; the log is read on within its budget. Resolves when no apply is in flight. */
  freeze(): Promise<void>;
  progress(): Promise<FollowerProgress>;
  /** Tells that a production snapshot contains these transactions. */
  prove(txIds: readonly number[]): Promise<void>;
  /**
   * Applies what is visible and reads on until every partition has passed `ends`, then opens the
   * base, then goes on as usual. Rejects if the follower stops before.
   */
  runToBarrier(run: BarrierRun): Promise<ReachedBarrier>;
  resume(): void;
}

/**
 * True if `position` has passed `ends` in some partition, so that the point lies behind it. A
 * partition without an end did not exist at that point.
 */
export function isPast(position: OffsetMap, ends: OffsetMap): boolean {
  return [...position].some(([partition, offset]) => offset > (ends.get(partition) ?? 0n));
}

/** Gives up waiting on abort; a base that is opened later is closed at once. */
export async function untilAborted(
  running: Promise<ReachedBarrier>,
  signal: AbortSignal,
): Promise<ReachedBarrier> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => {
    aborted.reject(signal.reason as Error);
  };
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([running, aborted.promise]);
  } catch (error) {
    if (signal.aborted) {
      running.then(
        ({ base }) => base[Symbol.asyncDispose](),
        () => undefined,
      );
    }
    throw error;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
