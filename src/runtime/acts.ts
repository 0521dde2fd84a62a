/**
 * What can be asked of whoever holds a database. Arguments and outcomes are JSON: they cross
 * processes in the control database.
 */
import { readonlyTables } from '../config/table-filter.ts';
import { z } from 'zod';
import { tableName } from '../change/table-id.ts';
import type { RequestKind, RowSelection } from '../dialect/dialect.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import { createRollout, deleteRollout, type RolloutParts } from '../rollout/lifecycle.ts';
import { assertBootstrapped } from './bootstrap-state.ts';
import { acceptChanges } from './evolve.ts';
import { driftCheckAct } from './drift-act.ts';
import { repairAct } from './repair-act.ts';
import { lettersOf, replayLetters } from './replay.ts';
import { backoffMs, sleep } from '../util/wait.ts';
import type { Stage } from './stage.ts';

/** How long a reset tries to get past locks of the candidate. */
const LOCK_PATIENCE_MS = 20_000;

/** Carries a request out. Acts that close the stage say so by having closed it. */
export type Act = (stage: Stage, args: unknown) => Promise<unknown>;

export const ACTS: Readonly<Record<RequestKind, Act>> = {
  'rollout-create': rolloutCreate,
  'rollout-delete': rolloutDelete,
  reset,
  release,
  truncate,
  yield: giveWay,
  resolve,
  'drift-check': driftCheckAct,
  repair: repairAct,
  'dead-letters-replay': replayDead,
  'dead-letters-discard': discardDead,
  'schema-accept': acceptSchema,
};

async function partsOf(stage: Stage): Promise<RolloutParts> {
  const { context } = stage;
  return { server: context.server, control: await context.control(), actor: context.holder };
}

const createArgs = z.strictObject({
  name: z.string(),
  expiresAt: z.iso.datetime().nullable(),
  migrates: z.boolean().default(false),
});

/** Closes the stage: the trunk must have no session while it is cloned. */
async function rolloutCreate(stage: Stage, args: unknown): Promise<unknown> {
  const { name, expiresAt, migrates } = parseArgs(createArgs, args);
  const parts = await partsOf(stage);
  const trunk = stage.database.name;
  if ((await parts.control.rollout(name))?.state === 'following') {
    throw new UnderstudyError('ROLLOUT_EXISTS', `there is a rollout '${name}' already`);
  }
  await assertBootstrapped(stage.database);
  await stage.close();
  return createRollout(parts, {
    ...{ trunk, name, migrates },
    expiresAt: expiresAt === null ? null : new Date(expiresAt),
  });
}

const deleteArgs = z.strictObject({ name: z.string() });

/** Closes the stage. */
async function rolloutDelete(stage: Stage, args: unknown): Promise<unknown> {
  const { name } = parseArgs(deleteArgs, args);
  const parts = await partsOf(stage);
  await stage.close();
  await deleteRollout(parts, name);
  return { name };
}

const selectionArgs = z.strictObject({
  table: z.strictObject({ schema: z.string(), name: z.string() }).nullable(),
  key: z.array(z.string()).nullable(),
  trace: z.string().nullable().default(null),
});

function selectionOf(args: unknown): RowSelection {
  const { table, key, trace } = parseArgs(selectionArgs, args);
  return {
    ...(table !== null && { table }),
    ...(key !== null && { key }),
    ...(trace !== null && { trace }),
  };
}

async function reset(stage: Stage, args: unknown): Promise<unknown> {
  const only = selectionOf(args);
  const rows = await despiteLocks(stage, () =>
    stage.betweenWrites(() => stage.database.resetOverlay(stage.holder.fence, only)),
  );
  await audit(stage, 'rollout reset', { rows });
  return { rows };
}

async function release(stage: Stage, args: unknown): Promise<unknown> {
  const only = selectionOf(args);
  const outcome = await despiteLocks(stage, () =>
    stage.betweenWrites(() => stage.database.releaseOverlay(stage.holder.fence, only)),
  );
  await audit(stage, 'rollout release', outcome);
  return outcome;
}

