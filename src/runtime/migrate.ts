/**
 * A candidate's migration, led by this process: it takes the database over from who follows it, and gives it
 * back. Should it die in between, who takes it next ends what was begun.
 */
import type { RolloutRow } from '../dialect/dialect.ts';
import {
  migrationsOf,
  type ColumnRename,
  type MigrationOutcome,
  type Migrations,
} from '../dialect/migrating.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import { sleep } from '../util/wait.ts';
import { despiteLocks } from './acts.ts';
import type { RuntimeContext } from './context.ts';
import { perform } from './requests.ts';
import { Stage } from './stage.ts';

/** How often a holder is asked to give way: another process may be faster to take its place. */
const ASKS = 20;
const POLL_MS = 50;
const YIELD_TIMEOUT_MS = 120_000;

export interface Migrated<T> {
  readonly outcome: MigrationOutcome;
  /** What `run` gave. */
  readonly result: T;
}

/**
 * Lets `run` migrate by the account whose environment it gets; nothing of production's is applied
 * meanwhile. What it did is kept and captured also where `run` rejects. Errors: FENCE_HELD, those of
 * Migrations, and of `run`.
 */
export async function migrateRollout<T>(
  context: RuntimeContext,
  row: RolloutRow,
  options: {
    readonly renames: readonly ColumnRename[];
    readonly signal: AbortSignal;
    readonly run: (
      environment: Readonly<Record<string, string | null>>,
      signal: AbortSignal,
    ) => Promise<T>;
  },
): Promise<Migrated<T>> {
  const { renames, signal, run } = options;
  await context.assertIsolated();
  const stage = await takeOver(context, row.database, signal);
  try {
    const { fence, lost } = stage.holder;
    const migrations = migrationsFor(stage);
    const account = await despiteLocks(stage, () =>
      migrations.begin(fence, { role: row.role, renames }),
    );
    stage.holder.describe(() => ({ state: 'migrating', oldestTransactionMs: null, degraded: 0 }));
    const ran = await run(account.environment, AbortSignal.any([signal, lost])).then(
      (result) => ({ result }),
      (error: unknown) => ({ error }),
    );
    stage.holder.throwIfLost();
    const outcome = await despiteLocks(stage, () => migrations.end(fence));
    const control = await context.control();
    await control.audit(context.holder, 'rollout migrate', row.name, outcome);
    if ('error' in ran) throw ran.error;
    return { outcome, result: ran.result };
  } finally {
    await stage.close();
  }
}

function migrationsFor({ database }: Stage): Migrations {
  const migrations = migrationsOf(database);
  if (migrations !== null) return migrations;
  throw new UnderstudyError('UNSUPPORTED', 'no candidate migrates on this engine', {
    database: database.name,
  });
}

/** FENCE_HELD if the holder does not give way. */
async function takeOver(
  context: RuntimeContext,
  database: string,
  signal: AbortSignal,
): Promise<Stage> {
  for (let asked = 0; asked < ASKS; asked += 1) {
    const opened = await context.server.open(database);
    if (opened === null) {
      throw new UnderstudyError('TRUNK_NOT_FOUND', `there is no database '${database}'`);
    }
    let stage: Stage | null = null;
    try {
      // What was begun is ended in any case.
      stage = await Stage.take(context, opened, { giveUpAfterMs: 60_000 });
    } finally {
      if (stage === null) await opened[Symbol.asyncDispose]();
    }
    if (stage !== null) return stage;
    if (asked % 4 === 0) {
      const args = {};
      await perform(context, {
        ...{ kind: 'yield', database, args, timeoutMs: YIELD_TIMEOUT_MS, signal },
      });
    } else await sleep(POLL_MS, signal);
  }
  throw new UnderstudyError('FENCE_HELD', 'who follows the rollout does not give way', {
    database,
  });
}
