/**
 * Rows of a rollout that are production's again are looked for from time to time and given up, so that they
 * follow it (dialect/overlay.ts): of those the candidate wrote and changed back no event may come for long.
 * What is remembered of rows that were given up is forgotten when it is old.
 */
import { tableName } from '../change/table-id.ts';
import { DEFAULT_DRIFT_ARGS } from './drift-act.ts';
import { Beside } from './beside.ts';
import { describeAlarms, readAlarms } from './rollout-alarms.ts';
import { isUnderstudyError } from '../errors/understudy-error.ts';
import { steadyNow } from '../util/clock.ts';
import type { Stage } from './stage.ts';
import { writeWaiting } from './waiting-keys.ts';

/** After a failure. */
const PAUSE_MS = 15_000;
const DAY_MS = 86_400_000;
/** At most so often a check is asked for by itself: somebody may take capture away again and again. */
const CHECK_EVERY_MS = 3_600_000;

/**
 * A whole sweep, part by part between what the follower writes, from `place` on. Returns how many rows were
 * given up, and where it stands: null at the end, else where the signal stopped it.
 */
export async function sweep(
  stage: Stage,
  signal: AbortSignal,
  place: string | null = null,
  onPlace: (place: string | null) => void = () => undefined,
): Promise<{ readonly released: number; readonly place: string | null }> {
  const { database, holder } = stage;
  const between = <T>(act: () => Promise<T>): Promise<T> => stage.betweenWrites(act);
  let released = 0;
  let at = place;
  if (at === null) await writeWaiting(stage, signal);
  do {
    const from = at;
    const swept = await between(() => database.sweepOverlay(holder.fence, from));
    released += swept.released;
    at = swept.next;
    onPlace(at);
    if (at !== null && signal.aborted) return { released, place: at };
  } while (at !== null);
  const { outcomeDays } = stage.context.config.overlay;
  for (let gone = 1; gone > 0 && !signal.aborted;) {
    gone = await between(() => database.forgetOutcomes(holder.fence, outcomeDays * DAY_MS));
  }
  return { released, place: null };
}

/**
 * Makes again what captures, where somebody took it away: what the candidate wrote there meanwhile is not
 * known, and a drift check that finds the table to differ is inconclusive from then on. One is asked for, but not
 * soon after another, whose report is kept with the others.
 */
async function watchCapture(stage: Stage, checks: { at: number | null }): Promise<void> {
  const { context, database, holder } = stage;
  const waits = 'what captures the candidate’s writes is gone, and somebody is at the table';
  const lost = await unlessBlocked(stage, waits, () => database.watchCapture(holder.fence));
  if (lost === null || lost.length === 0) return;
  const tables = lost.map(tableName);
  const what = 'what captures the candidate’s writes was gone, and was made again';
  context.logger.error(what, {
    ...{ database: database.name, tables },
    cure: 'see the drift check that follows, and make the rollout anew unless the tables are equal: what differs is inconclusive',
  });
  const control = await context.control();
  const isDue = checks.at === null || steadyNow() - checks.at > CHECK_EVERY_MS;
  if (context.config.production !== undefined && isDue) {
    // Of all tables: what says "equal" has looked at each.
    await control.submitRequest('drift-check', database.name, DEFAULT_DRIFT_ARGS);
    checks.at = steadyNow();
  }
  await control.audit(context.holder, 'capture_tampered', database.name, { tables });
}

/** Moves the numbers of new rows above production's again, where the candidate set them back. */
async function watchNumbers(stage: Stage): Promise<void> {
  const { context, database, holder } = stage;
  const waits = 'numbers of new rows could not be looked at for now';
  const numbers = await unlessBlocked(stage, waits, () => database.watchNumbers(holder.fence));
  if (numbers === null || numbers.length === 0) return;
  context.logger.warn(
    'numbers of new rows were set back, and were moved above production’s again',
    {
      ...{ database: database.name, numbers },
      cure: 'let the candidate leave its sequences where they are: ids that it took meanwhile may be production’s',
    },
  );
  const control = await context.control();
  await control.audit(context.holder, 'numbers_set_back', database.name, { numbers });
}

async function guardReadOnly(stage: Stage): Promise<void> {
  const { database, holder } = stage;
  const waits = 'tables could not be guarded for now';
  await unlessBlocked(stage, waits, () => database.guardReadOnly(holder.fence));
}

/** What somebody is at, or what the account may not do, keeps nothing else up, and is tried with the next sweep. Null then. */
async function unlessBlocked<T>(
  stage: Stage,
  what: string,
  act: () => Promise<T>,
): Promise<T | null> {
  try {
    return await stage.betweenWrites(act);
  } catch (error) {
    if (!isUnderstudyError(error, 'APPLY_BLOCKED', 'UNSUPPORTED')) throw error;
    stage.context.logger.warn(what, { database: stage.database.name, error });
    return null;
  }
}

/** Once of each that `told` does not have. */
async function warn({ context, database }: Stage, told: Set<string>): Promise<void> {
  for (const { what, cure } of describeAlarms(await readAlarms(database))) {
    const said = what.replace(/\d+ %/, '');
    if (told.has(said)) continue;
    told.add(said);
    context.logger.warn(what, { database: database.name, cure });
  }
}

/** Sweeps beside a running follower, and goes on where it was stopped. Of a trunk there is nothing to do. */
export function careForOverlay(stage: Stage): Beside {
  const { context, database } = stage;
  const everyMs = context.config.overlay.sweepSeconds * 1000;
  const told = new Set<string>();
  const checks: { at: number | null } = { at: null };
  let place: string | null = null;
  return new Beside(stage, {
    act: async (signal) => {
      if (database.marker.kind !== 'rollout') return everyMs;
      if (place === null) {
        await watchCapture(stage, checks);
        await watchNumbers(stage);
        await guardReadOnly(stage);
        await warn(stage, told);
      }
      const swept = await sweep(stage, signal, place, (at) => {
        place = at;
      });
      place = swept.place;
      if (swept.released > 0) {
        const gone = { database: database.name, released: swept.released };
        context.logger.info('rows are production’s again', gone);
      }
      return place === null ? everyMs : 0;
    },
    failed: 'the overlay could not be swept',
    pauseMs: PAUSE_MS,
  });
}
