/**
 * The presence of members, as fence.ts keeps that of the holder: each of a member's sessions keeps a
 * shared advisory lock named by its number, which goes with the session however that ends.
 */
import type pg from 'pg';

/** First half of the advisory locks' name; the second is the member's number, cut to 31 bits. */
const MEMBERS = 0x756e_6d65;
/** How long it is waited for a session that was ended. */
const END_WAIT_MS = 2_000;

const SESSIONS = `pg_catalog.pg_locks l WHERE l.locktype = 'advisory' AND l.granted
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
      WHERE d.datname = pg_catalog.current_database())
    AND l.classid = ${String(MEMBERS)} AND l.objsubid = 2
    AND l.objid::int8 = m.number & 2147483647`;

/** Some session of the member `m` is there. */
export const MEMBER_PRESENT = `EXISTS (SELECT FROM ${SESSIONS})`;
/** Milliseconds since the member's last sign of life. */
export const MEMBER_SILENT_MS = `(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - m.at) * 1000)::float8`;

/** Marks this session as one of the member's, until it ends. */
export async function showMember(client: pg.ClientBase, member: bigint): Promise<void> {
  await client.query('SELECT pg_catalog.pg_advisory_lock_shared($1::int4, $2::int4)', [
    MEMBERS,
    Number(BigInt.asUintN(31, member)),
  ]);
}

/**
 * Ends the sessions of members that gave no sign of life for the lease: a transaction of a stopped
 * process may hold its grants for ever.
 */
export async function endSilentMembers(client: pg.ClientBase, leaseMs: number): Promise<void> {
  await client.query(
    `SELECT pg_catalog.pg_terminate_backend(a.pid, ${String(END_WAIT_MS)})
      FROM pg_catalog.pg_stat_activity a
      WHERE a.pid <> pg_catalog.pg_backend_pid()
        AND a.usesysid = (SELECT u.usesysid FROM pg_catalog.pg_user u WHERE u.usename = current_user)
        AND EXISTS (SELECT FROM understudy.member m WHERE ${MEMBER_SILENT_MS} > $1
          AND EXISTS (SELECT FROM ${SESSIONS} AND l.pid = a.pid))`,
    [leaseMs],
  );
}
