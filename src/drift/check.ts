/**
 * The drift check: brings production and one shadow database to one point, compares, and judges.
 *
 * The order is the proof (pin-proofs 1.2): freeze, so that nothing is applied which the snapshot
 * might not see; wait until production's snapshots see all that was applied; pin; wait for the
 * connector; apply what the snapshot saw and nothing else; read. A difference is then drift, never
 * timing; and whatever breaks the chain makes the check inconclusive, with the reason.
 */
import type { OffsetMap } from '../change/position.ts';
import type { PinnedSnapshot, ProductionDatabase, SnapshotView } from '../dialect/dialect.ts';
import type { Divergence } from '../report/divergence.ts';
import {
  REPORT_VERSION,
  type DriftReport,
  type PinReport,
  type Reason,
  type ReasonCode,
} from '../report/drift-report.ts';
import type { ChangeSource } from '../source/change-source.ts';
import type { CommittedOffsets } from '../source/committed-offsets.ts';
import {
  describeTimeout,
  findBarrier,
  type BarrierPoint,
  type BarrierTiming,
} from '../source/barrier.ts';
import { compareTables, type CompareOptions, type Comparison } from './compare.ts';
import { DeferralFilter } from './deferral.ts';
import {
  isPast,
  untilAborted,
  type FollowerControl,
  type ReachedBarrier,
} from './follower-control.ts';
import { manifestEnds, manifestReference, type Manifest } from './manifest.ts';
import { waitUntilProven } from './proven.ts';
import { readerReference, type Reference } from './reference.ts';
import { judge } from './verdict.ts';

export type CheckPhase = 'freezing' | 'proving' | 'pinning' | 'waiting' | 'applying' | 'comparing';

export interface CheckOptions extends CompareOptions {
  readonly subject: DriftReport['subject'];
  readonly timing: BarrierTiming;
  readonly onPhase?: (phase: CheckPhase) => void;
}

/** What both kinds of check work with. */
export interface CheckParts {
  readonly follower: FollowerControl;
  readonly source: Pick<ChangeSource, 'ends' | 'starts'>;
  /** What the candidate did; null for the trunk. Read at the end. */
  readonly divergence: () => Promise<Divergence | null>;
}

export interface LiveParts extends CheckParts {
  readonly production: Pick<ProductionDatabase, 'view' | 'pin'>;
  /** Null where neither Connect nor its offsets topic can be read. */
  readonly offsets: CommittedOffsets | null;
}

export interface ManifestParts extends CheckParts {
  readonly manifest: Manifest;
  readonly snapshotView: (snapshot: string) => SnapshotView;
}

/** What was found out, or why it could not be. */
interface Findings {
  readonly pin: PinReport | null;
  readonly comparison: Comparison;
  readonly general: readonly Reason[];
}

const NOTHING: Comparison = { tables: [], differences: [], general: [] };

/**
 * Compares with production itself. Rejects with PIN_FAILED, PRODUCTION_UNREACHABLE,
 * CONNECT_UNREACHABLE and the like where a part cannot be reached, and with the signal's reason;
 * the follower goes on in every case.
 */
export function driftCheck(parts: LiveParts, options: CheckOptions): Promise<DriftReport> {
  return reportOn(parts, options, (started) => checkLive(parts, options, started));
}

/** Compares with a manifest: applies to its point exactly, if that is not behind already. */
export function driftCheckManifest(
  parts: ManifestParts,
  options: CheckOptions,
): Promise<DriftReport> {
  return reportOn(parts, options, (started) => checkManifest(parts, options, started));
}

async function reportOn(
  parts: CheckParts,
  options: CheckOptions,
  check: (started: number) => Promise<Findings>,
): Promise<DriftReport> {
  const startedAt = new Date();
  const started = performance.now();
  let findings: Findings;
  try {
    options.onPhase?.('freezing');
    findings = await check(started);
  } finally {
    parts.follower.resume();
  }
  const { comparison, pin, general } = findings;
  const judgement = judge(comparison.tables, [...general, ...comparison.general]);
  return {
    version: REPORT_VERSION,
    ...judgement,
    subject: options.subject,
    startedAt: startedAt.toISOString(),
    durationMs: Math.round(performance.now() - started),
    pin,
    tables: comparison.tables,
    differences: comparison.differences,
    divergence: await parts.divergence(),
  };
}

