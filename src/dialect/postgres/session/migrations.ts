/**
 * The schema `understudy`: versioned, forward-only. Each database of ours carries the list of the
 * migrations it has had; a program that does not know the newest of them refuses the database.
 *
 * A migration once released is never changed. Those of shadow databases must leave a program of
 * the former version, that still holds the database, able to work until it is fenced off.
 */
import type pg from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { CONTROL_MIGRATIONS } from '../control/schema-control.ts';
import type { Migration } from './migration.ts';
import { SHADOW_MIGRATIONS } from '../shadow/schema-shadow.ts';
import { hasSqlState, SQLSTATE } from './errors.ts';
import { transaction } from './session.ts';

/** Which of our schemas a database carries. */
export type OurSchema = 'shadow' | 'control';

const MIGRATIONS: Readonly<Record<OurSchema, readonly Migration[]>> = {
  shadow: SHADOW_MIGRATIONS,
  control: CONTROL_MIGRATIONS,
};

/** So that two programs do not migrate one database at once. Advisory locks are per database. */
const MIGRATION_LOCK = 0x756e_6400n;

/** The version this program brings a database to. */
export function newestVersion(schema: OurSchema): number {
  return MIGRATIONS[schema].at(-1)?.version ?? 0;
}

/** The version a database has; null without our list. Reads only. */
export async function databaseVersion(client: pg.ClientBase): Promise<number | null> {
  try {
    const { rows } = await client.query<{ version: number | null }>(
      'SELECT max(version) AS version FROM understudy.migration',
    );
    return rows[0]?.version ?? null;
  } catch (error) {
    if (hasSqlState(error, SQLSTATE.undefinedTable)) return null;
    throw error;
  }
}

/** SCHEMA_TOO_NEW if a newer program wrote this database. */
export function assertNotNewer(schema: OurSchema, database: string, version: number): void {
  const known = newestVersion(schema);
  if (version <= known) return;
  throw new UnderstudyError(
    'SCHEMA_TOO_NEW',
    `its schema has version ${String(version)}, this program knows ${String(known)}`,
    { database },
  );
}

/** Brings a database that carries the list up to this program's version. SCHEMA_TOO_NEW. */
export async function migrate(
  client: pg.ClientBase,
  schema: OurSchema,
  database: string,
): Promise<void> {
  const version = await databaseVersion(client);
  if (version !== null) {
    assertNotNewer(schema, database, version);
    if (version === newestVersion(schema)) return;
  }
  await transaction(client, () => migrateHere(client, schema, database));
}

/** As migrate, in the caller's transaction; makes the schema where there is none. */
export async function migrateHere(
  client: pg.ClientBase,
  schema: OurSchema,
  database: string,
): Promise<void> {
  await client.query('SELECT pg_catalog.pg_advisory_xact_lock($1)', [MIGRATION_LOCK]);
  await client.query(`
    CREATE SCHEMA IF NOT EXISTS understudy;
    REVOKE ALL ON SCHEMA understudy FROM PUBLIC;
    CREATE TABLE IF NOT EXISTS understudy.migration (
      version int PRIMARY KEY,
      what text NOT NULL,
      at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
    )`);
  const version = (await databaseVersion(client)) ?? 0;
  assertNotNewer(schema, database, version);
  for (const migration of MIGRATIONS[schema]) {
    if (migration.version <= version) continue;
    await client.query(migration.sql);
    await client.query('INSERT INTO understudy.migration (version, what) VALUES ($1, $2)', [
      migration.version,
      migration.what,
    ]);
  }
}
