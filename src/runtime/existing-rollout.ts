import type { RolloutRow, ShadowDatabase } from '../dialect/dialect.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import { findRollout } from '../rollout/lifecycle.ts';
import type { RuntimeContext } from './context.ts';

/** ROLLOUT_NOT_FOUND if there is none of this name, or none at all. */
export async function existingRollout(context: RuntimeContext, name: string): Promise<RolloutRow> {
  const control = await context.existingControl();
  if (control === null) {
    throw new UnderstudyError('ROLLOUT_NOT_FOUND', `there is no rollout '${name}'`);
  }
  return findRollout(control, name);
}

/** Reads a rollout's database, without its fence. Errors: ROLLOUT_NOT_FOUND, and those of `read`. */
export async function readRollout<T>(
  context: RuntimeContext,
  name: string,
  read: (database: ShadowDatabase) => Promise<T>,
): Promise<T> {
  const row = await existingRollout(context, name);
  const database = await context.server.open(row.database);
  if (database === null) {
    throw new UnderstudyError('ROLLOUT_NOT_FOUND', `the database of '${name}' is gone`);
  }
  try {
    return await read(database);
  } finally {
    await database[Symbol.asyncDispose]();
  }
}
