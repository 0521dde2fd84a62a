/**
 * Production's routines run in a rollout with the rights of who calls them. One that runs as its owner would run as
 * us there, for whom nothing of ours is closed: what it executes of a text would be the candidate's way to the journal.
 */
import type { ClientBase } from 'pg';
import { roleComment } from '../shadow/candidate-role.ts';

/**
 * Routines that run as their owner, but for those that the candidate or its migrations made, which have no more
 * rights than they. What comes with an extension is as that has it.
 */
const DEFINERS = `SELECT p.oid::pg_catalog.regprocedure::text AS routine
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  WHERE p.prosecdef AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'understudy')
    AND pg_catalog.pg_has_role(p.proowner, 'USAGE')
    AND pg_catalog.shobj_description(p.proowner, 'pg_authid') IS DISTINCT FROM $1
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e'
      AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass)`;

/** Sees to it in the caller's transaction. */
export async function lowerRoutines(client: ClientBase): Promise<void> {
  const name = await client.query<{ database: string }>(
    'SELECT pg_catalog.current_database() AS database',
  );
  const comment = roleComment(name.rows[0]?.database ?? '');
  const { rows } = await client.query<{ routine: string }>(DEFINERS, [comment]);
  for (const { routine } of rows) await client.query(`ALTER ROUTINE ${routine} SECURITY INVOKER`);
}
