/**
 * One database of `run`: stands by until the fence is free, follows, answers requests, and
 * stands by again after an act that had to close the database.
 */
import type { ControlStore, DatabaseKind, RequestRow, ShadowDatabase } from '../dialect/dialect.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import { backoffMs, sleep } from '../util/wait.ts';
import type { RuntimeContext } from './context.ts';
import { GapFiller } from './gaps.ts';
import { LetterTender } from './letter-tender.ts';
import { bootstrapOf } from './bootstrap-state.ts';
import { bootstrapTrunk } from './bootstrap-trunk.ts';
import { followEvolving } from './evolve.ts';
import { assertKeysAlike } from './foreign-keys.ts';
import { followLarge } from './large.ts';
import { help } from './member.ts';
import { answer } from './requests.ts';
import type { Running } from './running.ts';
import { SharedWork, sharedBy } from './sharing.ts';
import { Stage } from './stage.ts';
import { careForOverlay } from './sweeper.ts';
import { careForWaiting } from './waiting-keys.ts';
import { careForMigrations } from './begun-migrations.ts';

/** What passes by itself: it is opened anew, and followed from where it stands. */
const SHADOW_AWAY = ['SHADOW_UNREACHABLE', 'SHADOW_REWOUND'] as const;

/** How often requests and the fence of another holder are looked at. */
const POLL_MS = 200;

/** How long a holder keeps away that was asked to give way. */
const YIELD_MS = 2_000;

export interface RunnerOptions {
  readonly database: string;
  readonly kind: DatabaseKind;
  readonly signal: AbortSignal;
  readonly onState: (state: RunState) => void;
}

/** `helping`: it follows some partitions of a database that another process holds. */
export type RunState = 'standing-by' | 'helping' | 'bootstrapping' | 'following' | 'ended';

/**
 * Runs until the signal aborts, the log ends (a recording), or the database is gone. Throws
 * FENCED when another process took over, and whatever stopped the follower.
 */
export async function runDatabase(context: RuntimeContext, options: RunnerOptions): Promise<void> {
  const control = await context.control();
  // A rollout is started by a process that is under way already.
  const life = { underWay: options.kind === 'rollout' };
  for (;;) {
    const stage = await standBy(context, options);
    if (stage === null) return;
    try {
      if ((await holdAndClose(control, stage, options, life)) === 'ended') return;
      life.underWay = true;
    } catch (error) {
      // Its server, or Kafka, went away between two acts: that passes, as it would while
      // following. At the start of the process a wrong address is told at once.
      const passing = life.underWay
        ? isUnderstudyError(error, ...SHADOW_AWAY, 'KAFKA_UNREACHABLE')
        : isUnderstudyError(error, ...SHADOW_AWAY);
      if (options.signal.aborted || !passing) throw error;
      context.logger.warn('cannot follow, trying again', { database: options.database, error });
      await sleep(backoffMs(0, 1_000), options.signal).catch(() => undefined);
    }
  }
}

async function holdAndClose(
  control: ControlStore,
  stage: Stage,
  options: RunnerOptions,
  life: Life,
): Promise<'again' | 'ended'> {
  try {
    if ((await bootstrapOf(stage.database))?.ends === null) options.onState('bootstrapping');
    await bootstrapTrunk(stage, { signal: options.signal });
    await assertKeysAlike(stage.context, stage.database);
    options.onState('following');
    const sharing = SharedWork.of(stage, options.kind);
    const follow = (): Promise<'again' | 'ended'> =>
      hold(control, stage, { ...options, life }, sharing);
    return await followEvolving(stage, () => followLarge(stage, follow));
  } finally {
    await stage.close();
  }
}

/** Waits for the fence. Null if the signal aborted or the database does not exist (any more). */
async function standBy(context: RuntimeContext, options: RunnerOptions): Promise<Stage | null> {
  let announced = false;
  let failures = 0;
  while (!options.signal.aborted) {
    try {
      const found = await takeOrWait(context, options, () => {
        if (announced) return;
        announced = true;
        options.onState('standing-by');
        context.logger.info('another understudy holds the database; standing by', {
          database: options.database,
        });
      });
      if (found !== 'again') return found;
      failures = 0;
    } catch (error) {
      if (options.signal.aborted) return null;
      // The database is closed to everybody while it is cloned, or its server restarts.
      // Who helps may meet others' locks for long.
      if (!isUnderstudyError(error, 'SHADOW_UNREACHABLE', 'APPLY_BLOCKED')) throw error;
      failures += 1;
      if (failures % 20 === 0) {
        context.logger.warn('cannot open the database', { database: options.database, error });
      }
      await sleep(backoffMs(failures, 100, 1_000), options.signal).catch(() => undefined);
    }
  }
  return null;
}

