/**
 * The presence of members, as fence.ts keeps that of the holder: each of a member's sessions keeps a
 * user-level lock named by its number, which goes with the session however that ends.
 */
import type { Client } from '../session/client.ts';
import { NOW_US } from '../session/clock.ts';
import {
  companionName,
  literal,
  memberLock,
  memberLocks,
  quote,
  type MemberRole,
} from '../session/names.ts';
import { claimPlace, endHolders } from '../session/server-locks.ts';

/** How long it is waited for a session that was ended. */
const END_WAIT_MS = 2_000;
const ROLES: readonly MemberRole[] = ['acts', 'signs'];

/** The id of a session of the member `m`; NULL if none is there. */
export function memberSession(database: string): string {
  const sessions = ROLES.map(
    (role) => `IS_USED_LOCK(CONCAT(${literal(memberLocks(database))}, m.number, ':${role}'))`,
  );
  return `COALESCE(${sessions.join(', ')})`;
}

/** Microseconds since the last sign of life of the member `m`. */
export const MEMBER_SILENT_US = `${NOW_US} - m.at_us`;

/** Marks this session as one of the member's, until it ends. Errors: see `claimPlace`. */
export function showMember(
  client: Client,
  database: string,
  member: bigint,
  role: MemberRole,
): Promise<void> {
  return claimPlace(client, memberLock(database, member, role), database);
}

/**
 * Ends the sessions of members that gave no sign of life for the lease: a transaction of a stopped
 * process may hold its grants for ever.
 */
export async function endSilentMembers(
  client: Client,
  database: string,
  leaseMs: number,
): Promise<void> {
  const silent = await client.rows<{ readonly number: string | number }>(
    `SELECT m.number FROM ${quote(companionName(database), 'member')} m
      WHERE ${MEMBER_SILENT_US} > ?`,
    [Math.ceil(leaseMs * 1000)],
  );
  if (silent.length === 0) return;
  const locks = silent.flatMap(({ number }) =>
    ROLES.map((role) => memberLock(database, BigInt(number), role)),
  );
  await endHolders(client, locks, END_WAIT_MS);
}
