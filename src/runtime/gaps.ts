/**
 * Unknown values and parked rows of a database that this process holds: read anew from production
 * where that can be asked at an exact point. What cannot be read stays, and `status` says so.
 */
import type { GapCount } from '../dialect/dialect.ts';
import { DEFAULT_TIMING } from '../source/barrier.ts';
import { REREAD_ROWS, reread, type RereadOutcome } from '../drift/reread.ts';
import { isUnderstudyError } from '../errors/understudy-error.ts';
import { controlOf } from './control.ts';
import { assertFollowed } from './followed-server.ts';
import { openCommittedOffsets } from './sources.ts';
import type { Stage } from './stage.ts';

/** How often it is looked whether there are gaps. */
const LOOK_MS = 5_000;
/** Least time between two reads; the follower stands still for a part of each. */
const LEAST_PAUSE_MS = 30_000;
const MOST_PAUSE_MS = 900_000;
/** So much longer than a read takes is the pause after it. */
const PAUSE_FACTOR = 10;

/**
 * Reads once. Null if production, or what the connector has committed, is not configured, or is of an
 * engine whose rows are not read again unasked.
 */
async function readOnce(stage: Stage, signal: AbortSignal): Promise<RereadOutcome | null> {
  const { context, database } = stage;
  if (!context.dialect.rereads) return null;
  const production = await context.production();
  if (production === null) return null;
  await using offsets = await openCommittedOffsets(context.config, context.logger);
  if (offsets.reader === null) return null;
  await assertFollowed(context, production, offsets.reader);
  const { follower, source } = await stage.running();
  return await reread(
    {
      ...{ follower: controlOf(stage, follower), source, production, offsets: offsets.reader },
      gaps: (limit) => database.gaps(limit),
      catalogue: () => database.catalogue(),
    },
    { timing: DEFAULT_TIMING, signal: AbortSignal.any([stage.holder.lost, signal]) },
  );
}

/**
 * Reads until nothing is left that can be read, once the follower has caught up. What does not
 * work is logged: the gaps stay, and are counted.
 */
export async function fillGaps(stage: Stage, signal: AbortSignal): Promise<void> {
  const { logger } = stage.context;
  try {
    let before = Infinity;
    for (;;) {
      const left = total(await stage.database.gapCounts());
      if (left === 0 || left >= before) return;
      before = left;
      const outcome = await readOnce(stage, signal);
      if (outcome === null) return;
      report(stage, outcome);
      if (outcome.rows < REREAD_ROWS) return;
    }
  } catch (error) {
    if (!isUnderstudyError(error) || signal.aborted || stage.holder.lost.aborted) throw error;
    logger.warn('unknown values could not be read from production', {
      database: stage.database.name,
      error,
    });
  }
}

function total(counts: readonly GapCount[]): number {
  return counts.reduce((sum, count) => sum + count.entries, 0);
}

function report(stage: Stage, outcome: RereadOutcome): void {
  const { logger } = stage.context;
  const database = stage.database.name;
  if (outcome.reason === null) {
    logger.info('read unknown values from production', { database, rows: outcome.rows });
  } else {
    const { reason } = outcome;
    logger.warn('unknown values could not be read from production', { database, reason });
  }
}

/** Fills gaps beside a running follower, from time to time, while nothing else is to be done. */
export class GapFiller {
  readonly #stage: Stage;
  #due = performance.now();
  #failures = 0;
  #told = false;
  #running: { readonly done: Promise<void>; readonly stop: AbortController } | null = null;

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  /** Begins to look, and to read if there are gaps, if it is time and none is under way. */
  tend(): void {
    if (this.#running !== null || performance.now() < this.#due) return;
    const stop = new AbortController();
    const done = this.#look(stop.signal).finally(() => {
      this.#running = null;
    });
    this.#running = { done, stop };
  }

  /** Gives up what is under way, so that another act can have the follower. */
  async pause(): Promise<void> {
    const running = this.#running;
    if (running === null) return;
    running.stop.abort();
    await running.done;
  }

  async #look(signal: AbortSignal): Promise<void> {
    const stage = this.#stage;
    const { logger } = stage.context;
    const database = stage.database.name;
    this.#due = performance.now() + LOOK_MS;
    try {
      if (total(await stage.database.gapCounts()) === 0) return;
      const started = performance.now();
      const outcome = await readOnce(stage, signal);
      if (outcome === null) {
        if (!this.#told)
          logger.warn('values are unknown, and production cannot be asked', { database });
        this.#told = true;
        this.#due = performance.now() + MOST_PAUSE_MS;
        return;
      }
      report(stage, outcome);
      const took = performance.now() - started;
      // Rows that production does not have are read in vain, so likewise not too often.
      const inVain = outcome.reason !== null || outcome.rows === 0;
      this.#failures = inVain ? this.#failures + 1 : 0;
      this.#pauseFor(Math.max(LEAST_PAUSE_MS, took * PAUSE_FACTOR));
    } catch (error) {
      if (signal.aborted || stage.closed) return;
      this.#failures += 1;
      logger.warn('unknown values could not be read from production', { database, error });
      this.#pauseFor(LEAST_PAUSE_MS);
    }
  }

  #pauseFor(ms: number): void {
    const pause = Math.min(MOST_PAUSE_MS, ms * 2 ** Math.min(this.#failures, 10));
    this.#due = performance.now() + pause;
  }
}
