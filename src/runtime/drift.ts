/** The drift commands: who carries a check out, and what needs no shadow at all. */
import { isolatedTables } from '../config/table-filter.ts';
import { DEFAULT_TIMING } from '../source/barrier.ts';
import { driftSnapshot } from '../drift/snapshot.ts';
import type { Manifest } from '../drift/manifest.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { Divergence } from '../report/divergence.ts';
import type { DriftReport } from '../report/drift-report.ts';
import { findRollout } from '../rollout/lifecycle.ts';
import type { RuntimeContext } from './context.ts';
import { checkDrift, readDivergence, type DriftArgs, type DriftWatcher } from './drift-act.ts';
import { perform, withStage } from './requests.ts';
import { assertFollowed } from './followed-server.ts';
import { openCommittedOffsets } from './sources.ts';

/** Null names the trunk. Errors: ROLLOUT_NOT_FOUND. */
export async function databaseOf(context: RuntimeContext, rollout: string | null): Promise<string> {
  if (rollout === null) return context.config.trunk.name;
  const control = await context.existingControl();
  if (control === null) {
    throw new UnderstudyError('ROLLOUT_NOT_FOUND', `there is no rollout '${rollout}'`);
  }
  return (await findRollout(control, rollout)).database;
}

/**
 * Checks the trunk or a rollout's base: by this process if nobody holds the database (then with
 * progress), else by its holder.
 */
export async function runDriftCheck(
  context: RuntimeContext,
  rollout: string | null,
  args: DriftArgs,
  watcher: DriftWatcher & { readonly signal: AbortSignal },
): Promise<DriftReport> {
  const database = await databaseOf(context, rollout);
  await context.assertIsolated();
  const own = await withStage(context, database, (stage) => checkDrift(stage, args, watcher));
  if (own !== null) return own.value;
  return (await perform(context, {
    kind: 'drift-check',
    database,
    args,
    timeoutMs: args.timeoutMs + 3_600_000,
    signal: watcher.signal,
  })) as DriftReport;
}

/** Writes production down at a pinned point, for a check that comes later or elsewhere. */
export async function runDriftSnapshot(
  context: RuntimeContext,
  options: {
    readonly rows: boolean;
    readonly leafRows: number;
    readonly timeoutMs: number;
    readonly signal: AbortSignal;
    readonly onRows?: (table: string, rows: number) => void;
  },
): Promise<Manifest> {
  const production = await context.production();
  if (production === null) {
    throw new UnderstudyError('CONFIG_INVALID', 'a drift snapshot needs production.url');
  }
  await using offsets = await openCommittedOffsets(context.config, context.logger);
  if (offsets.reader === null) {
    throw new UnderstudyError(
      'CONFIG_INVALID',
      'a drift snapshot needs source.connect or source.offsetsTopic',
    );
  }
  await assertFollowed(context, production, offsets.reader);
  await using source = await context.openSource();
  return await driftSnapshot(
    { production, offsets: offsets.reader, source },
    {
      include: context.includes,
      leafRows: options.leafRows,
      rows: options.rows,
      signal: options.signal,
      timing: { ...DEFAULT_TIMING, timeoutMs: options.timeoutMs },
      ...(options.onRows === undefined ? {} : { onRows: options.onRows }),
    },
  );
}

/** What the candidate changed, with no check of the base. Takes no fence. */
export async function readRolloutDivergence(
  context: RuntimeContext,
  rollout: string,
  options: { readonly showValues: boolean; readonly listedRows: number },
): Promise<Divergence> {
  const name = await databaseOf(context, rollout);
  const database = await context.server.open(name);
  if (database === null) {
    throw new UnderstudyError('ROLLOUT_NOT_FOUND', `the database of '${rollout}' is gone`);
  }
  try {
    const divergence = await readDivergence(database, options, isolatedTables(context.config));
    if (divergence === null) throw new UnderstudyError('INTERNAL', 'a rollout without overlay');
    return divergence;
  } finally {
    await database[Symbol.asyncDispose]();
  }
}
