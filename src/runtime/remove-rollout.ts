import type { RolloutRow } from '../dialect/dialect.ts';
import { isUnderstudyError } from '../errors/understudy-error.ts';
import { deleteRollout } from '../rollout/lifecycle.ts';
import type { RuntimeContext } from './context.ts';
import { perform } from './requests.ts';

const NOT_TAKEN = ['SCHEMA_FAILED', 'APPLY_FAILED', 'APPLY_BLOCKED'] as const;

/**
 * Deletes a rollout whatever state it is in: through its holder if it has one, else here; also one
 * that a crash left half made or half deleted, or whose database somebody dropped.
 * Errors: ROLLOUT_NOT_FOUND, REQUEST_TIMEOUT.
 */
export async function removeRollout(
  context: RuntimeContext,
  row: RolloutRow,
  options: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<void> {
  if (await isWhole(context, row.database)) {
    const { name, database } = row;
    try {
      await perform(context, { kind: 'rollout-delete', database, args: { name }, ...options });
      return;
    } catch (error) {
      // Whoever takes it ends what was begun there first: what cannot be ended may go all the same.
      if (!isUnderstudyError(error, ...NOT_TAKEN) || (await isHeld(context, database))) throw error;
    }
  }
  const control = await context.control();
  await deleteRollout({ server: context.server, control, actor: context.holder }, row.name);
}

async function isHeld(context: RuntimeContext, name: string): Promise<boolean> {
  await using database = await context.server.open(name);
  return database !== null && !(await database.fenceState()).free;
}

/** False if there is no such database, or a copy that was never finished. */
async function isWhole(context: RuntimeContext, name: string): Promise<boolean> {
  try {
    const database = await context.server.open(name);
    await database?.[Symbol.asyncDispose]();
    return database !== null;
  } catch (error) {
    // Whether it may be dropped all the same is for `drop` to decide.
    if (isUnderstudyError(error, 'TARGET_NOT_OURS')) return false;
    throw error;
  }
}
