/** How the copy stands that a database is filled with, for whoever would follow or clone it. */
import { HandOver, isHandedOver } from '../bootstrap/hand-over.ts';
import type { OffsetMap } from '../change/position.ts';
import { copyTargetOf, type BootstrapState } from '../dialect/copying.ts';
import type { ShadowDatabase, SnapshotView } from '../dialect/dialect.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import type { Holder } from './holder.ts';

/**
 * What the copy has of the log, for the follower of a database that is handed over; null if there
 * is nothing to pass over (any more). BOOTSTRAPPING if the copy is not complete: a half filled
 * database must not be followed.
 */
export async function readHandOver(
  holder: Pick<Holder, 'database' | 'fence'>,
  parts: {
    readonly catalogue: SchemaCatalogue;
    readonly offsets: OffsetMap;
    readonly snapshotView: (snapshot: string) => SnapshotView;
  },
): Promise<HandOver | null> {
  const target = copyTargetOf(holder.database);
  const state = (await target?.state()) ?? null;
  if (target === null || state === null) return null;
  if (state.ends === null) throw stillBootstrapping(holder.database.name);
  if (isHandedOver(state.ends, parts.offsets)) {
    await target.forget(holder.fence);
    return null;
  }
  return new HandOver({ ...parts, ends: state.ends, tables: state.tables });
}

/** True if nothing of a copy need be known any more; what is still noted of it is then forgotten. */
export async function isBootstrapPast({ database, fence }: Holder): Promise<boolean> {
  const target = copyTargetOf(database);
  if (target === null || (await target.state()) === null) return true;
  if ((await bootstrapOf(database)) !== null) return false;
  await target.forget(fence);
  return true;
}

/** How a database's copy stands; null if it is not being filled, or has passed the hand-over. */
export async function bootstrapOf(database: ShadowDatabase): Promise<BootstrapState | null> {
  const state = (await copyTargetOf(database)?.state()) ?? null;
  if (state === null || state.ends === null) return state;
  const { position } = await database.progress();
  return isHandedOver(state.ends, position.offsets) ? null : state;
}

/** BOOTSTRAPPING while the database is not of one moment in production's past. */
export async function assertBootstrapped(database: ShadowDatabase): Promise<void> {
  if ((await bootstrapOf(database)) !== null) throw stillBootstrapping(database.name);
}

function stillBootstrapping(database: string): UnderstudyError {
  return new UnderstudyError('BOOTSTRAPPING', 'the trunk is still being filled from production', {
    database,
  });
}
