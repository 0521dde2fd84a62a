/**
 * Who may write to a shadow database. A holder has a generation; every act asserts it under a
 * share lock on the fence's row, in the transaction that writes. So after a take-over commits,
 * no act of a lower generation can commit any more:
 *
 * - an act that asserted before makes the take-over wait, or is ended by it;
 * - an act that asserts later reads the new generation and is FENCED.
 *
 * Each session of a holder keeps a user-level lock named by database, generation and role. The
 * server drops it with the session, however that ends; so a killed process is known to be gone at
 * once, and a stopped one (its sessions live, but give no sign of life) can be found and ended.
 */
import type { Fence, FenceState, HolderNote } from '../../dialect.ts';
import { notHeld, toFenceState, type FenceRow } from '../../sql/fence-state.ts';
import { notAlone } from '../../sql/sharing.ts';
import { transaction, type Client } from '../session/client.ts';
import { NOW_US } from '../session/clock.ts';
import { ERRNO, hasErrno } from '../session/errors.ts';
import { assertNotNewer, databaseVersion } from '../session/migrations.ts';
import {
  companionName,
  MOST_WRITERS,
  presenceLock,
  quote,
  type HolderRole,
} from '../session/names.ts';
import { claimPlace, endHolders, lockHolders, swapLocks } from '../session/server-locks.ts';
import { endSilentMembers } from './member-sessions.ts';
import { SHADOW_MIGRATIONS } from './schema-shadow.ts';

/** How long a take-over waits for the sessions it ended, and for the fence's row. */
const TAKE_OVER_WAIT_MS = 2_000;

/** For the session that gives signs of life and takes over. */
export async function prepareSigns(client: Client): Promise<void> {
  const seconds = String(TAKE_OVER_WAIT_MS / 1000);
  await client.run(`SET SESSION innodb_lock_wait_timeout = ${seconds}`);
}

/** Makes the rows that the others look at. For a database just made. */
export async function startFence(client: Client, database: string): Promise<void> {
  const companion = companionName(database);
  await client.run(`INSERT INTO ${quote(companion, 'fence')} (generation) VALUES (0)`);
  await client.run(
    `INSERT INTO ${quote(companion, 'sign_of_life')} (generation, at_us) VALUES (0, ${NOW_US})`,
  );
}

/** The fence as it stands, without a lock. `leaseMs`: see fenceState of the port. */
export async function readFence(
  client: Client,
  database: string,
  leaseMs: number,
): Promise<FenceState> {
  return toFenceState(await readRow(client, database, ''), leaseMs);
}

async function readRow(client: Client, database: string, lock: string): Promise<FenceRow> {
  const companion = companionName(database);
  const row = await client.row<{
    readonly generation: string | number;
    readonly holder: string | null;
    readonly note: string | null;
    readonly silentUs: string | number;
  }>(
    `SELECT f.generation, f.holder, s.note, ${NOW_US} - s.at_us AS silentUs
      FROM ${quote(companion, 'fence')} f JOIN ${quote(companion, 'sign_of_life')} s ON s.one = f.one
      ${lock}`,
  );
  const generation = BigInt(row.generation);
  const locks = locksOf(database, generation, ROLES);
  const present = (await lockHolders(client, locks)).length > 0;
  const { holder, note } = row;
  return { generation, holder, note, present, silentMs: Number(row.silentUs) / 1000 };
}

/** Those that a holder has for as long as it is one, and those that it may have besides. */
const ROLES: readonly HolderRole[] = ['acts', 'signs'];
const ALL_ROLES: readonly HolderRole[] = [
  ...ROLES,
  ...Array.from({ length: MOST_WRITERS }, (_, i) => `copy${i}` as const),
];

function locksOf(
  database: string,
  generation: bigint,
  roles: readonly HolderRole[],
): readonly string[] {
  return roles.map((role) => presenceLock(database, generation, role));
}

/**
 * Takes the fence if it is free: see the port. The sessions of a silent holder are ended first,
 * for a transaction of a stopped process may hold locks for ever. Null if somebody else holds it
 * or was faster.
 */
export async function takeFence(
  client: Client,
  options: { readonly holder: string; readonly leaseMs: number; readonly database: string },
): Promise<Fence | null> {
  const { holder, leaseMs, database } = options;
  const version = (await databaseVersion(client, companionName(database))) ?? 0;
  assertNotNewer(SHADOW_MIGRATIONS, database, version);
  const seen = await readFence(client, database, leaseMs);
  if (!seen.free) return null;
  if (seen.holder !== null) {
    const locks = locksOf(database, seen.generation, ALL_ROLES);
    await endHolders(client, locks, TAKE_OVER_WAIT_MS);
  }
  await endSilentMembers(client, database, leaseMs);
  const generation = seen.generation + 1n;
  // A process stopped in there holds the fence's row, and has no presence yet by which it could be
  // found: the server ends it.
  await client.run(`SET SESSION wait_timeout = ${String(TAKE_OVER_WAIT_MS / 1000)}`);
  const fence = await nullIfLocked(() =>
    transaction(client, () => raiseGeneration(client, { database, generation, holder, leaseMs })),
  );
  // Who claimed a place since then, and saw the fence as its own; who claims one now sees that it is not.
  if (fence !== null && seen.holder !== null) {
    await endHolders(client, locksOf(database, seen.generation, ALL_ROLES), TAKE_OVER_WAIT_MS);
  }
  await client.run('SET SESSION wait_timeout = DEFAULT');
  return fence;
}

