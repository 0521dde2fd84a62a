/**
 * Makes things done to one database by name exclude each other across processes: creating,
 * copying, dropping. Advisory locks of the server's maintenance database, gone with the session.
 */
import type pg from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { hasSqlState, SQLSTATE } from './errors.ts';

const BY_NAME = 0x756e_646e;

/**
 * Waits until no other session works on `database`, at most `waitMs`, then keeps others out until
 * this session ends. SHADOW_UNREACHABLE if it takes too long: trying again helps.
 */
export async function lockName(
  server: pg.ClientBase,
  database: string,
  waitMs: number,
): Promise<void> {
  await server.query(`SET lock_timeout = ${String(waitMs)}`);
  try {
    await server.query('SELECT pg_catalog.pg_advisory_lock($1::int4, pg_catalog.hashtext($2))', [
      BY_NAME,
      database,
    ]);
  } catch (error) {
    if (!hasSqlState(error, SQLSTATE.lockNotAvailable)) throw error;
    const what = 'another understudy is making, copying or dropping it';
    throw new UnderstudyError('SHADOW_UNREACHABLE', what, { database }, error);
  } finally {
    await server.query('RESET lock_timeout');
  }
}

/**
 * Ends all sessions of a database but this one, and waits for their end. An account that is no
 * superuser ends those that it may, and no autovacuum, which gives way by itself; what is left
 * makes the act that follows fail, which says so.
 */
export async function endSessionsOf(server: pg.ClientBase, database: string): Promise<void> {
  await server.query(
    `SELECT pg_catalog.pg_terminate_backend(a.pid, 5000)
      FROM pg_catalog.pg_stat_activity a
      LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
      CROSS JOIN (SELECT rolsuper AS super,
          pg_catalog.pg_has_role('pg_signal_backend', 'USAGE') AS signals
        FROM pg_catalog.pg_roles WHERE rolname = current_user) me
      WHERE a.datname = $1 AND a.pid <> pg_catalog.pg_backend_pid()
        AND (me.super OR pg_catalog.pg_has_role(a.usesysid, 'USAGE')
          OR (me.signals AND NOT r.rolsuper))`,
    [database],
  );
}
