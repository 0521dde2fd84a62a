/**
 * Negative controls of the torture of MySQL's and MariaDB's overlay: it must catch appliers that are wrong
 * by a hair, or its green means nothing. Each must be caught within a few seeds.
 */
import { expect, test } from 'vitest';
import { startMariaDB } from '../support/mariadb.ts';
import { startMySQL } from '../support/mysql.ts';
import {
  CHECK_WHILE_WRITING,
  naiveApplier,
  naiveReleaser,
  READ_THEN_WRITE,
} from '../support/naive-binlog.ts';
import { OverlayGround } from '../support/overlay-binlog.ts';
import type { OpenApplier } from '../support/overlay-binlog-applier.ts';
import { NUMBERED_TABLES } from '../support/overlay-binlog-tables.ts';
import { baseSeed, runTorture, seedsFrom, type TortureSuite } from '../support/seeds.ts';

const SEEDS = 40;
const SEED_MS = 30_000;

const base = baseSeed(process.env['UNDERSTUDY_SEED']);

function suite(name: string, ground: OverlayGround, open: OpenApplier): TortureSuite {
  return {
    name,
    promise: 'none: it must fail',
    deadlineMs: SEED_MS,
    open: () =>
      Promise.resolve({
        run: (seed, { random, signal, note }) =>
          ground.play(
            { database: `${name}_${String(seed)}`, random, signal, note, durationMs: 1_500 },
            open,
            NUMBERED_TABLES,
          ),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      }),
  };
}

test.each([
  { engine: 'mysql', start: startMySQL },
  { engine: 'mariadb', start: startMariaDB },
])(
  `appliers of $engine that look right and are not are caught (from seed ${String(base)})`,
  async ({ engine, start }) => {
    await using server = new AsyncDisposableStack();
    const started = await start();
    server.defer(() => started.stop());
    const ground = server.use(await OverlayGround.make(started.url));
    for (const [name, open] of [
      ['check_while_writing', naiveApplier(CHECK_WHILE_WRITING)],
      ['read_then_write', naiveApplier(READ_THEN_WRITE)],
      ['compare_then_release', naiveReleaser],
    ] as const) {
      let caughtAt: number | null = null;
      for (const seed of seedsFrom(base, SEEDS)) {
        const { failed } = await runTorture(suite(name, ground, open), [seed]);
        const failure = failed[0];
        if (failure === undefined) continue;
        // Caught by the judge, not by an accident of the test itself.
        expect(failure.error).toHaveProperty('code', 'ERR_ASSERTION');
        caughtAt = seed;
        break;
      }
      console.log(`${engine}, ${name}: caught at seed ${String(caughtAt)} (from ${String(base)})`);
      expect(caughtAt, name).not.toBeNull();
    }
  },
  3 * SEEDS * SEED_MS,
);
