import type pg from 'pg';
import { escapeIdentifier } from 'pg';
import { UnderstudyError } from '../../errors/understudy-error.ts';

/**
 * Applying needs `session_replication_role = replica`: so production's triggers and foreign keys,
 * and our capture, do not act on production's own changes. A superuser may set it; another
 * account needs a grant (PostgreSQL 15 and later). DATABASE_PERMISSION with the statement.
 *
 * A fallback without that right (triggers that test `session_user`, foreign keys dropped) is not
 * offered: it changes the schema under test.
 */
export async function assertApplierRights(client: pg.ClientBase): Promise<void> {
  const { rows } = await client.query<{ account: string; superuser: boolean; version: number }>(
    `SELECT current_user::text AS account, r.rolsuper AS superuser,
        pg_catalog.current_setting('server_version_num')::int AS version
      FROM pg_catalog.pg_roles r WHERE r.rolname = current_user`,
  );
  const facts = rows[0];
  if (facts === undefined) throw new UnderstudyError('INTERNAL', 'our own account is not listed');
  if (facts.superuser) return;
  if (facts.version >= 150_000) {
    const granted = await client.query<{ all: boolean }>(
      `SELECT pg_catalog.has_parameter_privilege('session_replication_role', 'SET')
        AND pg_catalog.has_parameter_privilege('deadlock_timeout', 'SET') AS "all"`,
    );
    if (granted.rows[0]?.all === true) return;
    throw new UnderstudyError('DATABASE_PERMISSION', 'the account may not bypass triggers', {
      detail: `a superuser must run: GRANT SET ON PARAMETER session_replication_role, deadlock_timeout TO ${escapeIdentifier(facts.account)}`,
    });
  }
  throw new UnderstudyError('DATABASE_PERMISSION', 'the account may not bypass triggers', {
    detail: 'before PostgreSQL 15 only a superuser may; use one, or a newer server',
  });
}
