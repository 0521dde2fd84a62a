import { playPostgresFamily } from '../support/overlay-family-postgres.ts';
import { startPostgres } from '../support/postgres.ts';
import type { TortureContext, TortureStage, TortureSuite } from '../support/seeds.ts';

/**
 * Sixteen writers of a candidate and the applier on tables that refer to each other, also by rows that nobody
 * committed yet.
 */
export default {
  name: 'overlay-family',
  promise:
    'the base view is production, what the candidate wrote stays, and all that refers to none is told',
  deadlineMs: 30_000,
  seedsInTests: 6,
  async open(): Promise<TortureStage> {
    const server = await startPostgres();
    return {
      run: (seed: number, { random, signal, note }: TortureContext): Promise<void> =>
        playPostgresFamily({
          serverUrl: server.url,
          database: `torture_${seed}`,
          ...{ random, signal, note },
          durationMs: 2_000,
          idleMs: random.pick([0, 0, 300]),
        }),
      [Symbol.asyncDispose]: () => server.stop(),
    };
  },
} satisfies TortureSuite;
