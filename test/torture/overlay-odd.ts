import { openRealApplier } from '../support/overlay-applier.ts';
import { playOverlay } from '../support/overlay-scenario.ts';
import { ODD_TABLES } from '../support/overlay-tables.ts';
import { startPostgres } from '../support/postgres.ts';
import type { TortureContext, TortureStage, TortureSuite } from '../support/seeds.ts';

/**
 * As the suite `overlay`, on tables whose keys are of several columns or spelled in several ways, and whose unique
 * values are so by an expression, for some rows, by exclusion, or at the end of a transaction.
 */
export default {
  name: 'overlay-odd',
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
          tables: ODD_TABLES,
          durationMs: 1_500,
        }),
      [Symbol.asyncDispose]: () => server.stop(),
    };
  },
} satisfies TortureSuite;
