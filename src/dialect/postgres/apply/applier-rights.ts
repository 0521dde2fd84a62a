/**
 * What the account of `shadow.url` may do, and in which of two modes a database is followed.
 *
 * Needed in both modes: LOGIN, CREATEDB, CREATEROLE. The account then owns the databases it makes
 * and has the ADMIN option on the candidates' roles it makes, and that is all that trunks, clones,
 * overlays and resets need. A superuser has all of it.
 *
 * - Replica mode: the applier's session sets `session_replication_role = replica`, so that neither
 *   triggers nor foreign keys nor our capture act on production's own changes. A superuser may;
 *   from PostgreSQL 15 on another account may by GRANT SET ON PARAMETER.
 * - Fallback mode, without that right: the schema itself spares the applier, see
 *   fallback-schema.ts. It has no foreign keys then, which is why the grant is to be preferred.
 *
 * The mode is chosen when a trunk is made and kept in its marker; clones inherit it. A database is
 * followed in its own mode or not at all: half of each would let triggers act on production's
 * changes, or foreign keys refuse them.
 */
import type pg from 'pg';
import { escapeIdentifier } from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';

/** The account whose writes triggers spare in fallback mode; null in replica mode. */
export type SparedAccount = string | null;

export interface ApplierRights {
  /** Who logged in. SET ROLE does not change it, so that nobody else can pose as it. */
  readonly sessionUser: string;
  /** It may set session_replication_role. */
  readonly replica: boolean;
  /** It may set deadlock_timeout. */
  readonly deadlockTimeout: boolean;
  /** For people: how a superuser makes replica mode possible. */
  readonly cure: string;
}

/** Before this version nobody but a superuser may set such parameters. */
const GRANTABLE = 150_000;

/** What the account this client is connected as may do. */
export async function readApplierRights(client: pg.ClientBase): Promise<ApplierRights> {
  const { rows } = await client.query<{
    sessionUser: string;
    account: string;
    superuser: boolean;
    version: number;
  }>(
    `SELECT session_user::text AS "sessionUser", current_user::text AS account,
        r.rolsuper AS superuser,
        pg_catalog.current_setting('server_version_num')::int AS version
      FROM pg_catalog.pg_roles r WHERE r.rolname = current_user`,
  );
  const facts = rows[0];
  if (facts === undefined) throw new UnderstudyError('INTERNAL', 'our own account is not listed');
  const { sessionUser, account, superuser, version } = facts;
  if (version < GRANTABLE) {
    const cure = 'before PostgreSQL 15 only a superuser may; use one, or a newer server';
    return { sessionUser, replica: superuser, deadlockTimeout: superuser, cure };
  }
  const granted = await client.query<{ replica: boolean; deadlockTimeout: boolean }>(
    `SELECT pg_catalog.has_parameter_privilege('session_replication_role', 'SET') AS replica,
        pg_catalog.has_parameter_privilege('deadlock_timeout', 'SET') AS "deadlockTimeout"`,
  );
  return {
    sessionUser,
    replica: granted.rows[0]?.replica === true,
    deadlockTimeout: granted.rows[0]?.deadlockTimeout === true,
    cure: `a superuser must run: GRANT SET ON PARAMETER session_replication_role, deadlock_timeout TO ${escapeIdentifier(account)}`,
  };
}

/** The mode the connected database was made in, from its marker. */
export async function readSparedAccount(client: pg.ClientBase): Promise<SparedAccount> {
  const { rows } = await client.query<{ spared: string | null }>(
    'SELECT spared_account AS spared FROM understudy.marker',
  );
  const marker = rows[0];
  if (marker === undefined) throw new UnderstudyError('INTERNAL', 'the marker has no row');
  return marker.spared;
}

/**
 * DATABASE_PERMISSION if the account cannot follow a database in its mode: it may not bypass
 * triggers, or they spare another account.
 */
export function assertFollows(rights: ApplierRights, spared: SparedAccount): void {
  if (spared === null) {
    if (rights.replica) return;
    throw new UnderstudyError('DATABASE_PERMISSION', 'the account may not bypass triggers', {
      detail: rights.cure,
    });
  }
  if (rights.sessionUser === spared) return;
  throw new UnderstudyError('DATABASE_PERMISSION', 'its triggers spare another account', {
    detail:
      `it was made without the right to bypass triggers, for ${escapeIdentifier(spared)}: ` +
      `log in as that account, or delete the trunk and its rollouts so that they are made anew`,
  });
}
