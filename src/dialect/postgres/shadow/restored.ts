/** What a restored backup has that must not act in a trunk, as a plan of production leaves it out. */
import type pg from 'pg';
import { escapeIdentifier } from 'pg';
import { plainName } from '../schema/introspect-object.ts';
import { relation } from '../session/names.ts';

interface Acting {
  readonly what: 'trigger' | 'rule';
  readonly schema: string;
  readonly table: string;
  readonly name: string;
  readonly state: string;
}

/**
 * Triggers and rules that fire for replicated changes too bring effects that the log brings itself;
 * event triggers fire for what understudy does. In the caller's transaction; says what it did.
 */
export async function quietRestored(client: pg.ClientBase): Promise<readonly string[]> {
  const events = await client.query<{ name: string }>(
    `SELECT evtname AS name FROM pg_catalog.pg_event_trigger e WHERE evtenabled <> 'D'
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = e.oid
        AND d.classid = 'pg_catalog.pg_event_trigger'::regclass AND d.deptype = 'e')`,
  );
  for (const { name } of events.rows) {
    await client.query(`ALTER EVENT TRIGGER ${escapeIdentifier(name)} DISABLE`);
  }
  const { rows } = await client.query<Acting>(
    `SELECT 'trigger' AS what, n.nspname AS schema, c.relname AS table, t.tgname AS name,
        t.tgenabled::text AS state
      FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgenabled IN ('A', 'R')
    UNION ALL
    SELECT 'rule', n.nspname, c.relname, r.rulename, r.ev_enabled::text
      FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE r.ev_enabled IN ('A', 'R') AND r.ev_type <> '1' AND c.relkind IN ('r', 'p')`,
  );
  for (const { what, schema, table, name, state } of rows) {
    const act = state === 'A' ? 'ENABLE' : 'DISABLE';
    const on = relation({ schema, name: table });
    await client.query(`ALTER TABLE ${on} ${act} ${what} ${escapeIdentifier(name)}`);
  }
  return [
    ...rows.map(({ what, schema, table, name }) => {
      return `${what} ${name} of ${plainName(schema, table)}: it fired for replicated changes too`;
    }),
    ...events.rows.map(({ name }) => `event trigger ${name}: it would fire for understudy itself`),
  ];
}