function inconclusive(code: ReasonCode, message: string): Findings {
  return { pin: null, comparison: NOTHING, general: [{ code, message, table: null }] };
}

async function checkLive(
  parts: LiveParts,
  options: CheckOptions,
  started: number,
): Promise<Findings> {
  const { follower, production, offsets, source } = parts;
  const { timing, signal } = options;
  if (offsets === null) {
    const message = 'neither Kafka Connect nor its offsets topic is configured';
    return inconclusive('no-committed-offsets', message);
  }
  await follower.freeze();
  options.onPhase?.('proving');
  const unproven = await waitUntilProven(parts, options);
  if (unproven !== null) return inconclusive('unproven-transactions', unproven);
  options.onPhase?.('pinning');
  await using pinned = await production.pin();
  options.onPhase?.('waiting');
  const { marker } = pinned;
  const barrier = await findBarrier({ offsets, source, marker, timing, signal });
  if (barrier.kind === 'timeout') {
    const message = describeTimeout(barrier.committed, { offsets, marker, timing });
    return inconclusive('barrier-timeout', message);
  }
  // Awaited here: the pinned snapshot is closed when this function returns.
  return await compareAt(parts, options, {
    point: barrier.point,
    view: pinned,
    floor: pinned.floor,
    reference: () => readerReference(pinned.reader),
    pin: pinReport('production', pinned, marker, barrier.point.ends),
    started,
  });
}

function pinReport(
  against: PinReport['against'],
  view: Pick<PinnedSnapshot, 'snapshot' | 'proof'>,
  marker: bigint,
  ends: OffsetMap,
): Omit<PinReport, 'deferred' | 'frozenMs'> {
  const endOffsets = Object.fromEntries([...ends].map(([key, end]) => [key, end.toString()]));
  return {
    proof: view.proof,
    against,
    snapshot: view.snapshot,
    position: { marker: marker.toString(), endOffsets },
  };
}

async function checkManifest(
  parts: ManifestParts,
  options: CheckOptions,
  started: number,
): Promise<Findings> {
  const { follower, manifest, source } = parts;
  const view = parts.snapshotView(manifest.pin.snapshot);
  const ends = manifestEnds(manifest);
  await follower.freeze();
  const { position, unproven, unprovenEvicted } = await follower.progress();
  if (isPast(position.offsets, ends) || !unproven.every((txId) => view.visible(txId))) {
    const message = 'the shadow has already applied changes that came after the manifest';
    return inconclusive('position-passed', message);
  }
  if (unprovenEvicted !== null && !view.complete(unprovenEvicted)) {
    const message = 'it is no longer known whether all applied changes came before the manifest';
    return inconclusive('unproven-transactions', message);
  }
  return compareAt(parts, options, {
    point: { ends, starts: await source.starts() },
    view,
    floor: BigInt(manifest.pin.floor),
    reference: () => Promise.resolve(manifestReference(manifest)),
    pin: pinReport(
      'manifest',
      { snapshot: view.snapshot, proof: manifest.pin.kind },
      BigInt(manifest.pin.lsn),
      ends,
    ),
    started,
  });
}

interface Meeting {
  readonly point: BarrierPoint;
  readonly view: SnapshotView;
  readonly floor: bigint;
  readonly reference: () => Promise<Reference>;
  readonly pin: Omit<PinReport, 'deferred' | 'frozenMs'>;
  readonly started: number;
}

async function compareAt(
  parts: CheckParts,
  options: CheckOptions,
  meeting: Meeting,
): Promise<Findings> {
  const filter = new DeferralFilter(meeting.view, meeting.floor);
  const frozenMs = Math.round(performance.now() - meeting.started);
  options.onPhase?.('applying');
  const reached = await untilAborted(
    parts.follower.runToBarrier({
      ...meeting.point,
      visible: (change) => filter.decide(change) === 'apply',
    }),
    options.signal,
  );
  await using base = reached.base;
  options.onPhase?.('comparing');
  const comparison = await compareTables(await meeting.reference(), base, options);
  return {
    pin: { ...meeting.pin, deferred: reached.deferredTransactions, frozenMs },
    comparison,
    general: [...filter.doubts(), ...incomplete(reached)],
  };
}

function incomplete(reached: ReachedBarrier): readonly Reason[] {
  if (reached.missing === 0) return [];
  const message = `${reached.missing} changes before the point wait for the rest of their transaction`;
  return [{ code: 'incomplete-transaction', message, table: null }];
}
