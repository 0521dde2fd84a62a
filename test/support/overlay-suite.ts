import { openParkingApplier, openRealApplier } from './overlay-applier.ts';
import { playOverlay } from './overlay-scenario.ts';
import { startPostgres } from './postgres.ts';
import type { TortureContext, TortureStage, TortureSuite } from './seeds.ts';

/** How long the applier of the idle suites waits for locks of a candidate. */
const PATIENCE_MS = 30;

/**
 * Sixteen writers of a candidate (updates, no-ops, upserts, deletes, changed keys, savepoints,
 * rollbacks, half of them above READ COMMITTED) and the applier on fifty rows, with resets and
 * releases in between, on one of the tables. `idles`: with transactions of the candidate that stay idle at what
 * they wrote for longer than the applier's patience: their keys wait, and come to be written in between.
 */
export function overlaySuite(
  name: string,
  { tables, idles = false }: { readonly tables: readonly string[]; readonly idles?: boolean },
): TortureSuite {
  const promise = idles
    ? 'keys that idle transactions hold wait in order, and the base view is production all the while'
    : 'the base view is production, the candidate sees its own writes, and a row is owned iff written';
  return {
    ...{ name, promise, deadlineMs: 30_000 },
    ...(idles && { seedsInTests: 5 }),
    async open(): Promise<TortureStage> {
      const server = await startPostgres();
      return {
        run: (seed: number, { random, signal, note }: TortureContext): Promise<void> =>
          playOverlay({
            serverUrl: server.url,
            database: `torture_${seed}`,
            ...{ random, signal, note, tables },
            openApplier: idles
              ? (url, table) => openParkingApplier(url, table, PATIENCE_MS)
              : openRealApplier,
            durationMs: idles ? 2_000 : 1_500,
            ...(idles && { idleMs: 400 }),
          }),
        [Symbol.asyncDispose]: () => server.stop(),
      };
    },
  };
}
