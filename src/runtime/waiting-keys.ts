/**
 * Keys that wait for a transaction of the candidate (dialect/waiting.ts) are written about a second after it
 * ended, also where production sends nothing more.
 */
import { tableName } from '../change/table-id.ts';
import { waitingOf } from '../dialect/waiting.ts';
import type { ShadowDatabase } from '../dialect/dialect.ts';
import { countOf, durationText } from '../report/words.ts';
import { Beside } from './beside.ts';
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

/** In a person's words, by table, each with what to do. */
export function describeWaiting({ tables }: WaitingStatus): readonly {
  readonly what: string;
  readonly cure: string;
}[] {
  return tables.map(({ table, keys, oldestMs }) => {
    const [all, wait] = [countOf(keys, 'key'), keys === 1 ? 'waits' : 'wait'];
    return {
      what: `${all} of ${table} ${wait} for a transaction of the candidate, the oldest for ${durationText(Math.round(oldestMs))}`,
      cure: 'end the transaction, also one that is prepared: until then the candidate does not see production’s changes of them',
    };
  });
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

/** Cares for it beside a running follower. In a trunk nothing waits. */
export function careForWaiting(stage: Stage): Beside {
  const { context, database } = stage;
  let waited = 0;
  return new Beside(stage, {
    act: async (signal) => {
      if (database.marker.kind !== 'rollout') return LOOK_MS;
      const { keys, oldestMs } = await writeWaiting(stage, signal);
      const told = { database: database.name, keys };
      if (keys > 0 && waited === 0) {
        const what = 'a transaction of the candidate holds rows that production changed: they wait';
        context.logger.info(what, { ...told, oldestMs });
      }
      if (keys === 0 && waited > 0) context.logger.info('no key waits any more', told);
      waited = keys;
      return LOOK_MS;
    },
    failed: 'keys that wait could not be written',
    pauseMs: PAUSE_MS,
  });
}
