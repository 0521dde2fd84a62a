/**
 * Negative controls: the torture must catch appliers that are wrong by a hair, or its green means
 * nothing. Each must be caught within a few seeds.
 */
import { expect, test } from 'vitest';
import {
  CHECK_WHILE_WRITING,
  openNaiveApplier,
  openNaiveReleaser,
  READ_THEN_WRITE,
} from '../support/naive-appliers.ts';
import { playOverlay, type Applier } from '../support/overlay-scenario.ts';
import { runTorture, seedsFrom, baseSeed, type TortureSuite } from '../support/seeds.ts';
import { postgresUrl } from '../support/test-database.ts';

const SEEDS = 40;
const SEED_MS = 30_000;

const base = baseSeed(process.env['UNDERSTUDY_SEED']);

function suite(
  name: string,
  openApplier: (url: string) => Promise<Applier>,
  serverUrl: string,
): TortureSuite {
  return {
    name,
    promise: 'none: it must fail',
    deadlineMs: SEED_MS,
    open: () =>
      Promise.resolve({
        run: (seed, { random, signal, note }) =>
          playOverlay({
            serverUrl,
            database: `${name}_${seed}`,
            random,
            signal,
            note,
            openApplier,
            durationMs: 1_500,
          }),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      }),
  };
}

for (const [name, openApplier] of [
  ['check_while_writing', (url: string) => openNaiveApplier(url, CHECK_WHILE_WRITING)],
  ['read_then_write', (url: string) => openNaiveApplier(url, READ_THEN_WRITE)],
  ['compare_then_release', openNaiveReleaser],
] as const) {
  test(
    `an applier that does "${name}" is caught (from seed ${base})`,
    async () => {
      for (const seed of seedsFrom(base, SEEDS)) {
        const { failed } = await runTorture(suite(name, openApplier, postgresUrl()), [seed]);
        const failure = failed[0];
        if (failure === undefined) continue;
        // Caught by the judge, not by an accident of the test itself.
        expect(failure.error).toHaveProperty('code', 'ERR_ASSERTION');
        console.log(`${name}: caught at seed ${seed} (from ${base})`);
        return;
      }
      expect.unreachable(`${name} survived ${SEEDS} seeds from ${base}`);
    },
    SEEDS * SEED_MS,
  );
}
