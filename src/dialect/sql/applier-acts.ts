/** What every engine's applier does around the statements of an act: try again, and remember. */
import type { ErrorCode } from '../../errors/codes.ts';
import { isUnderstudyError, UnderstudyError } from '../../errors/understudy-error.ts';
import { steadyNow } from '../../util/clock.ts';
import { sleep } from '../../util/wait.ts';
import type { ChangeBatch } from '../../order/change-batch.ts';
import type { ApplyOutcome, Fence } from '../dialect.ts';

/** How often an act is tried that other sessions' locks or moved rows refused. */
const ACT_TRIES = 4;
const ACT_PAUSE_MS = 20;
/**
 * How long a part of an act waits for other sessions' locks, while its own may be in their way: less
 * than after what PostgreSQL would end one of them for a deadlock.
 */
const PART_PATIENCE_MS = 400;

/** What a table that was changed behind our back can lead to. */
const STALE: readonly ErrorCode[] = [
  'APPLY_FAILED',
  'TABLE_UNKNOWN',
  'COLUMN_UNKNOWN',
  'KEY_MISSING',
];

interface Remembered<S> {
  readonly session: S;
  readonly generation: bigint;
  /** It was read by an earlier act, so the schema may have changed since. */
  old: boolean;
}

/** What a connection knows of the tables; read again under each new fence and connection. */
export class RememberedSession<S extends { readonly client: unknown }> {
  #known: Remembered<S> | null = null;

  async get(client: S['client'], fence: Fence, open: () => Promise<S>): Promise<S> {
    const known = this.#known;
    if (known?.session.client === client && known.generation === fence.generation) {
      known.old = true;
      return known.session;
    }
    const session = await open();
    this.#known = { session, generation: fence.generation, old: false };
    return session;
  }

  /** True if what is forgotten was read by an earlier act. */
  forget(): boolean {
    const old = this.#known?.old === true;
    this.#known = null;
    return old;
  }
}

export interface ActRules {
  /** It can be tried once only. Default false. */
  readonly once?: boolean;
  /** The shadow database, for the error. */
  readonly database: string;
  /** Whose sessions hold the locks that may be in the way, for the error. */
  readonly others: string;
  /** By the server's word, it met a lock, a deadlock or a moved row. */
  readonly isBlocked: (error: unknown) => boolean;
  /** By the server's word, a table or column is not there. */
  readonly isStale: (error: unknown) => boolean;
  /** Forgets what is known of the tables. True if it was read by an earlier act. */
  readonly forget: () => boolean;
}

/**
 * Runs an act, which is one transaction: again a few times while it meets other sessions' locks
 * (then APPLY_BLOCKED), and once with fresh knowledge of the schema when it fails otherwise.
 */
export async function persistAct<T>(act: () => Promise<T>, rules: ActRules): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await act();
    } catch (error) {
      const isBlocked = isUnderstudyError(error, 'APPLY_BLOCKED') || rules.isBlocked(error);
      if (rules.once === true) throw isBlocked ? blocked(error, rules) : error;
      if (isBlocked) {
        if (tries >= ACT_TRIES) throw blocked(error, rules);
        await sleep(ACT_PAUSE_MS * tries * (0.5 + Math.random()));
      } else {
        const mayBeStale = isUnderstudyError(error, ...STALE) || rules.isStale(error);
        if (!rules.forget() || !mayBeStale) throw error;
      }
    }
  }
}

/** Runs what is no act of an applier's, in the same way: what is known of the tables does not matter. */
export function persistSign<T>(
  sign: () => Promise<T>,
  rules: Pick<ActRules, 'database' | 'isBlocked'>,
): Promise<T> {
  const never = (): boolean => false;
  return persistAct(sign, {
    ...{ ...rules, others: 'other processes', isStale: never, forget: never },
  });
}

/** Runs a part of an act: again, for a moment, while it meets other sessions' locks. */
export async function persistPart<T>(
  execute: (sql: string) => Promise<unknown>,
  part: () => Promise<T>,
  isBlocked: (error: unknown) => boolean,
): Promise<T> {
  const since = steadyNow();
  for (;;) {
    await execute('SAVEPOINT part');
    try {
      const result = await part();
      await execute('RELEASE SAVEPOINT part');
      return result;
    } catch (error) {
      const passes = isUnderstudyError(error, 'APPLY_BLOCKED') || isBlocked(error);
      if (!passes || steadyNow() - since > PART_PATIENCE_MS) throw error;
      // A deadlock may have ended the whole transaction, and the savepoint with it.
      const isOver = await execute('ROLLBACK TO SAVEPOINT part').then(
        () => false,
        () => true,
      );
      if (isOver) throw error;
      await sleep(ACT_PAUSE_MS * (0.5 + Math.random()));
    }
  }
}

/** Writes batches in turn. */
export async function sumOf(
  batches: AsyncIterable<ChangeBatch>,
  write: (batch: ChangeBatch) => Promise<ApplyOutcome>,
): Promise<ApplyOutcome> {
  let sum: ApplyOutcome = { rows: 0, owned: 0, repairs: 0 };
  for await (const batch of batches) {
    const { rows, owned, repairs, parked = 0, uncarried = 0 } = await write(batch);
    sum = {
      rows: sum.rows + rows,
      owned: sum.owned + owned,
      repairs: sum.repairs + repairs,
      parked: (sum.parked ?? 0) + parked,
      uncarried: (sum.uncarried ?? 0) + uncarried,
    };
  }
  return sum;
}

function blocked(error: unknown, { database, others }: ActRules): UnderstudyError {
  if (error instanceof UnderstudyError) return error;
  const what = `${others} stood in the way`;
  return new UnderstudyError('APPLY_BLOCKED', what, { database }, error);
}
