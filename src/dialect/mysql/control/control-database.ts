import type { ControlStore } from '../../dialect.ts';
import type { ServerAddress } from '../session/address.ts';
import type { Client } from '../session/client.ts';
import { Connection } from '../session/connection.ts';
import { ERRNO, hasErrno } from '../session/errors.ts';
import { databaseVersion, migrate, newestVersion } from '../session/migrations.ts';
import { quote } from '../session/names.ts';
import { lockWork } from '../session/server-locks.ts';
import { databaseExists, isEmpty, notOurs } from '../shadow/marker.ts';
import { MySqlControlStore } from './control-store.ts';
import { AUDIT_GUARDS, CONTROL_MIGRATIONS } from './schema-control.ts';

/** Its name on every shadow server. */
const CONTROL_DATABASE = 'understudy';
const WAIT_MS = 60_000;

/**
 * The control database: see the port. Made by the first process that needs it; others wait.
 * TARGET_NOT_OURS if a database of its name exists without our marker; SCHEMA_TOO_NEW.
 */
export async function openControl(
  address: ServerAddress,
  options: { readonly create: boolean },
): Promise<ControlStore | null> {
  await using maker = new Connection({ address, database: null });
  const what = { doing: 'open the control database', otherwise: 'INTERNAL' } as const;
  const ready = await maker.use(what, async (client) => {
    if (await isReady(client)) return true;
    // Whatever is missing, somebody may just be making it.
    await lockWork(client, CONTROL_DATABASE, WAIT_MS);
    if (await isReady(client)) return true;
    if (!(await isUnfinished(client))) {
      const why = 'a database of this name exists and is not our control database';
      throw notOurs(CONTROL_DATABASE, why);
    }
    const exists = await databaseExists(client, CONTROL_DATABASE);
    if (!options.create && (!exists || !(await hasMarker(client)))) return false;
    await make(client);
    return true;
  });
  if (!ready) return null;
  return new MySqlControlStore(new Connection({ address, database: null }), CONTROL_DATABASE);
}

/** Marked, and of this program's version. SCHEMA_TOO_NEW comes from the migration. */
async function isReady(client: Client): Promise<boolean> {
  const version = await databaseVersion(client, CONTROL_DATABASE);
  return version === newestVersion(CONTROL_MIGRATIONS) && (await hasMarker(client));
}

/** Absent, empty, or with our list of migrations in it. The marker is written last. */
async function isUnfinished(client: Client): Promise<boolean> {
  if (!(await databaseExists(client, CONTROL_DATABASE))) return true;
  if (await isEmpty(client, CONTROL_DATABASE)) return true;
  const listed = await client.rows(
    `SELECT 1 AS there FROM information_schema.TABLES WHERE TABLE_SCHEMA = ?
      AND TABLE_NAME = 'migration'`,
    [CONTROL_DATABASE],
  );
  if (listed.length === 0) return false;
  // Without any version it got no further; with one it has our marker's table.
  return (await databaseVersion(client, CONTROL_DATABASE)) === null || hasMarkerTable(client);
}

async function hasMarkerTable(client: Client): Promise<boolean> {
  try {
    await client.rows(`SELECT id FROM ${quote(CONTROL_DATABASE, 'control_marker')}`);
    return true;
  } catch (error) {
    if (hasErrno(error, ERRNO.noSuchTable, ERRNO.unknownDatabase, ERRNO.unknownColumn)) {
      return false;
    }
    throw error;
  }
}

async function hasMarker(client: Client): Promise<boolean> {
  if (!(await hasMarkerTable(client))) return false;
  const sql = `SELECT id FROM ${quote(CONTROL_DATABASE, 'control_marker')}`;
  return (await client.rows(sql)).length === 1;
}

async function make(client: Client): Promise<void> {
  const name = quote(CONTROL_DATABASE);
  await client.run(`CREATE DATABASE IF NOT EXISTS ${name} CHARACTER SET utf8mb4`);
  await migrate(client, CONTROL_MIGRATIONS, CONTROL_DATABASE);
  for (const guard of AUDIT_GUARDS) {
    try {
      await client.run(guard.replaceAll('{db}', name));
    } catch (error) {
      if (!hasErrno(error, ERRNO.binlogCreateRoutineNeedSuper)) throw error;
    }
  }
  await client.run(`INSERT IGNORE INTO ${name}.control_marker (one, id) VALUES (1, UUID())`);
}
