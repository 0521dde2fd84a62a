/**
 * Finds out how far the event log must be read until everything that production had committed
 * before the marker is in it (pin-proofs 2): first the connector's committed source offset passes
 * the marker, then, and only then, the end of every partition is asked for.
 */
import type { OffsetMap } from '../change/position.ts';
import type { ChangeSource } from './change-source.ts';
import type { CommittedOffsets } from './committed-offsets.ts';
import { sleep } from '../util/wait.ts';

export interface BarrierTiming {
  readonly everyMs: number;
  /** Connect's default flush interval is a minute; shorter limits need a shorter one there. */
  readonly timeoutMs: number;
}

export const DEFAULT_TIMING: BarrierTiming = { everyMs: 100, timeoutMs: 90_000 };

export interface BarrierPoint {
  /** Everything before these offsets must be read. */
  readonly ends: OffsetMap;
  /** First offsets of the same partitions. */
  readonly starts: OffsetMap;
}

export type BarrierResult =
  | { readonly kind: 'found'; readonly point: BarrierPoint }
  | { readonly kind: 'timeout'; readonly committed: bigint | null };

export async function findBarrier(options: {
  readonly offsets: CommittedOffsets;
  readonly source: Pick<ChangeSource, 'ends' | 'starts'>;
  readonly marker: bigint;
  readonly timing: BarrierTiming;
  readonly signal: AbortSignal;
}): Promise<BarrierResult> {
  const { offsets, source, marker, timing, signal } = options;
  const deadline = performance.now() + timing.timeoutMs;
  for (;;) {
    const committed = await offsets.committed(signal);
    if (committed !== null && committed >= marker) {
      const starts = await source.starts();
      return { kind: 'found', point: { ends: await source.ends(), starts } };
    }
    if (performance.now() >= deadline) return { kind: 'timeout', committed };
    await sleep(timing.everyMs, signal);
  }
}

/** One sentence for people on a barrier that was not reached in time. */
export function describeTimeout(
  committed: bigint | null,
  of: {
    readonly offsets: CommittedOffsets;
    readonly marker: bigint;
    readonly timing: BarrierTiming;
  },
): string {
  const at = committed === null ? 'nothing yet' : `position ${committed}`;
  return (
    `${of.offsets.description} had committed ${at}, not ${of.marker}, after ` +
    `${of.timing.timeoutMs / 1000} s; see offset.flush.interval.ms of the worker, and where ` +
    'production is idle, let one more transaction commit there'
  );
}
