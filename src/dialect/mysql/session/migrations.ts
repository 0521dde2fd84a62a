/**
 * Our own tables: versioned, forward-only. Each database of ours carries the list of the
 * migrations it has had; a program that does not know the newest of them refuses the database.
 *
 * These servers commit at every statement that changes the schema. So a statement here is such
 * that running it again does no harm, and a migration is listed when all of it has run. A
 * migration once released is never changed. Those of shadow databases must leave a program of the
 * former version, that still holds the database, able to work until it is fenced off.
 */
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { Client } from './client.ts';
import { ERRNO, hasErrno } from './errors.ts';
import { quote } from './names.ts';

/** One step of a schema of ours. Versions count up from 1 without holes. */
export interface Migration {
  readonly version: number;
  /** For people, in the list that each database keeps. */
  readonly what: string;
  /** `{db}` stands for the quoted name of the database that holds our tables. */
  readonly statements: readonly string[];
}

/** The version a list brings a database to. */
export function newestVersion(migrations: readonly Migration[]): number {
  return migrations.at(-1)?.version ?? 0;
}

/** The version of our tables in `database`; null without our list. Reads only. */
export async function databaseVersion(client: Client, database: string): Promise<number | null> {
  try {
    const { version } = await client.row<{ version: number | null }>(
      `SELECT MAX(version) AS version FROM ${quote(database, 'migration')}`,
    );
    return version;
  } catch (error) {
    if (hasErrno(error, ERRNO.noSuchTable, ERRNO.unknownDatabase)) return null;
    throw error;
  }
}

/** SCHEMA_TOO_NEW if a newer program wrote this database. */
export function assertNotNewer(
  migrations: readonly Migration[],
  database: string,
  version: number,
): void {
  const known = newestVersion(migrations);
  if (version <= known) return;
  throw new UnderstudyError(
    'SCHEMA_TOO_NEW',
    `its schema has version ${String(version)}, this program knows ${String(known)}`,
    { database },
  );
}

/**
 * Brings our tables in `database` up to this program's version; makes them where there are none.
 * The caller keeps others out (lockWork). SCHEMA_TOO_NEW.
 */
export async function migrate(
  client: Client,
  migrations: readonly Migration[],
  database: string,
): Promise<void> {
  await client.run(`CREATE TABLE IF NOT EXISTS ${quote(database, 'migration')} (
    version INT NOT NULL PRIMARY KEY,
    what VARCHAR(200) NOT NULL,
    at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
  ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin`);
  const version = (await databaseVersion(client, database)) ?? 0;
  assertNotNewer(migrations, database, version);
  for (const migration of migrations) {
    if (migration.version <= version) continue;
    for (const statement of migration.statements) {
      await client.run(statement.replaceAll('{db}', quote(database)));
    }
    await client.run(`INSERT INTO ${quote(database, 'migration')} (version, what) VALUES (?, ?)`, [
      migration.version,
      migration.what,
    ]);
  }
}