const truncateArgs = z.strictObject({
  table: z.strictObject({ schema: z.string(), name: z.string() }),
});

async function truncate(stage: Stage, args: unknown): Promise<unknown> {
  const { table } = parseArgs(truncateArgs, args);
  if (readonlyTables(stage.context.config)?.(table) === true) {
    const what = 'the candidate may only read this table: tables.rules have mode readonly for it';
    throw new UnderstudyError('USAGE', what, { table: tableName(table) });
  }
  const rows = await despiteLocks(stage, () =>
    stage.betweenWrites(() => stage.database.truncateOverlay(stage.holder.fence, table)),
  );
  await audit(stage, 'rollout truncate', { table: tableName(table), rows });
  return { rows };
}

const sideArgs = selectionArgs.extend({ side: z.enum(['ours', 'theirs', 'merge']) });

async function resolve(stage: Stage, args: unknown): Promise<unknown> {
  const { side, ...selection } = parseArgs(sideArgs, args);
  const only = selectionOf(selection);
  const outcome = await despiteLocks(stage, () =>
    stage.betweenWrites(() => stage.database.resolveOverlay(stage.holder.fence, only, side)),
  );
  await audit(stage, 'rollout resolve', { ...outcome, side });
  return outcome;
}

const lettersArgs = z.strictObject({ ids: z.array(z.string()).nullable() });

async function replayDead(stage: Stage, args: unknown): Promise<unknown> {
  const { ids } = parseArgs(lettersArgs, args);
  const outcome = await despiteLocks(stage, () => replayLetters(stage, ids));
  await audit(stage, 'dead-letters replay', outcome);
  return outcome;
}

async function discardDead(stage: Stage, args: unknown): Promise<unknown> {
  const { ids } = parseArgs(lettersArgs, args);
  const box = stage.database.deadLetters;
  const discarded = await stage.betweenWrites(async () => {
    const found = (await lettersOf(box, ids)).map(({ id }) => id);
    await box.discard(stage.holder.fence, found);
    await stage.forgetDead();
    return found;
  });
  await audit(stage, 'dead-letters discard', { discarded });
  return { discarded };
}

/** Closes the stage: whoever asked takes the database next (migrate.ts). */
async function giveWay(stage: Stage): Promise<unknown> {
  await stage.close();
  return {};
}

async function audit(stage: Stage, action: string, detail: unknown): Promise<void> {
  const control = await stage.context.control();
  await control.audit(stage.context.holder, action, stage.database.name, detail);
}

/** The candidate may be in the midst of a transaction: its locks mostly go within moments. */
export async function despiteLocks<T>(stage: Stage, act: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + LOCK_PATIENCE_MS;
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await act();
    } catch (error) {
      if (!isUnderstudyError(error, 'APPLY_BLOCKED') || performance.now() > deadline) throw error;
      await sleep(backoffMs(attempt, 50, 1_000), stage.stopping);
    }
  }
}

function parseArgs<T>(schema: z.ZodType<T>, args: unknown): T {
  const parsed = schema.safeParse(args);
  if (parsed.success) return parsed.data;
  throw new UnderstudyError('USAGE', 'the request is malformed', {
    detail: parsed.error.issues.map((issue) => issue.message).join('; '),
  });
}

const acceptArgs = z.strictObject({ table: z.string() });

/**
 * Closes the stage: who follows begins anew with the tables as they are then. What waits of the
 * table is written before.
 */
async function acceptSchema(stage: Stage, args: unknown): Promise<unknown> {
  const { table } = parseArgs(acceptArgs, args);
  await stage.stopFollowing();
  const { changes, table: now } = await acceptChanges(stage, table);
  const letters = await stage.database.deadLetters.list();
  const ids = letters.filter((letter) => tableName(letter.table) === now).map(({ id }) => id);
  const { replayed, left } =
    ids.length === 0 ? { replayed: [], left: [] } : await replayLetters(stage, ids);
  await stage.close();
  return { table, changes, replayed, left };
}