async function nullIfLocked<T>(act: () => Promise<T>): Promise<T | null> {
  try {
    return await act();
  } catch (error) {
    if (hasErrno(error, ERRNO.lockWaitTimeout, ERRNO.deadlock)) return null;
    throw error;
  }
}

/** In a transaction: the fence's row locked, looked at again, and raised. */
async function raiseGeneration(
  client: Client,
  options: {
    readonly database: string;
    readonly generation: bigint;
    readonly holder: string;
    readonly leaseMs: number;
  },
): Promise<Fence | null> {
  const { database, generation, holder, leaseMs } = options;
  const companion = companionName(database);
  const now = toFenceState(await readRow(client, database, 'FOR UPDATE'), leaseMs);
  if (!now.free || now.generation !== generation - 1n) return null;
  // Before the commit: else the new holder would look gone for a moment. If the transaction
  // fails, the lock names a generation that nobody reaches but through this same step.
  if (!(await showPresence(client, database, generation, 'signs'))) return null;
  await client.run(`UPDATE ${quote(companion, 'fence')} SET generation = ?, holder = ?`, [
    generation,
    holder,
  ]);
  await client.run(
    `UPDATE ${quote(companion, 'sign_of_life')} SET generation = ?, at_us = ${NOW_US}, note = NULL`,
    [generation],
  );
  // Waits for what members write, who are then refused: a new holder begins alone.
  await client.run(`DELETE FROM ${quote(companion, 'share')}`);
  await client.run(`UPDATE ${quote(companion, 'granting')} SET shared = 0`);
  return { generation, holder };
}

/**
 * Marks this session as one of the holder's, until it ends or shows another: then a take-over ends it, whatever
 * it is doing. SHADOW_UNREACHABLE if an earlier one keeps that place: the server has not yet noticed that its
 * connection is gone. FENCED if another holder took the fence before, SHADOW_REWOUND.
 */
export async function claimPresence(
  client: Client,
  database: string,
  fence: Fence,
  role: HolderRole,
): Promise<void> {
  await claimPlace(client, presenceLock(database, fence.generation, role), database);
  // A session that takes no part in the act's transaction would go on beside the new holder, and be ended by nobody.
  const now = await readRow(client, database, '');
  const isHeld = now.generation === fence.generation && now.holder === fence.holder;
  if (!isHeld) throw notHeld(fence, now, database);
}

/** False if another session holds the place. */
function showPresence(
  client: Client,
  database: string,
  generation: bigint,
  role: HolderRole,
): Promise<boolean> {
  return swapLocks(client, presenceLock(database, generation, role), 0);
}

/**
 * In the act's transaction: the fence is still ours, and stays so until it ends. The holder is
 * asked too: two may have taken the same generation if a fail-over lost the first one's commit.
 * True if some partitions are given to members; no more can be meanwhile. FENCED if another holder took
 * it, SHADOW_REWOUND if the database is of before we did.
 */
export async function assertFence(
  client: Client,
  fence: Fence,
  database: string,
): Promise<boolean> {
  const companion = companionName(database);
  // What a subquery asks would be of before the wait for the lock.
  const [found] = await client.rows<{ readonly shared: number }>(
    `SELECT g.shared FROM ${quote(companion, 'fence')} f
        JOIN ${quote(companion, 'granting')} g ON g.one = f.one
      WHERE f.one = 1 AND f.generation = ? AND f.holder = ? LOCK IN SHARE MODE`,
    [fence.generation, fence.holder],
  );
  if (found === undefined) throw notHeld(fence, await readRow(client, database, ''), database);
  if (found.shared === 0) return false;
  const left = await client.rows(`SELECT 1 AS given FROM ${quote(companion, 'share')} LIMIT 1`);
  return left.length > 0;
}

/** The same for what is done by a holder that is alone, and else not. INTERNAL if it is not. */
export async function assertAlone(
  client: Client,
  fence: Fence,
  what: { readonly doing: string; readonly database: string },
): Promise<void> {
  const { doing, database } = what;
  if (await assertFence(client, fence, database)) throw notAlone(doing, database);
}

/** A sign of life. Does not wait for acts that run. Errors as of `assertFence`. */
export async function renewFence(
  client: Client,
  fence: Fence,
  options: { readonly note: HolderNote; readonly database: string },
): Promise<void> {
  const { note, database } = options;
  const { rows } = await client.run(
    `UPDATE ${quote(companionName(database), 'sign_of_life')} SET at_us = ${NOW_US}, note = ?
      WHERE one = 1 AND generation = ? AND EXISTS (
        SELECT 1 FROM ${quote(companionName(database), 'fence')}
          WHERE one = 1 AND generation = ? AND holder = ?)`,
    [JSON.stringify(note), fence.generation, fence.generation, fence.holder],
  );
  if (rows !== 1) throw notHeld(fence, await readRow(client, database, ''), database);
}

/** Nobody holds it from now on, unless somebody else already does. */
export async function releaseFence(client: Client, fence: Fence, database: string): Promise<void> {
  await client.run(
    `UPDATE ${quote(companionName(database), 'fence')} SET holder = NULL
      WHERE one = 1 AND generation = ? AND holder = ?`,
    [fence.generation, fence.holder],
  );
}
