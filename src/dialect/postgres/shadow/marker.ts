/**
 * How a database of ours is told from all others: by the marker inside it, and, while it is made
 * or copied, by the server's comment on it. A database with neither is never written to.
 */
import pg from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { DatabaseKind, DatabaseMarker } from '../../dialect.ts';
import { hasSqlState, SQLSTATE } from '../session/errors.ts';
import { databaseVersion } from '../session/migrations.ts';

/** What the server's comment on a database says while something is unfinished. */
export const CREATING = 'understudy: creating';
export const COPYING = 'understudy: closed while it is copied';
const READY = 'understudy';

/** What the server knows of a database without connecting to it. */
export interface DatabaseFacts {
  readonly open: boolean;
  readonly comment: string | null;
}

interface MarkerRow {
  readonly id: string;
  readonly kind: DatabaseKind;
  readonly name: string;
  readonly database: string;
  readonly topicPrefix: string;
}

/** Null if the server has no such database. */
export async function databaseFacts(
  server: pg.ClientBase,
  database: string,
): Promise<DatabaseFacts | null> {
  const { rows } = await server.query<DatabaseFacts>(
    `SELECT d.datallowconn AS open, pg_catalog.shobj_description(d.oid, 'pg_database') AS comment
      FROM pg_catalog.pg_database d WHERE d.datname = $1`,
    [database],
  );
  return rows[0] ?? null;
}

/** Notes on the server what state a database of ours is in. */
export async function noteState(
  server: pg.ClientBase,
  database: string,
  state: typeof CREATING | typeof COPYING | 'ready',
): Promise<void> {
  const comment = pg.escapeLiteral(state === 'ready' ? READY : state);
  await server.query(`COMMENT ON DATABASE ${pg.escapeIdentifier(database)} IS ${comment}`);
}

/**
 * The marker of the database the client is connected to, with the name of the database it was
 * written for: a copy not yet stamped still names the one it was copied from. Null without marker.
 */
export async function readMarker(
  client: pg.ClientBase,
): Promise<{ readonly marker: DatabaseMarker; readonly writtenFor: string } | null> {
  const version = await databaseVersion(client);
  if (version === null) return null;
  let row: MarkerRow | undefined;
  try {
    const { rows } = await client.query<MarkerRow>(
      `SELECT id, kind, name, database, topic_prefix AS "topicPrefix" FROM understudy.marker`,
    );
    row = rows[0];
  } catch (error) {
    if (hasSqlState(error, SQLSTATE.undefinedTable)) return null;
    throw error;
  }
  if (row === undefined) return null;
  const { database: writtenFor, ...marker } = row;
  return { marker: { ...marker, schemaVersion: version }, writtenFor };
}

/** TARGET_NOT_OURS, with the reason. */
export function notOurs(database: string, why: string): UnderstudyError {
  return new UnderstudyError('TARGET_NOT_OURS', why, { database });
}

/** What a person or a template put there: not the server's own, not an extension's. */
const FOREIGN_OBJECTS = `SELECT EXISTS (
    SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'
          AND d.classid = 'pg_catalog.pg_class'::regclass)
    UNION ALL
    SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
      WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e'
          AND d.classid = 'pg_catalog.pg_proc'::regclass)
    UNION ALL
    SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname !~ '^pg_'
      AND n.nspname NOT IN ('information_schema', 'public')
  ) AS foreign`;

/** Holds nothing of anybody: as a crash leaves it right after the database was made. */
export async function isEmpty(client: pg.ClientBase): Promise<boolean> {
  const { rows } = await client.query<{ foreign: boolean }>(FOREIGN_OBJECTS);
  return rows[0]?.foreign !== true;
}
