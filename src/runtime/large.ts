/**
 * Begins following again where a transaction that is too large for memory could not be written
 * whole, and writes it in parts that are committed one by one where that does not help.
 */
import { LargeUnwritten } from '../apply/large-transaction.ts';
import { isUnderstudyError } from '../errors/understudy-error.ts';
import { backoffMs, sleep } from '../util/wait.ts';
import type { Stage } from './stage.ts';

/** How often it is tried whole against what can pass by itself. */
const TRIES = 5;

/** Runs `follow`, and again after each large transaction that was not written. */
export async function followLarge<T>(stage: Stage, follow: () => Promise<T>): Promise<T> {
  const failures = new Map<string, number>();
  for (;;) {
    try {
      return await follow();
    } catch (error) {
      if (!(error instanceof LargeUnwritten)) throw error;
      const { cause, transactionId: transaction } = error;
      // A lock, or what a row holds. All else is told by its own error.
      if (!isUnderstudyError(cause, 'APPLY_BLOCKED', 'APPLY_FAILED')) throw cause;
      const count = (failures.get(transaction) ?? 0) + 1;
      failures.set(transaction, count);
      const passes = isUnderstudyError(cause, 'APPLY_BLOCKED') && count < TRIES;
      if (!passes && stage.apart.has(transaction)) throw cause;
      if (!passes) stage.apart.add(transaction);
      const what = passes
        ? 'a large transaction could not be written, trying again'
        : 'a large transaction cannot be written whole, and is written in parts';
      stage.context.logger.warn(what, { database: stage.database.name, transaction, error: cause });
      await stage.stopFollowing();
      const signal = AbortSignal.any([stage.stopping, stage.holder.lost]);
      await sleep(backoffMs(count, 100, 5_000), signal);
    }
  }
}
