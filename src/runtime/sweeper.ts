/**
 * Rows of a rollout that are production's again are looked for from time to time and given up, so that they
 * follow it (dialect/overlay.ts): of those the candidate wrote and changed back no event may come for long.
 * What is remembered of rows that were given up is forgotten when it is old.
 */
import { tableName } from '../change/table-id.ts';
import type { Stage } from './stage.ts';
import { writeWaiting } from './waiting-keys.ts';

/** After a failure. */
const PAUSE_MS = 15_000;
const DAY_MS = 86_400_000;

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
 * known, and drift checks of the table are inconclusive from then on.
 */
async function watchCapture(stage: Stage): Promise<void> {
  const { context, database, holder } = stage;
  const lost = await stage.betweenWrites(() => database.watchCapture(holder.fence));
  if (lost.length === 0) return;
  const tables = lost.map(tableName);
  const what = 'what captures the candidate’s writes was gone, and was made again';
  context.logger.error(what, {
    ...{ database: database.name, tables },
    cure: 'make the rollout anew; until then its drift checks are inconclusive',
  });
  const control = await context.control();
  await control.audit(context.holder, 'capture_tampered', database.name, { tables });
}

/** Sweeps beside a running follower. What fails is logged and tried again. */
export class Sweeper {
  readonly #stage: Stage;
  #due = performance.now();
  #place: string | null = null;
  #running: { readonly done: Promise<void>; readonly stop: AbortController } | null = null;

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  /** Begins, or goes on, if it is time and nothing is under way. Of a trunk there is nothing to do. */
  tend(): void {
    if (this.#stage.database.marker.kind !== 'rollout') return;
    if (this.#running !== null || performance.now() < this.#due) return;
    const stop = new AbortController();
    const done = this.#sweep(stop.signal).finally(() => {
      this.#running = null;
    });
    this.#running = { done, stop };
  }

  /** Lets what is under way end its part; the rest is done later. */
  async pause(): Promise<void> {
    this.#running?.stop.abort();
    await this.#running?.done;
  }

  async #sweep(signal: AbortSignal): Promise<void> {
    const { context, database } = this.#stage;
    try {
      if (this.#place === null) await watchCapture(this.#stage);
      const { released, place } = await sweep(this.#stage, signal, this.#place, (at) => {
        this.#place = at;
      });
      this.#place = place;
      if (place === null) {
        this.#due = performance.now() + context.config.overlay.sweepSeconds * 1000;
      }
      if (released > 0) {
        context.logger.info('rows are production’s again', { database: database.name, released });
      }
    } catch (error) {
      if (this.#stage.closed) return;
      this.#due = performance.now() + PAUSE_MS;
      context.logger.warn('the overlay could not be swept', { database: database.name, error });
    }
  }
}
