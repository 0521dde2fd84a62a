/** `understudy materialize --until-caught-up`: apply what is in the log now, then stop. */
import type { BootstrapProgress } from '../bootstrap/copy-meter.ts';
import type { OffsetMap } from '../change/position.ts';
import { tableName } from '../change/table-id.ts';
import type { ShadowDatabase } from '../dialect/dialect.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import { pollUntil, rejectWhenAborted } from '../util/wait.ts';
import type { RuntimeContext } from './context.ts';
import { assertKeysAlike } from './foreign-keys.ts';
import { fillGaps } from './gaps.ts';
import { readHeld } from './held-tables.ts';
import { keepLetters } from './letter-keeper.ts';
import { tellLetters } from './letter-teller.ts';
import { bootstrapTrunk } from './bootstrap-trunk.ts';
import { followEvolving } from './evolve.ts';
import { followLarge } from './large.ts';
import { refillTrunk } from './refill.ts';
import { Stage } from './stage.ts';
import { sweep } from './sweeper.ts';
import { readWaiting } from './waiting-keys.ts';
import { keepTopicIds } from './new-topics.ts';
import { dropTrunk, ensureTrunk, type TrunkReport } from './trunk.ts';

export interface MaterializeProgress {
  readonly database: string;
  /** Records read and to read, over all partitions. */
  readonly done: number;
  readonly total: number;
  readonly events: number;
}

export interface MaterializeSummary {
  readonly applied: {
    readonly events: number;
    readonly rows: number;
    readonly transactions: number;
  };
  readonly position: Readonly<Record<string, string>>;
  readonly parked: number;
  /** Values that may not be production's. */
  readonly unknown: number;
  readonly deadLetters: number;
  /** Source transactions whose end is not in the log yet. */
  readonly waiting: number;
  /** Source transactions that were applied in parts. */
  readonly degraded: number;
  readonly notCarried: TrunkReport['notCarried'];
  /** Tables that were copied anew, because the log had lost what comes next of them. */
  readonly refilled: readonly string[];
  /** Tables that wait for a person, of trunk and rollouts. */
  readonly held: readonly string[];
}

export interface MaterializeOptions {
  /** Drops the trunk first, so that it is made and filled again. Default false. */
  readonly anew?: boolean;
  /** Copies the trunk's tables anew whose events the log holds no more. Default false. */
  readonly refill?: boolean;
  readonly onProgress?: (progress: MaterializeProgress) => void;
  readonly onBootstrap?: (progress: BootstrapProgress) => void;
  readonly signal: AbortSignal;
}

/** Brings trunk and rollouts to the log's end as it was at the start. */
export async function materialize(
  context: RuntimeContext,
  options: MaterializeOptions,
): Promise<MaterializeSummary> {
  if (options.anew === true) await dropTrunk(context);
  const trunk = await ensureTrunk(context);
  const totals = { events: 0, rows: 0, transactions: 0 };
  let waiting = 0;
  let degraded = 0;
  let parked = 0;
  let unknown = 0;
  const held = new Set<string>();
  const add = (part: Caught): void => {
    totals.events += part.events;
    totals.rows += part.rows;
    totals.transactions += part.transactions;
    waiting += part.waiting;
    degraded += part.degraded;
    parked += part.parked;
    unknown += part.unknown;
    for (const table of part.held) held.add(table);
  };
  const first = await catchUp(context, trunk.database, options, options.refill);
  add(first);
  const rollouts = (await (await context.existingControl())?.rollouts()) ?? [];
  for (const row of rollouts) {
    if (row.state !== 'following' && row.state !== 'failed') continue;
    const database = await context.server.open(row.database);
    if (database !== null) add(await catchUp(context, database, options));
  }
  return {
    applied: totals,
    position: first.position,
    parked,
    unknown,
    deadLetters: first.deadLetters,
    waiting,
    degraded,
    notCarried: trunk.report.notCarried,
    refilled: first.refilled,
    held: [...held],
  };
}

interface Caught {
  readonly events: number;
  readonly rows: number;
  readonly transactions: number;
  readonly waiting: number;
  readonly degraded: number;
  readonly position: Readonly<Record<string, string>>;
  readonly parked: number;
  readonly unknown: number;
  readonly deadLetters: number;
  readonly held: readonly string[];
}

type Refilled = Caught & { readonly refilled: readonly string[] };

