import type { ProductionDatabase } from '../dialect/dialect.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { ChangeSource } from '../source/change-source.ts';
import type { CommittedOffsets } from '../source/committed-offsets.ts';
import { findBarrier, type BarrierTiming } from '../source/barrier.ts';
import { snapshotManifest, type Manifest, type ManifestOptions } from './manifest.ts';

/**
 * Writes production down at a pinned point. No shadow takes part, so nothing need be frozen: the
 * one that is checked against it later must not have applied anything beyond the point.
 * Errors: PIN_FAILED, also where the connector does not reach the marker in time.
 */
export async function driftSnapshot(
  parts: {
    readonly production: Pick<ProductionDatabase, 'pin'>;
    readonly offsets: CommittedOffsets;
    readonly source: Pick<ChangeSource, 'ends' | 'starts'>;
  },
  options: ManifestOptions & { readonly timing: BarrierTiming },
): Promise<Manifest> {
  const { offsets, source } = parts;
  const { timing, signal } = options;
  await using pinned = await parts.production.pin();
  const { marker } = pinned;
  const barrier = await findBarrier({ offsets, source, marker, timing, signal });
  if (barrier.kind === 'timeout') {
    throw new UnderstudyError('PIN_FAILED', 'the connector did not reach the marker in time', {
      detail: `${offsets.description}, marker ${marker}`,
    });
  }
  return await snapshotManifest(pinned, barrier.point.ends, options);
}
