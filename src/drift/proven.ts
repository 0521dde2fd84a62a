import type { ProductionDatabase } from '../dialect/dialect.ts';
import { sleep } from '../util/wait.ts';
import type { BarrierTiming } from '../source/barrier.ts';
import type { FollowerControl } from './follower-control.ts';

/**
 * Waits until a snapshot of production sees every transaction that we have applied. Behind a slow
 * synchronous standby a transaction is in the log, and applied here, before any snapshot sees it.
 * Null when it does; else, after the time limit, why not.
 */
export async function waitUntilProven(
  parts: {
    readonly follower: Pick<FollowerControl, 'progress' | 'prove'>;
    readonly production: Pick<ProductionDatabase, 'view'>;
  },
  options: { readonly timing: BarrierTiming; readonly signal: AbortSignal },
): Promise<string | null> {
  const { follower, production } = parts;
  const { unproven, unprovenEvicted } = await follower.progress();
  if (unproven.length === 0 && unprovenEvicted === null) return null;
  const deadline = performance.now() + options.timing.timeoutMs;
  for (;;) {
    const view = await production.view();
    const pending = unproven.filter((txId) => !view.visible(txId));
    const complete = unprovenEvicted === null || view.complete(unprovenEvicted);
    if (pending.length === 0 && complete) {
      if (unproven.length > 0) await follower.prove(unproven);
      return null;
    }
    if (performance.now() >= deadline) {
      return pending.length > 0
        ? `production still hides ${pending.length} transactions that were applied`
        : 'a transaction older than some we applied is still open in production';
    }
    await sleep(options.timing.everyMs, options.signal);
  }
}
