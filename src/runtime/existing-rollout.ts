import type { RolloutRow } from '../dialect/dialect.ts';
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
