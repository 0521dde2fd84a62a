import { escapeIdentifier, type ClientBase } from 'pg';
import { isUnderstudyError } from '../../../errors/understudy-error.ts';
import type { ControlStore } from '../../dialect.ts';
import { PgControlStore } from './control-store.ts';
import { hasSqlState, SQLSTATE } from '../session/errors.ts';
import { CREATING, databaseFacts, noteState, notOurs } from '../shadow/marker.ts';
import { databaseVersion, migrate, migrateHere } from '../session/migrations.ts';
import { lockName } from '../session/server-locks.ts';
import { Connection, transaction, type ServerAddress } from '../session/session.ts';

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
  try {
    return await openOnce(address, options);
  } catch (error) {
    if (!isUnderstudyError(error, 'TARGET_NOT_OURS')) throw error;
    // Until its maker, who has the lock, has noted that it makes it, it looks like somebody else's.
    await waitForMaker(address);
    return await openOnce(address, options);
  }
}

async function waitForMaker(address: ServerAddress): Promise<void> {
  await using server = new Connection({ address, database: address.database, role: 'control' });
  await server.use({ doing: 'open the control database', otherwise: 'INTERNAL' }, (client) =>
    lockName(client, CONTROL_DATABASE, WAIT_MS),
  );
}

async function openOnce(
  address: ServerAddress,
  options: { readonly create: boolean },
): Promise<ControlStore | null> {
  await using server = new Connection({ address, database: address.database, role: 'control' });
  const what = { doing: 'open the control database', otherwise: 'INTERNAL' } as const;
  const ready = await server.use(what, async (client) => {
    const facts = await databaseFacts(client, CONTROL_DATABASE);
    if (facts !== null && facts.comment !== CREATING) return true;
    if (!options.create) return false;
    await lockName(client, CONTROL_DATABASE, WAIT_MS);
    const name = escapeIdentifier(CONTROL_DATABASE);
    if ((await databaseFacts(client, CONTROL_DATABASE)) === null) {
      await client.query(`CREATE DATABASE ${name} TEMPLATE template0 ENCODING 'UTF8'`);
      await noteState(client, CONTROL_DATABASE, CREATING);
      await client.query(`REVOKE CONNECT, TEMPORARY ON DATABASE ${name} FROM PUBLIC`);
    }
    const now = await databaseFacts(client, CONTROL_DATABASE);
    if (now?.comment === CREATING) {
      await fill(address);
      await noteState(client, CONTROL_DATABASE, 'ready');
    }
    return true;
  });
  return ready ? await openMarked(address) : null;
}

/** The schema, and last the marker. Done again where a crash left it unfinished. */
async function fill(address: ServerAddress): Promise<void> {
  await using inside = new Connection({ address, database: CONTROL_DATABASE, role: 'control' });
  await inside.use({ doing: 'make the control database', otherwise: 'INTERNAL' }, (client) =>
    transaction(client, async () => {
      await migrateHere(client, 'control', CONTROL_DATABASE);
      await client.query(
        `INSERT INTO understudy.control_marker (id) VALUES (pg_catalog.gen_random_uuid())
          ON CONFLICT DO NOTHING`,
      );
    }),
  );
}

/**
 * What is told as done must be so after a crash, also where the server commits asynchronously: a shadow
 * that lost commits reads them again, while nothing would tell of a rollout that is there.
 */
async function durable(client: ClientBase): Promise<void> {
  await client.query(
    `SELECT pg_catalog.set_config('synchronous_commit', 'on', false)
      WHERE pg_catalog.current_setting('synchronous_commit') = 'off'`,
  );
}

async function openMarked(address: ServerAddress): Promise<ControlStore> {
  const database = CONTROL_DATABASE;
  const connection = new Connection({ address, database, role: 'control', prepare: durable });
  try {
    await connection.use({ doing: 'read the marker', otherwise: 'INTERNAL' }, async (client) => {
      const why = 'a database of this name exists and is not our control database';
      if ((await databaseVersion(client)) === null) throw notOurs(database, why);
      try {
        await client.query('SELECT id FROM understudy.control_marker');
      } catch (error) {
        if (hasSqlState(error, SQLSTATE.undefinedTable)) throw notOurs(database, why);
        throw error;
      }
      await migrate(client, 'control', database);
    });
    return new PgControlStore(connection);
  } catch (error) {
    await connection[Symbol.asyncDispose]();
    throw error;
  }
}
