/**
 * Keys that wait for a transaction of the candidate (dialect/waiting.ts) are written about a second after it
 * ended, also where production sends nothing more.
 */
import { tableName } from '../change/table-id.ts';
import { waitingOf } from '../dialect/waiting.ts';
import type { ShadowDatabase } from '../dialect/dialect.ts';
import type { Stage } from './stage.ts';

/** How often it is looked whether they can be written. */
const LOOK_MS = 1_000;
/** After a failure. */
const PAUSE_MS = 5_000;

export interface WaitingStatus {
  readonly keys: number;
  /** Age of the oldest, by the shadow server's clock; null if none waits. */
  readonly oldestMs: number | null;
  readonly tables: readonly {
    readonly table: string;
    readonly keys: number;
    readonly oldestMs: number;
  }[];
}

/** What waits in a database by now. */
export async function readWaiting(database: ShadowDatabase): Promise<WaitingStatus> {
  const counts = (await waitingOf(database)?.counts()) ?? [];
  const tables = counts.map((one) => ({ ...one, table: tableName(one.table) }));
  return {
    keys: counts.reduce((sum, { keys }) => sum + keys, 0),
    oldestMs: counts.length === 0 ? null : Math.max(...counts.map(({ oldestMs }) => oldestMs)),
    tables,
  };
}

/** Writes what waits, between what the follower writes, as far as nobody is at it. Returns what is left. */
export async function writeWaiting(stage: Stage, signal: AbortSignal): Promise<WaitingStatus> {
  const { database, holder } = stage;
  for (;;) {
    const status = await readWaiting(database);
    const waiting = waitingOf(database);
    if (status.keys === 0 || waiting === null || signal.aborted) return status;
    const { written } = await stage.betweenWrites(() => waiting.write(holder.fence));
    if (written === 0) return status;
  }
}

/** Cares for it beside a running follower. What fails is logged and tried again. */
export class WaitingTender {
  readonly #stage: Stage;
  #due = performance.now();
  #waited = 0;
  #running: { readonly done: Promise<void>; readonly stop: AbortController } | null = null;

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  /** Begins, if it is time and nothing is under way. In a trunk nothing waits. */
  tend(): void {
    if (this.#stage.database.marker.kind !== 'rollout') return;
    if (this.#running !== null || performance.now() < this.#due) return;
    const stop = new AbortController();
    const done = this.#write(stop.signal).finally(() => {
      this.#running = null;
    });
    this.#running = { done, stop };
  }

  /** Lets what is under way end its part. */
  async pause(): Promise<void> {
    this.#running?.stop.abort();
    await this.#running?.done;
  }

  async #write(signal: AbortSignal): Promise<void> {
    const { context, database } = this.#stage;
    this.#due = performance.now() + LOOK_MS;
    try {
      const { keys, oldestMs } = await writeWaiting(this.#stage, signal);
      const told = { database: database.name, keys };
      if (keys > 0 && this.#waited === 0) {
        const what = 'a transaction of the candidate holds rows that production changed: they wait';
        context.logger.info(what, { ...told, oldestMs });
      }
      if (keys === 0 && this.#waited > 0) context.logger.info('no key waits any more', told);
      this.#waited = keys;
    } catch (error) {
      if (this.#stage.closed) return;
      this.#due = performance.now() + PAUSE_MS;
      context.logger.warn('keys that wait could not be written', {
        database: database.name,
        error,
      });
    }
  }
}
