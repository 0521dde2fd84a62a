import { openParkingApplier } from '../support/overlay-applier.ts';
import { playOverlay } from '../support/overlay-scenario.ts';
import { startPostgres } from '../support/postgres.ts';
import type { TortureContext, TortureStage, TortureSuite } from '../support/seeds.ts';

/**
 * As the suite `overlay`, with transactions of the candidate that stay idle at what they wrote for longer than
 * the applier's patience: their keys wait, and come to be written in between.
 */
export default {
  name: 'overlay-idle',
  promise:
    'keys that idle transactions hold wait in order, and the base view is production all the while',
  deadlineMs: 30_000,
  seedsInTests: 5,
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
          openApplier: (url, table) => openParkingApplier(url, table, 30),
          durationMs: 2_000,
          idleMs: 400,
        }),
      [Symbol.asyncDispose]: () => server.stop(),
    };
  },
} satisfies TortureSuite;
