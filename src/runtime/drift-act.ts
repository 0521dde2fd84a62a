/** Drift checks on a database that this process holds. */
import { isolatedTables } from '../config/table-filter.ts';
import { z } from 'zod';
import { tableName } from '../change/table-id.ts';
import type { Isolates, ShadowDatabase } from '../dialect/dialect.ts';
import {
  driftCheck,
  driftCheckManifest,
  type CheckOptions,
  type CheckPhase,
} from '../drift/check.ts';
import { DEFAULT_TIMING } from '../source/barrier.ts';
import { DEFAULT_LIMITS, type CompareProgress } from '../drift/compare.ts';
import { parseManifest } from '../drift/manifest.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import { buildDivergence, type Divergence } from '../report/divergence.ts';
import type { DriftReport } from '../report/drift-report.ts';
import { dialectFor } from '../dialect/registry.ts';
import { controlOf } from './control.ts';
import { openCommittedOffsets } from './sources.ts';
import { assertFollowed } from './followed-server.ts';
import { readLossy } from './lossy.ts';
import type { Stage } from './stage.ts';

export const driftArgs = z.strictObject({
  /** Text of a manifest; null compares with production itself. */
  manifest: z.string().nullable(),
  showValues: z.boolean(),
  /** Rows listed per table. */
  listedRows: z.int().min(1),
  leafRows: z.int().min(1),
  /** How long the connector may take to reach the marker. */
  timeoutMs: z.int().min(1),
});

export type DriftArgs = z.infer<typeof driftArgs>;

export const DEFAULT_DRIFT_ARGS: DriftArgs = {
  manifest: null,
  showValues: false,
  listedRows: DEFAULT_LIMITS.listedRows,
  leafRows: DEFAULT_LIMITS.leafRows,
  timeoutMs: DEFAULT_TIMING.timeoutMs,
};

export interface DriftWatcher {
  readonly onPhase?: (phase: CheckPhase) => void;
  readonly onProgress?: (progress: CompareProgress) => void;
  /** Gives up the check. */
  readonly signal?: AbortSignal;
}

/** The act behind `drift check`: its outcome is the report. */
export async function driftCheckAct(stage: Stage, args: unknown): Promise<unknown> {
  const parsed = driftArgs.safeParse(args);
  if (!parsed.success) throw new UnderstudyError('USAGE', 'the drift request is malformed');
  return checkDrift(stage, parsed.data, {});
}

/** Checks, stores the run in the control database, returns the report. */
export async function checkDrift(
  stage: Stage,
  args: DriftArgs,
  watcher: DriftWatcher,
): Promise<DriftReport> {
  const report = await check(stage, args, watcher);
  const control = await stage.context.control();
  await control.saveDriftRun({
    database: stage.database.name,
    verdict: report.verdict,
    report,
  });
  return report;
}

async function check(stage: Stage, args: DriftArgs, watcher: DriftWatcher): Promise<DriftReport> {
  const { context, database } = stage;
  const lossy = await readLossy(context, await database.catalogue());
  // Frozen from its first moment if it was not running: a manifest's point may lie just ahead.
  const { follower, source } = await stage.running({ frozen: true });
  const options: CheckOptions = {
    subject: { kind: database.marker.kind, name: database.marker.name, database: database.name },
    include: context.includes,
    strictSchema: database.marker.kind === 'trunk',
    showValues: args.showValues,
    lossy,
    limits: { ...DEFAULT_LIMITS, listedRows: args.listedRows, leafRows: args.leafRows },
    timing: { ...DEFAULT_TIMING, timeoutMs: args.timeoutMs },
    ...watcher,
    signal: AbortSignal.any([
      stage.holder.lost,
      stage.stopping,
      ...(watcher.signal === undefined ? [] : [watcher.signal]),
    ]),
  };
  const parts = {
    follower: controlOf(stage, follower),
    source,
    divergence: () => readDivergence(database, args, isolatedTables(stage.context.config)),
  };
  if (args.manifest !== null) {
    const manifest = parseManifest(args.manifest);
    return driftCheckManifest(
      { ...parts, manifest, snapshotView: (text) => sourceDialect(stage).snapshotView(text) },
      options,
    );
  }
  const production = await context.production();
  if (production === null) {
    follower.resume();
    throw new UnderstudyError('CONFIG_INVALID', 'a drift check needs production.url or a manifest');
  }
  await using offsets = await openCommittedOffsets(context.config, context.logger);
  if (offsets.reader !== null) await assertFollowed(context, production, offsets.reader);
  return await driftCheck({ ...parts, production, offsets: offsets.reader }, options);
}

/** The dialect of the source, whose snapshots a manifest holds. */
function sourceDialect(stage: Stage): ReturnType<typeof dialectFor> {
  return dialectFor(`${stage.context.config.source.connector}://`);
}

/** What the candidate did; null for the trunk. What `isolates` keeps apart on purpose is no divergence. */
export async function readDivergence(
  database: ShadowDatabase,
  options: { readonly showValues: boolean; readonly listedRows: number },
  isolates: Isolates = () => false,
): Promise<Divergence | null> {
  if (database.marker.kind === 'trunk') return null;
  const [counts, rows, catalogue] = [
    await database.overlayCounts(),
    await database.overlayRows(options.listedRows),
    await database.catalogue(),
  ];
  return buildDivergence({
    tables: counts
      .filter(({ table }) => !isolates(table))
      .map((count) => ({ ...count, table: tableName(count.table) })),
    rows: rows
      .filter(({ table }) => !isolates(table))
      .map((row) => ({
        ...row,
        table: tableName(row.table),
        keyColumns: catalogue.get(tableName(row.table))?.key ?? [],
      })),
    showValues: options.showValues,
  });
}
