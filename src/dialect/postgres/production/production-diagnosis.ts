import type { ClientBase } from 'pg';
import type { Diagnosis } from '../../dialect.ts';

interface ServerFacts {
  readonly version: number;
  readonly versionText: string;
  readonly walLevel: string;
  readonly standby: boolean;
  readonly mayEmit: boolean;
  readonly enumDomains: readonly string[];
}

/** Oldest versions whose snapshots can be pinned (pin-proofs 1.2) and whose rows hashed. */
const OLDEST = 140_005;

/** What of the server's settings, version and rights stands in the way. */
export async function diagnoseServer(client: ClientBase): Promise<readonly Diagnosis[]> {
  const { rows } = await client.query<ServerFacts>(
    `SELECT current_setting('server_version_num')::int AS version,
       current_setting('server_version') AS "versionText",
       current_setting('wal_level') AS "walLevel", pg_is_in_recovery() AS standby,
       has_function_privilege(p.oid, 'EXECUTE') AS "mayEmit",
       ARRAY(SELECT t.oid::regtype::text FROM pg_type t JOIN pg_type b ON b.oid = t.typbasetype
         WHERE t.typtype = 'd' AND b.typtype = 'e' ORDER BY 1) AS "enumDomains"
     FROM pg_proc p WHERE p.oid = (SELECT min(oid) FROM pg_proc
       WHERE proname = 'pg_logical_emit_message' AND proargtypes[2] = 'text'::regtype)`,
  );
  return rows.flatMap((facts) => [version(facts), walLevel(facts), ...serverTraps(facts)]);
}

function version(facts: ServerFacts): Diagnosis {
  const old = facts.version < OLDEST;
  return {
    id: 'production.version',
    level: old ? 'error' : 'ok',
    message: old
      ? `PostgreSQL ${facts.versionText} cannot be compared at one position`
      : `PostgreSQL ${facts.versionText}`,
    cure: old ? 'Drift checks need PostgreSQL 14.5 or later; following works without them.' : null,
  };
}

function walLevel(facts: ServerFacts): Diagnosis {
  const ok = facts.walLevel === 'logical';
  return {
    id: 'production.wal-level',
    level: ok ? 'ok' : 'error',
    message: `wal_level is ${facts.walLevel}`,
    cure: ok ? null : 'ALTER SYSTEM SET wal_level = logical, and restart the server.',
  };
}

/** Of the server and the account, beside its version and settings. */
export function serverTraps(facts: ServerFacts): readonly Diagnosis[] {
  const found: Diagnosis[] = [];
  if (facts.standby) {
    found.push({
      id: 'production.standby',
      level: 'error',
      message: 'production.url points at a standby, whose snapshots cannot be pinned',
      cure: 'Point production.url at the primary.',
    });
  }
  if (!facts.mayEmit) {
    found.push({
      id: 'production.marker',
      level: 'error',
      message: 'the account may not write the WAL message that marks a drift check',
      cure: 'GRANT EXECUTE ON FUNCTION pg_logical_emit_message to it.',
    });
  }
  if (facts.enumDomains.length > 0) {
    found.push({
      id: 'production.enum-domain',
      level: 'error',
      message: `a domain over an enum keeps the connector from starting: ${facts.enumDomains.join(', ')}`,
      cure: 'Make the columns of the enum type itself and drop the domain.',
    });
  }
  return found;
}
