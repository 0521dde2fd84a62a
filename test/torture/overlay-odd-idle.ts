import { openParkingApplier } from '../support/overlay-applier.ts';
import { playOverlay } from '../support/overlay-scenario.ts';
import { ODD_TABLES } from '../support/overlay-tables.ts';
import { startPostgres } from '../support/postgres.ts';
import type { TortureContext, TortureStage, TortureSuite } from '../support/seeds.ts';

/** As the suite `overlay-idle`, on the tables of the suite `overlay-odd`. */
export default {
  name: 'overlay-odd-idle',
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
          tables: ODD_TABLES,
          durationMs: 2_000,
          idleMs: 400,
        }),
      [Symbol.asyncDispose]: () => server.stop(),
    };
  },
} satisfies TortureSuite;
