/**
 * creating → following → deleting. A rollout that could not be made is removed again, so that a
 * name is either free or a whole rollout.
 *
 * Invariant: the candidate's role is let in last, after capture is installed: nothing it writes
 * can escape the overlay.
 */
import { randomBytes } from 'node:crypto';
import type {
  ControlStore,
  InstalledOverlay,
  RolloutRow,
  ShadowServer,
} from '../dialect/dialect.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import { rolloutNames } from './names.ts';

export interface RolloutParts {
  readonly server: ShadowServer;
  readonly control: ControlStore;
  /** For the audit log. */
  readonly actor: string;
}

/** A rollout just made, with what its overlay could not take in. */
export type CreatedRollout = RolloutRow & InstalledOverlay;

/**
 * Clones the trunk into a new rollout. The caller holds the trunk's fence and has closed all its
 * own sessions on the trunk. Errors: ROLLOUT_EXISTS, SHADOW_UNREACHABLE, APPLY_FAILED.
 */
export async function createRollout(
  parts: RolloutParts,
  options: { readonly trunk: string; readonly name: string; readonly expiresAt: Date | null },
): Promise<CreatedRollout> {
  const { server, control } = parts;
  const { database, role } = rolloutNames(options.trunk, options.name);
  const row: RolloutRow = {
    name: options.name,
    database,
    role,
    url: '',
    state: 'creating',
    createdAt: new Date(),
    expiresAt: options.expiresAt,
  };
  await removeUnfinished(parts, options.name);
  await control.insertRollout(row);
  try {
    await server.clone({ from: options.trunk, to: database, rolloutName: options.name });
  } catch (error) {
    // Whatever has this name was not made here: it stays.
    await control.deleteRollout(options.name);
    throw error;
  }
  try {
    const overlay = await installOverlay(server, database);
    const password = randomBytes(18).toString('base64url');
    const { url } = await server.createCandidateRole({ database, role, password });
    await control.updateRollout(options.name, { state: 'following', url });
    await control.audit(parts.actor, 'rollout create', options.name, { database, role });
    return { ...row, url, state: 'following', ...overlay };
  } catch (error) {
    await server.drop({ database, role });
    await control.deleteRollout(options.name);
    throw error;
  }
}

/** What a crash in the middle of a creation left behind goes before the name is used again. */
async function removeUnfinished(parts: RolloutParts, name: string): Promise<void> {
  const found = await parts.control.rollout(name);
  if (found === null || (found.state !== 'creating' && found.state !== 'deleting')) return;
  await parts.server.drop({ database: found.database, role: found.role });
  await parts.control.deleteRollout(name);
}

async function installOverlay(server: ShadowServer, database: string): Promise<InstalledOverlay> {
  await using clone = await server.open(database);
  if (clone === null) throw new UnderstudyError('APPLY_FAILED', 'the clone is gone', { database });
  const fence = await clone.takeFence('rollout create');
  if (fence === null) throw new UnderstudyError('FENCE_HELD', 'the clone is held', { database });
  const installed = await clone.installOverlay(fence);
  await clone.releaseFence(fence);
  return installed;
}

/** Drops the rollout's database and role. The caller holds its fence or nobody does. */
export async function deleteRollout(parts: RolloutParts, name: string): Promise<void> {
  const row = await findRollout(parts.control, name);
  await parts.control.updateRollout(name, { state: 'deleting' });
  await parts.server.drop({ database: row.database, role: row.role });
  await parts.control.deleteRollout(name);
  await parts.control.audit(parts.actor, 'rollout delete', name, { database: row.database });
}

/** ROLLOUT_NOT_FOUND if there is none of this name. */
export async function findRollout(control: ControlStore, name: string): Promise<RolloutRow> {
  const row = await control.rollout(name);
  if (row === null) throw new UnderstudyError('ROLLOUT_NOT_FOUND', `there is no rollout '${name}'`);
  return row;
}
