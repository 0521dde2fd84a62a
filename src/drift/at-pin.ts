/**
 * Acts at an exact point of production, with one shadow brought to it: freeze, prove, pin, wait for
 * the connector, apply what the snapshot saw and nothing else (see check.ts, pin-proofs 1.2).
 */
import type { BaseReader, PinnedSnapshot, ProductionDatabase } from '../dialect/dialect.ts';
import type { BatchStep } from '../order/change-batch.ts';
import { describeTimeout, findBarrier, type BarrierTiming } from '../source/barrier.ts';
import type { ChangeSource } from '../source/change-source.ts';
import type { CommittedOffsets } from '../source/committed-offsets.ts';
import { DeferralFilter } from './deferral.ts';
import { untilAborted, type FollowerControl } from './follower-control.ts';
import { waitUntilProven } from './proven.ts';

export interface PinParts {
  readonly follower: FollowerControl;
  readonly source: Pick<ChangeSource, 'ends' | 'starts'>;
  readonly production: Pick<ProductionDatabase, 'view' | 'pin'>;
  readonly offsets: CommittedOffsets;
}

export interface PinOptions {
  readonly timing: BarrierTiming;
  readonly signal: AbortSignal;
}

/** Writes steps as one transaction, as part of the point. May be called again if it rejects. */
export type WriteAtPin = (steps: readonly BatchStep[]) => Promise<void>;

export interface PinActs {
  /** While nothing else is applied: writes what the shadow shall hold at the point. */
  readonly supply?: (pinned: PinnedSnapshot, write: WriteAtPin) => Promise<void>;
  /** Afterwards, while all flows on: both sides' snapshots of the point. */
  readonly read?: (pinned: PinnedSnapshot, base: BaseReader) => Promise<void>;
}

/**
 * Why the point could not be reached exactly; then nothing was done. `passing`: the next try may
 * well succeed, since it was what happened to be under way.
 */
export interface Unreached {
  readonly reason: string;
  readonly passing: boolean;
}

/**
 * Null if the acts were done. Rejects with what they reject with, and with PIN_FAILED,
 * PRODUCTION_UNREACHABLE, CONNECT_UNREACHABLE and the like; the follower goes on in every case.
 */
export async function atPin(
  parts: PinParts,
  options: PinOptions,
  acts: PinActs,
): Promise<Unreached | null> {
  try {
    return await atPinFrozen(parts, options, acts);
  } finally {
    parts.follower.resume();
  }
}

async function atPinFrozen(
  parts: PinParts,
  options: PinOptions,
  acts: PinActs,
): Promise<Unreached | null> {
  const { follower, production, offsets, source } = parts;
  const { timing, signal } = options;
  await follower.freeze();
  const unproven = await waitUntilProven(parts, options);
  if (unproven !== null) return { reason: unproven, passing: false };
  await using pinned = await production.pin();
  const { marker } = pinned;
  const barrier = await findBarrier({ offsets, source, marker, timing, signal });
  if (barrier.kind === 'timeout') {
    const reason = describeTimeout(barrier.committed, { offsets, marker, timing });
    return { reason, passing: false };
  }
  const filter = new DeferralFilter(pinned, pinned.floor);
  const unexact = { reason: null as string | null };
  const reached = await untilAborted(
    follower.runToBarrier({
      ...barrier.point,
      visible: (change) => filter.decide(change) === 'apply',
      supply: async (missing, write) => {
        const [doubt] = filter.doubts();
        if (doubt !== undefined || missing > 0) {
          unexact.reason = doubt?.message ?? 'changes before the point wait for their transaction';
        } else await acts.supply?.(pinned, write);
      },
    }),
    signal,
  );
  await using base = reached.base;
  if (unexact.reason !== null) return { reason: unexact.reason, passing: true };
  await acts.read?.(pinned, base);
  return null;
}