async function takeOrWait(
  context: RuntimeContext,
  options: RunnerOptions,
  onWait: () => void,
): Promise<Stage | null | 'again'> {
  const database = await context.server.open(options.database);
  if (database === null) return null;
  let stage: Stage | null = null;
  try {
    stage = await Stage.take(context, database, {
      giveUpAfterMs: Infinity,
      stopping: options.signal,
    });
    if (stage !== null) return stage;
    onWait();
    const sharing = sharedBy(context.config, database, options.kind);
    const { signal } = options;
    const onShare = (): void => {
      options.onState('helping');
    };
    if (sharing === null) await waitForFence(database, signal);
    else await help(context, database, sharing, { signal, onShare });
    return 'again';
  } finally {
    // A stage that was taken owns the database.
    if (stage === null) await database[Symbol.asyncDispose]();
  }
}

async function waitForFence(database: ShadowDatabase, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    if ((await database.fenceState()).free) return;
    await sleep(POLL_MS, signal);
  }
}

/** Of a process and one database: whether it has followed it. */
interface Life {
  underWay: boolean;
}

type HoldOptions = RunnerOptions & { readonly life: Life };

async function hold(
  control: ControlStore,
  stage: Stage,
  options: HoldOptions,
  sharing: SharedWork | null,
): Promise<'again' | 'ended'> {
  for (;;) {
    const outcome = await holdUntil(control, stage, options, sharing);
    if (outcome !== 'regrouped') return outcome;
  }
}

/** Until it ends, or other partitions are to be followed here from now on. */
async function holdUntil(
  control: ControlStore,
  stage: Stage,
  options: HoldOptions,
  sharing: SharedWork | null,
): Promise<'again' | 'ended' | 'regrouped'> {
  const running = await stage.running();
  options.life.underWay = true;
  const { follower, done } = running;
  let failure: unknown = null;
  let ended = false;
  const wake = new AbortController();
  const watching = done.then(
    () => {
      ended = true;
    },
    (error: unknown) => {
      failure = error;
      wake.abort();
    },
  );
  const onStop = (): void => {
    follower.stop();
    wake.abort();
  };
  options.signal.addEventListener('abort', onStop, { once: true });
  stage.holder.lost.addEventListener('abort', onStop, { once: true });
  if (options.signal.aborted) onStop();
  const filler = new GapFiller(stage);
  const tender = new LetterTender(stage);
  const sweeper = careForOverlay(stage);
  const waiting = careForWaiting(stage);
  const migrations = careForMigrations(stage);
  const pause = async (): Promise<void> => {
    const all = [filler, tender, sweeper, waiting, migrations];
    await Promise.all(all.map((one) => one.pause()));
  };
  try {
    while (!wake.signal.aborted) {
      const request = await nextRequest(control, stage);
      if (request !== null) {
        await pause();
        const gathered = (await sharing?.gather()) === true;
        // Not all are back: whoever holds it next takes the request up anew.
        if (sharing?.isShared === true) break;
        await answer(control, stage, request);
        if (request.kind === 'yield') await sleep(YIELD_MS, options.signal).catch(() => undefined);
        if (stage.closed) return request.kind === 'rollout-delete' ? 'ended' : 'again';
        if (gathered) return 'regrouped';
      } else if (!ended && (await isDue(sharing, running))) {
        await pause();
        await sharing?.regroup();
        return 'regrouped';
      } else {
        if (!ended && sharing?.isShared !== true) filler.tend();
        tender.tend();
        sweeper.tend();
        waiting.tend();
        migrations.tend();
        await sleep(POLL_MS, wake.signal).catch(() => undefined);
      }
    }
    await watching;
  } finally {
    options.signal.removeEventListener('abort', onStop);
    await pause();
  }
  stage.holder.throwIfLost();
  // A batch that waited for a candidate's lock was not applied; the next holder begins with it.
  if (options.signal.aborted && isUnderstudyError(failure, 'INTERRUPTED')) return 'ended';
  if (failure !== null && !options.signal.aborted) {
    if ((await sharing?.triesAlone(running, failure)) === true) return 'regrouped';
  }
  if (failure !== null) throw failure;
  // A recording's end is no error: requests were served until the signal came.
  if (!ended && !options.signal.aborted) {
    throw new UnderstudyError('INTERNAL', 'following ended', { database: options.database });
  }
  return 'ended';
}

/** False also if the server or the log is away: signs of life tell of that, and the follower waits. */
async function isDue(sharing: SharedWork | null, running: Running): Promise<boolean> {
  try {
    return (await sharing?.isDue(running)) === true;
  } catch (error) {
    const passes = [...SHADOW_AWAY, 'KAFKA_UNREACHABLE', 'APPLY_BLOCKED'] as const;
    if (!isUnderstudyError(error, ...passes)) throw error;
    return false;
  }
}

/** Null if there is none, or the server is away: signs of life tell of that, and the follower waits. */
async function nextRequest(control: ControlStore, stage: Stage): Promise<RequestRow | null> {
  try {
    return await control.claimRequest(stage.database.name, stage.context.holder);
  } catch (error) {
    if (!isUnderstudyError(error, 'SHADOW_UNREACHABLE')) throw error;
    return null;
  }
}
