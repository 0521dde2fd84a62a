import type { TortureContext, TortureStage, TortureSuite } from '../seeds.ts';
import type { CrashEngine } from './engine.ts';
import { playCrash } from './scenario.ts';

/**
 * Appliers follow a random history (transactions over tables and partitions, key changes and
 * swaps, truncates, partial rows, second deliveries) into a trunk or a rollout with a candidate.
 * They break before, at and after any message to the server and on either side of a commit: the
 * connection is cut, the process dies, is stopped and goes on after it was taken over, or the
 * server ends its sessions.
 */
export function crashSuite(name: string, engine: CrashEngine): TortureSuite {
  return {
    name,
    promise:
      'wherever an applier breaks, the shadow is production at its position, and nothing is applied twice',
    deadlineMs: 120_000,
    async open(): Promise<TortureStage> {
      const server = await engine.start();
      return {
        run: (seed: number, context: TortureContext): Promise<void> =>
          playCrash({
            ...{ engine, server, database: `crash_${seed}`, fault: null },
            random: context.random,
            signal: context.signal,
            note: context.note,
          }),
        [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
      };
    },
  };
}
