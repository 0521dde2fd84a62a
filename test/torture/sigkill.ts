import { deepEqual, equal } from 'node:assert/strict';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { canonicalState, type CanonicalState } from '../support/canonical-state.ts';
import { databaseUrl, dropDatabase, startPostgres } from '../support/postgres.ts';
import type { TortureContext, TortureStage, TortureSuite } from '../support/seeds.ts';
import { Workplace } from '../support/understudy.ts';

const SHOP = fileURLToPath(new URL('../../src/demo/', import.meta.url));
/** About as long as a process lives that is not killed. */
const LIFE_MS = 2_500;

/** What a shadow holds, and how far it says to be. */
interface Shadow {
  readonly state: CanonicalState;
  readonly progress: readonly Record<string, unknown>[];
}

const PROGRESS = `SELECT topic || '/' || partition AS what, next_offset AS n FROM understudy.position
  UNION ALL SELECT 'unmarked', unmarked FROM understudy.progress
  UNION ALL SELECT 'transactions', count(*) FROM understudy.unproven ORDER BY 1`;

/**
 * `understudy materialize` of the demo's recording is killed at random moments, also while it
 * makes the trunk, and started again; the last time it may end.
 */
export default {
  name: 'sigkill',
  promise: 'a process killed at any moment and started again ends as one that was never killed',
  deadlineMs: 120_000,
  // Every seed starts several processes.
  seedsInTests: 3,
  async open(): Promise<TortureStage> {
    const server = await startPostgres();
    const reference = await materialized(server.url, 'reference', 2_000, []);
    return {
      async run(seed: number, { random, note }: TortureContext): Promise<void> {
        const kills = Array.from({ length: random.integer(1, 3) }, () =>
          random.integer(300, LIFE_MS),
        );
        const batch = random.integer(5, 200);
        note(`batches of ${batch}, killed after ${kills.join(', ')} ms`);
        const shadow = await materialized(server.url, `sigkill_${seed}`, batch, kills);
        deepEqual(shadow, reference);
      },
      [Symbol.asyncDispose]: () => server.stop(),
    };
  },
} satisfies TortureSuite;

async function materialized(
  url: string,
  name: string,
  batchEvents: number,
  kills: readonly number[],
): Promise<Shadow> {
  await dropDatabase(url, name);
  await using workplace = await Workplace.make({
    source: { topicPrefix: 'shop', recording: path.join(SHOP, 'assets/shop.recording') },
    shadow: { url },
    trunk: { name, schema: path.join(SHOP, 'shop/schema.sql') },
    apply: { batchEvents, leaseSeconds: 1 },
  });
  for (const ms of kills) {
    const killed = workplace.start(['materialize', '--until-caught-up']);
    await Promise.race([killed.ended, pause(ms)]);
    killed.kill('SIGKILL');
    await killed.ended;
  }
  const last = await workplace.run(['materialize', '--until-caught-up']);
  equal(last.status, 0, last.stderr);
  const shadow = await read(databaseUrl(url, name));
  await dropDatabase(url, name);
  return shadow;
}

async function read(url: string): Promise<Shadow> {
  const state = await canonicalState(url);
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<Record<string, unknown>>(PROGRESS);
    return { state, progress: rows };
  } finally {
    await client.end();
  }
}
