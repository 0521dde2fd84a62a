import { isUnderstudyError, type UnderstudyError } from '../errors/understudy-error.ts';
import { steadyNow } from '../util/clock.ts';
import { backoffMs, sleep } from '../util/wait.ts';

export interface RetryOptions {
  readonly giveUpAfterMs: number;
  readonly signal: AbortSignal;
  /** Told of every failed attempt: which it was, from 0, and since when it is tried. */
  readonly onFailure: (error: UnderstudyError, attempt: number, sinceMs: number) => void;
}

/** Tries again what can pass by itself: a candidate's lock, a full disk, a server that restarts. */
export async function withRetry<T>(act: () => Promise<T>, options: RetryOptions): Promise<T> {
  const since = steadyNow();
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await act();
    } catch (error) {
      if (!isUnderstudyError(error, 'APPLY_BLOCKED', 'SHADOW_UNREACHABLE')) throw error;
      if (steadyNow() - since > options.giveUpAfterMs) throw error;
      options.onFailure(error, attempt, since);
      await sleep(backoffMs(attempt, 50, 2_000), options.signal);
    }
  }
}
