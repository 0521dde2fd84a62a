/**
 * Negative controls: the crash torture must catch cycles that are wrong by a hair, or its green
 * means nothing. Each must be caught within fifty seeds.
 */
import { AssertionError } from 'node:assert/strict';
import { expect, test } from 'vitest';
import { isUnderstudyError } from '../../src/errors/understudy-error.ts';
import { binlogEngine, onBinlogServer } from '../support/crash/binlog-engine.ts';
import type { CrashEngine, CrashFault, CrashServer } from '../support/crash/engine.ts';
import { onPostgres, postgresEngine } from '../support/crash/postgres-engine.ts';
import { playCrash } from '../support/crash/scenario.ts';
import { baseSeed, runTorture, seedsFrom, type TortureSuite } from '../support/seeds.ts';
import { sharedMariaDB, sharedMySQL } from '../support/shared-stack.ts';
import { postgresUrl } from '../support/test-database.ts';

const SEEDS = 50;
const SEED_MS = 120_000;

const base = baseSeed(process.env['UNDERSTUDY_SEED']);

const FAULTS: readonly CrashFault[] = [
  'position-after-rows',
  'position-before-rows',
  'no-fence',
  'rows-again',
];
const TORN: readonly CrashFault[] = ['position-after-rows', 'position-before-rows'];

interface Place {
  readonly engine: CrashEngine;
  /** The judge is the same everywhere; some faults take many seeds to show. */
  readonly faults: readonly CrashFault[];
  readonly server: () => Promise<CrashServer>;
}

const PLACES: readonly Place[] = [
  {
    engine: postgresEngine,
    faults: FAULTS,
    server: () => Promise.resolve(onPostgres(postgresUrl())),
  },
  {
    engine: binlogEngine('mysql'),
    faults: TORN,
    server: async () => onBinlogServer((await sharedMySQL()).url, 'mysql'),
  },
  {
    engine: binlogEngine('mariadb'),
    faults: TORN,
    server: async () => onBinlogServer((await sharedMariaDB()).url, 'mariadb'),
  },
];

function suite(fault: CrashFault, { engine, server: start }: Place): TortureSuite {
  const name = `crash_${fault.replaceAll('-', '_')}`;
  return {
    ...{ name, promise: 'none: it must fail', deadlineMs: SEED_MS },
    open: async () => {
      const server = await start();
      return {
        run: (seed, { random, signal, note }) =>
          playCrash({
            ...{ engine, server, database: `${name}_${seed}`, fault },
            ...{ random, signal, note },
          }),
        [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
      };
    },
  };
}

for (const place of PLACES) {
  for (const fault of place.faults) {
    test(
      `on ${place.engine.engine} a cycle with "${fault}" is caught (from seed ${base})`,
      async () => {
        for (const seed of seedsFrom(base, SEEDS)) {
          const { failed } = await runTorture(suite(fault, place), [seed]);
          const failure = failed[0];
          // It must be caught by the judge or the position's own guard, not by an accident of the test.
          const guarded =
            isUnderstudyError(failure?.error, 'APPLY_FAILED') &&
            failure.error.message.includes('lies before');
          if (!(failure?.error instanceof AssertionError) && !guarded) continue;
          console.log(`${fault}: caught at seed ${seed} (from ${base}): ${String(failure.error)}`);
          return;
        }
        expect.unreachable(`${fault} survived ${SEEDS} seeds from ${base}`);
      },
      SEEDS * SEED_MS,
    );
  }
}
