import { openRealApplier } from '../support/overlay-applier.ts';
import { playOverlay } from '../support/overlay-scenario.ts';
import { startPostgres } from '../support/postgres.ts';
import type { TortureContext, TortureStage, TortureSuite } from '../support/seeds.ts';

/**
 * Sixteen writers of a candidate (updates, no-ops, upserts, deletes, changed keys, savepoints,
 * rollbacks, half of them above READ COMMITTED) and the applier on fifty rows, with resets and
 * releases in between, on a plain or a partitioned table.
 */
export default {
  name: 'overlay',
  promise:
    'the base view is production, the candidate sees its own writes, and a row is owned iff written',
  deadlineMs: 30_000,
  async open(): Promise<TortureStage> {
    const server = await startPostgres();
    return {
      run: (seed: number, context: TortureContext): Promise<void> =>
        playOverlay({
          serverUrl: server.url,
          database: `torture_${seed}`,
          random: context.random,
          signal: context.signal,
          note: context.note,
          openApplier: openRealApplier,
          durationMs: 1_500,
        }),
      [Symbol.asyncDispose]: () => server.stop(),
    };
  },
} satisfies TortureSuite;
