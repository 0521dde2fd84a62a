/** The torture suites' lane in CI: some seeds each, from a fresh base seed that is printed. */
import { expect, test } from 'vitest';
import { baseSeed, describeFailure, runTorture, seedsFrom } from '../support/seeds.ts';
import { loadSuite, suiteNames } from '../support/torture-suites.ts';

const SEEDS = 10;
const OPENING_MS = 120_000;

const base = baseSeed(process.env['UNDERSTUDY_SEED']);
const suites = await Promise.all((await suiteNames()).map((name) => loadSuite(name)));

test('there are torture suites', () => {
  expect(suites).not.toHaveLength(0);
});

for (const suite of suites) {
  const seeds = suite.seedsInTests ?? SEEDS;
  test(
    `${suite.name}: ${suite.promise} (${seeds} seeds from ${base})`,
    async () => {
      console.log(`suite ${suite.name}: base seed ${base}`);
      const { failed, ran } = await runTorture(suite, seedsFrom(base, seeds));
      expect(failed.map((failure) => describeFailure(suite.name, failure))).toEqual([]);
      expect(ran).toBe(seeds);
    },
    OPENING_MS + seeds * suite.deadlineMs,
  );
}
