/** A shop as production, its connector, and `understudy` that follows it, for tests of faults. */
import pg from 'pg';
import { expect } from 'vitest';
import { pollUntil } from '../../src/util/wait.ts';
import { canonicalState, productionView } from './canonical-state.ts';

import type { RunningCli, Workplace } from './understudy.ts';

/** What these tests look at in `status --json`. */
export interface FollowStatus {
  readonly logError: string | null;
  readonly connector: { readonly connector: string } | null;
  readonly databases: readonly {
    readonly name: string;
    readonly state: string;
    readonly holder: string | null;
    readonly degraded: string | null;
    readonly lag: { readonly offsets: number | null };
    readonly activity: {
      readonly kind: string;
      readonly forMs: number | null;
      readonly reason: string | null;
    };
  }[];
}

export type DatabaseFacts = FollowStatus['databases'][number];

export async function query(url: string, sql: string): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await client.query(sql);
  } finally {
    await client.end();
  }
}

export function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  withinMs = 60_000,
): Promise<true> {
  return pollUntil({
    probe: async () => ((await condition()) ? true : undefined),
    ...{ everyMs: 100, timeoutMs: withinMs },
    timeout: () => new Error(`waited in vain: ${what}`),
  });
}

/** The sum of the offsets that a shadow database has stored. */
export async function appliedOffsets(url: string): Promise<bigint> {
  const { rows } = await query(
    url,
    'SELECT coalesce(sum(next_offset), 0)::text AS total FROM understudy.position',
  );
  return BigInt((rows[0] as { total: string }).total);
}

/** `status`, also while the log or the shadow cannot be reached; null if it says nothing then. */
export async function statusOf(workplace: Workplace): Promise<FollowStatus | null> {
  const { stdout } = await workplace.run(['status', '--json']);
  const report = JSON.parse(stdout) as FollowStatus | { readonly error: unknown };
  return 'error' in report ? null : report;
}

/** Waits until `status` says something of a database, and returns what it said then. */
export async function untilStatus(
  workplace: Workplace,
  name: string,
  holds: (facts: DatabaseFacts) => boolean,
  withinMs = 60_000,
): Promise<DatabaseFacts> {
  let last: DatabaseFacts | undefined;
  return pollUntil({
    probe: async () => {
      last = (await statusOf(workplace))?.databases.find((one) => one.name === name);
      return last !== undefined && holds(last) ? last : undefined;
    },
    ...{ everyMs: 200, timeoutMs: withinMs },
    timeout: () => new Error(`status of ${name} stayed ${JSON.stringify(last)}`),
  });
}

/** Waits until `run` has applied all there is; then the shadows equal production, by the rows. */
export async function expectEqual(
  workplace: Workplace,
  production: string,
  shadows: Readonly<Record<string, { readonly url: string; readonly rollout: boolean }>>,
): Promise<void> {
  const expected = await canonicalState(production);
  for (const [name, { url, rollout }] of Object.entries(shadows)) {
    await untilStatus(workplace, name, ({ lag }) => lag.offsets === 0);
    const image = rollout ? { relation: productionView } : {};
    expect(await canonicalState(url, image), name).toEqual(expected);
  }
}

/** Starts `run` and waits until it follows all of `names`. */
export async function startRun(
  workplace: Workplace,
  names: readonly string[],
): Promise<RunningCli> {
  const run = workplace.start(['run']);
  for (const name of names) {
    await Promise.race([
      untilStatus(workplace, name, ({ holder }) => holder !== null).catch((cause: unknown) => {
        throw new Error(`run does not follow ${name}: ${run.stderr}`, { cause });
      }),
      run.ended.then(({ status, stderr }) => {
        throw new Error(`run ended with ${String(status)}: ${stderr}`);
      }),
    ]);
  }
  return run;
}

export async function stopRun(run: RunningCli): Promise<void> {
  run.kill('SIGTERM');
  const ended = await run.ended;
  expect(ended.status, ended.stderr).toBe(0);
}
