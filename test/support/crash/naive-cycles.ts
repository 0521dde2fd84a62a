/**
 * Cycles of an applier that look right and are not: negative controls for the crash torture. They
 * write rows and save positions by the real applier's own parts; only what holds them together
 * differs.
 */
import { isUnderstudyError } from '../../../src/errors/understudy-error.ts';
import { unreachable } from '../../../src/util/assert.ts';
import type { ApplyOutcome, Fence, ShadowDatabase } from '../../../src/dialect/dialect.ts';
import { sumOf } from '../../../src/dialect/sql/applier-acts.ts';
import type { ChangeBatch } from '../../../src/order/change-batch.ts';
import type { CrashFault, NaiveDatabase } from './engine.ts';

/** The real applier's parts on a connection of its own. */
export interface CycleParts<C> {
  /** Runs `fn` on the connection. */
  use(fn: (client: C) => Promise<ApplyOutcome>): Promise<ApplyOutcome>;
  /** Shows that the process is there, once for each client. */
  showPresence(client: C, fence: Fence): Promise<void>;
  transaction<T>(client: C, fn: () => Promise<T>): Promise<T>;
  assertFence(client: C, fence: Fence): Promise<void>;
  rows(client: C, batch: ChangeBatch): Promise<ApplyOutcome>;
  saveProgress(client: C, batch: ChangeBatch): Promise<boolean>;
  close(): Promise<void>;
}

/** `database` with another `apply`. */
export function naiveDatabase<C extends object>(
  database: ShadowDatabase,
  fault: CrashFault,
  parts: CycleParts<C>,
): NaiveDatabase {
  const present = new WeakSet<C>();

  const fenced = <T>(client: C, fence: Fence, act: () => Promise<T>): Promise<T> =>
    parts.transaction(client, async () => {
      await parts.assertFence(client, fence);
      return act();
    });

  const write = async (client: C, batch: ChangeBatch): Promise<ApplyOutcome> => {
    const outcome = await parts.rows(client, batch);
    await parts.saveProgress(client, batch).catch((error: unknown) => {
      if (fault !== 'no-fence' || !isUnderstudyError(error)) throw error;
    });
    return outcome;
  };

  const cycle = async (client: C, fence: Fence, batch: ChangeBatch): Promise<ApplyOutcome> => {
    switch (fault) {
      case 'position-after-rows': {
        const outcome = await fenced(client, fence, () => parts.rows(client, batch));
        await fenced(client, fence, () => parts.saveProgress(client, batch));
        return outcome;
      }
      case 'position-before-rows':
        await fenced(client, fence, () => parts.saveProgress(client, batch));
        return fenced(client, fence, () => parts.rows(client, batch));
      case 'no-fence':
        return parts.transaction(client, () => write(client, batch));
      case 'rows-again':
        return fenced(client, fence, () => write(client, batch));
      default:
        return unreachable(fault);
    }
  };

  return {
    name: database.name,
    applyTogether: (fence, batches) =>
      fault === 'no-fence'
        ? parts.use((client) =>
            parts.transaction(client, () => sumOf(batches, (batch) => write(client, batch))),
          )
        : database.applyTogether(fence, batches),
    openBaseSnapshot: () => database.openBaseSnapshot(),
    apply: (fence, batch) =>
      parts.use(async (client) => {
        if (fault !== 'no-fence' && !present.has(client)) {
          await parts.showPresence(client, fence);
          present.add(client);
        }
        return cycle(client, fence, batch);
      }),
    [Symbol.asyncDispose]: () => parts.close(),
  };
}
