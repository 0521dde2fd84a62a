import type pg from 'pg';
import { escapeIdentifier } from 'pg';
import { hasSqlState, SQLSTATE } from '../session/errors.ts';
import { excuseHolder, welcomeHolder } from './fence.ts';
import { COPYING, CREATING, databaseFacts, noteState, notOurs, readMarker } from './marker.ts';
import { endSessionsOf, lockName } from '../session/server-locks.ts';
import { Connection, transaction, type ServerAddress } from '../session/session.ts';
import { serverVersion } from '../compare/comparison-session.ts';

/** How long another process may work on the same database before this gives up. */
const WAIT_MS = 60_000;
/** Sessions may slip in between ending them and copying; autovacuum too. */
const COPY_TRIES = 5;

export interface CloneOptions {
  readonly from: string;
  readonly to: string;
  readonly rolloutName: string;
}

/**
 * Copies a database of ours: see the port. The source admits nobody while it is copied; if this
 * process dies meanwhile, whoever opens the source next lets sessions in again.
 */
export async function cloneDatabase(address: ServerAddress, options: CloneOptions): Promise<void> {
  const { from, to } = options;
  await using server = new Connection({ address, database: address.database, role: 'clone' });
  await server.use({ doing: 'copy the database', otherwise: 'APPLY_FAILED' }, async (client) => {
    await lockName(client, from, WAIT_MS);
    await assertFree(client, to);
    const reading = { doing: 'read the marker', otherwise: 'APPLY_FAILED' } as const;
    await inside(address, from, reading, (source) => assertOurs(source, from));
    await noteState(client, from, COPYING);
    try {
      await inside(address, from, reading, excuseHolder);
      await client.query(`ALTER DATABASE ${escapeIdentifier(from)} ALLOW_CONNECTIONS false`);
      await copy(client, from, to);
    } finally {
      await readmit(address, client, from);
    }
    await noteState(client, to, CREATING);
    await client.query(`REVOKE CONNECT, TEMPORARY ON DATABASE ${escapeIdentifier(to)} FROM PUBLIC`);
    await copySettings(client, from, to);
    await stamp(address, options);
    await noteState(client, to, 'ready');
  });
}

/** Lets sessions into a database that a process closed for copying and left so when it died. */
export async function readmitAbandoned(address: ServerAddress, database: string): Promise<void> {
  await using server = new Connection({ address, database: address.database, role: 'clone' });
  await server.use({ doing: 'reopen the database', otherwise: 'APPLY_FAILED' }, async (client) => {
    await lockName(client, database, WAIT_MS);
    const facts = await databaseFacts(client, database);
    if (facts?.comment === COPYING) await readmit(address, client, database);
  });
}

/** The note goes last: should this fail, the next who opens the database does it again. */
async function readmit(
  address: ServerAddress,
  server: pg.ClientBase,
  database: string,
): Promise<void> {
  await server.query(`ALTER DATABASE ${escapeIdentifier(database)} ALLOW_CONNECTIONS true`);
  const what = { doing: 'reopen the database', otherwise: 'APPLY_FAILED' } as const;
  await inside(address, database, what, welcomeHolder);
  await noteState(server, database, 'ready');
}

/** We end sessions and shut others out only of what is ours. */
async function assertOurs(client: pg.ClientBase, database: string): Promise<void> {
  const found = await readMarker(client);
  if (found?.writtenFor !== database) throw notOurs(database, 'it has no marker of its own');
}

/** In a session of its own, which has ended when this returns: none may be left while copying. */
async function inside<T>(
  address: ServerAddress,
  database: string,
  what: Parameters<Connection['use']>[0],
  fn: (client: pg.Client) => Promise<T>,
): Promise<T> {
  await using connection = new Connection({ address, database, role: 'clone' });
  return await connection.use(what, fn);
}

async function assertFree(server: pg.ClientBase, database: string): Promise<void> {
  const facts = await databaseFacts(server, database);
  if (facts !== null) throw notOurs(database, 'a database of this name exists already');
}

async function copy(server: pg.Client, from: string, to: string): Promise<void> {
  const version = await serverVersion(server);
  if (version >= 180_000) await server.query(`SET file_copy_method = clone`);
  const strategy = version >= 150_000 ? 'STRATEGY file_copy' : '';
  const sql = `CREATE DATABASE ${escapeIdentifier(to)} TEMPLATE ${escapeIdentifier(from)} ${strategy}`;
  for (let tries = 1; ; tries += 1) {
    await endSessionsOf(server, from);
    try {
      await server.query(sql);
      return;
    } catch (error) {
      if (tries === COPY_TRIES || !hasSqlState(error, SQLSTATE.objectInUse)) throw error;
    }
  }
}

/** `ALTER DATABASE … SET` is not copied with a database. */
async function copySettings(server: pg.Client, from: string, to: string): Promise<void> {
  const { rows } = await server.query<{ name: string; value: string; list: boolean }>(
    `SELECT pg_catalog.split_part(c, '=', 1) AS name,
        pg_catalog.substr(c, pg_catalog.strpos(c, '=') + 1) AS value
      FROM pg_catalog.pg_db_role_setting s
      JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
      CROSS JOIN pg_catalog.unnest(s.setconfig) AS c
      WHERE s.setrole = 0 AND d.datname = $1`,
    [from],
  );
  for (const { name, value } of rows) await copySetting(server, to, name, value);
}

/** Through a session's own setting, for the server then quotes lists such as search_path itself. */
async function copySetting(
  server: pg.Client,
  to: string,
  name: string,
  value: string,
): Promise<void> {
  await transaction(server, async () => {
    await server.query('SELECT pg_catalog.set_config($1, $2, true)', [name, value]);
    await server.query(
      `ALTER DATABASE ${escapeIdentifier(to)} SET ${parameter(name)} FROM CURRENT`,
    );
  });
}

/** `a.b` of an extension's setting is two identifiers. */
function parameter(name: string): string {
  return name.split('.').map(escapeIdentifier).join('.');
}

/** Its own identity, and a generation that no holder of the source ever had. */
async function stamp(address: ServerAddress, options: CloneOptions): Promise<void> {
  const { to, rolloutName } = options;
  const what = { doing: 'mark the copy', otherwise: 'APPLY_FAILED' } as const;
  await inside(address, to, what, (client) =>
    transaction(client, async () => {
      await client.query(
        `UPDATE understudy.marker SET id = pg_catalog.gen_random_uuid(), kind = 'rollout',
          name = $1, database = $2, created_at = pg_catalog.clock_timestamp()`,
        [rolloutName, to],
      );
      await client.query('UPDATE understudy.fence SET generation = generation + 1, holder = NULL');
      await client.query(`UPDATE understudy.sign_of_life
        SET generation = generation + 1, at = pg_catalog.clock_timestamp(), away = false,
          note = NULL`);
      // Who helps with the one it was copied from has nothing to do with it.
      await client.query(`DELETE FROM understudy.share; DELETE FROM understudy.member;
        DELETE FROM understudy.hand_over`);
    }),
  );
}