/** Owns `database` and closes it. */
async function catchUp(
  context: RuntimeContext,
  database: ShadowDatabase,
  options: MaterializeOptions,
  refill = false,
): Promise<Refilled> {
  const stage = await Stage.take(context, database, { giveUpAfterMs: 60_000 });
  if (stage === null) {
    try {
      if (refill) {
        const what = 'the trunk is followed: end that before it is refilled';
        throw new UnderstudyError('FENCE_HELD', what, { database: database.name });
      }
      return { ...(await waitForHolder(context, database, options)), refilled: [] };
    } finally {
      await database[Symbol.asyncDispose]();
    }
  }
  try {
    const filling = {
      signal: options.signal,
      ...(options.onBootstrap !== undefined && { onProgress: options.onBootstrap }),
    };
    const refilled = refill ? await refillTrunk(stage, filling) : [];
    await bootstrapTrunk(stage, filling);
    await assertKeysAlike(context, database);
    const follow = (): Promise<Caught> => followToEnd(stage, options);
    const caught = await followEvolving(stage, () => followLarge(stage, follow));
    return { ...caught, refilled };
  } finally {
    await stage.close();
  }
}

async function followToEnd(stage: Stage, options: MaterializeOptions): Promise<Caught> {
  const { follower, source, done } = await stage.running();
  const [ends, starts] = await Promise.all([source.ends(), source.starts()]);
  const begun = follower.position.offsets;
  const report = (): void => {
    options.onProgress?.({
      database: stage.database.name,
      ...countRecords(ends, starts, begun, follower.position.offsets),
      events: stage.totals(follower).events,
    });
  };
  const ticking = setInterval(report, 200);
  try {
    const reached = follower.until(() => follower.caughtUp(ends, starts));
    const aborted = rejectWhenAborted(options.signal);
    await Promise.race([reached, done, aborted]);
    // The follower's own error comes first; an ended recording is caught up.
    if (follower.state.kind === 'stopped') await done;
    stage.holder.throwIfLost();
  } finally {
    clearInterval(ticking);
  }
  report();
  if (follower.state.kind !== 'stopped') await fillGaps(stage, options.signal);
  await keepTopicIds(stage);
  await keepLetters(stage);
  await tellLetters(stage);
  if (stage.database.marker.kind === 'rollout') await sweep(stage, options.signal);
  const held = follower.held();
  const progress = await stage.database.progress();
  return {
    ...stage.totals(follower),
    waiting: held.transactions,
    position: describeOffsets(progress.position.offsets),
    parked: progress.parked + (await readWaiting(stage.database)).keys,
    unknown: progress.unknown,
    deadLetters: progress.deadLetters,
    held: await heldIn(stage.database),
  };
}

/** Another process follows this database: it only has to get there. */
async function waitForHolder(
  context: RuntimeContext,
  database: ShadowDatabase,
  options: MaterializeOptions,
): Promise<Caught> {
  await using source = await context.openSource();
  const [ends, starts] = await Promise.all([source.ends(), source.starts()]);
  const begun = (await database.progress()).position.offsets;
  const reached = await pollUntil({
    probe: async () => {
      const progress = await database.progress();
      const count = countRecords(ends, starts, begun, progress.position.offsets);
      options.onProgress?.({ database: database.name, ...count, events: 0 });
      return count.done >= count.total ? progress : undefined;
    },
    everyMs: 250,
    timeoutMs: 3_600_000,
    timeout: () =>
      new UnderstudyError('REQUEST_TIMEOUT', 'the holder did not catch up within an hour', {
        database: database.name,
      }),
    signal: options.signal,
  });
  return {
    events: 0,
    rows: 0,
    transactions: 0,
    waiting: 0,
    degraded: 0,
    position: describeOffsets(reached.position.offsets),
    parked: reached.parked + (await readWaiting(database)).keys,
    unknown: reached.unknown,
    deadLetters: reached.deadLetters,
    held: await heldIn(database),
  };
}

async function heldIn(database: ShadowDatabase): Promise<readonly string[]> {
  const { held } = await readHeld(database, await database.deadLetters.list());
  return held.map(({ table }) => tableName(table));
}

/** Records between where it began and the ends, and how many of them are behind `at`. */
export function countRecords(
  ends: OffsetMap,
  starts: OffsetMap,
  begun: OffsetMap,
  at: OffsetMap,
): { readonly done: number; readonly total: number } {
  let done = 0n;
  let total = 0n;
  for (const [partition, end] of ends) {
    const from = begun.get(partition) ?? starts.get(partition) ?? 0n;
    if (end <= from) continue;
    const now = at.get(partition) ?? from;
    total += end - from;
    done += (now < end ? now : end) - from;
  }
  return { done: Number(done), total: Number(total) };
}

export function describeOffsets(offsets: OffsetMap): Record<string, string> {
  return Object.fromEntries(
    [...offsets].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, offset]) => [key, String(offset)]),
  );
}
