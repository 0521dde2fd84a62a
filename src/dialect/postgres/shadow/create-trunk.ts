import type pg from 'pg';
import { escapeIdentifier } from 'pg';
import type { ShadowPlan } from '../../../schema/shadow-plan.ts';
import { BACKUP_MARK } from '../../copying.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { runPlan } from '../schema/apply-plan.ts';
import { readApplierRights } from '../apply/applier-rights.ts';
import { spareApplier } from './fallback-schema.ts';
import { CREATING, databaseFacts, isEmpty, noteState, notOurs, readMarker } from './marker.ts';
import { quietRestored } from './restored.ts';
import { migrateHere } from '../session/migrations.ts';
import { startProgress } from './progress.ts';
import { endSessionsOf, lockName } from '../session/server-locks.ts';
import { Connection, transaction, type ServerAddress } from '../session/session.ts';

/** What is made where all is there. */
const NOTHING: ShadowPlan = { tables: [], statements: [], notCarried: [] };

/** How long another process may take that makes the same trunk. */
const WAIT_MS = 600_000;

export interface TrunkOptions {
  readonly name: string;
  readonly topicPrefix: string;
  readonly plan: ShadowPlan;
  readonly bootstrap?: boolean;
  readonly restored?: boolean;
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Makes the trunk: database, the plan's schema, and last the marker, which says that all before is
 * there. One that a crash left unfinished is dropped and made again. If another process made it
 * meanwhile, nothing is done. An account that may not bypass triggers gets a schema in fallback
 * mode, and what that leaves out is named among `skipped`: see applier-rights.ts. With `restored`
 * the database is there with all that is in it, of which nothing is ever dropped. Errors: BACKUP_MISSING; TARGET_NOT_OURS if the name is taken by a database that is
 * not empty and not ours; SCHEMA_FAILED, after which the database is gone again.
 */
export async function createTrunk(
  address: ServerAddress,
  options: TrunkOptions,
): Promise<{ readonly skipped: readonly string[] }> {
  const { name } = options;
  await using server = new Connection({ address, database: address.database, role: 'create' });
  return await server.use(
    { doing: 'create the trunk', otherwise: 'SCHEMA_FAILED' },
    async (client) => {
      await lockName(client, name, WAIT_MS);
      if (options.restored === true) {
        if (!(await findRestored(address, client, name))) return { skipped: [] };
        const taken = await fill(address, { ...options, plan: NOTHING });
        await noteState(client, name, 'ready');
        return taken;
      }
      if (!(await makeRoom(address, client, name))) return { skipped: [] };
      try {
        const skipped = await fill(address, options);
        await noteState(client, name, 'ready');
        return skipped;
      } catch (error) {
        await dropUnfinished(client, name, error);
        throw error;
      }
    },
  );
}

/** An empty, closed-off database with this name. False if the trunk is there already. */
async function makeRoom(address: ServerAddress, server: pg.Client, name: string): Promise<boolean> {
  const facts = await databaseFacts(server, name);
  if (facts !== null) {
    const contents = await inspect(address, name);
    if (contents === 'ours') {
      // The marker is written last: only the note was missing.
      if (facts.comment === CREATING) await noteState(server, name, 'ready');
      return false;
    }
    if (contents === 'foreign' && facts.comment !== CREATING) {
      throw notOurs(name, 'a database of this name exists, is not empty, and has no marker');
    }
    await endSessionsOf(server, name);
    await server.query(`DROP DATABASE ${escapeIdentifier(name)}`);
  }
  await server.query(
    `CREATE DATABASE ${escapeIdentifier(name)} TEMPLATE template0 ENCODING 'UTF8'`,
  );
  await noteState(server, name, CREATING);
  await server.query(`REVOKE CONNECT, TEMPORARY ON DATABASE ${escapeIdentifier(name)} FROM PUBLIC`);
  return true;
}

/** A person's database, which is closed to others from now on. False if it is ours already. */
async function findRestored(
  address: ServerAddress,
  server: pg.Client,
  name: string,
): Promise<boolean> {
  const facts = await databaseFacts(server, name);
  const contents = facts === null ? 'empty' : await inspect(address, name);
  if (contents === 'empty') {
    const what = 'there is no backup in the database that is to be the trunk';
    throw new UnderstudyError('BACKUP_MISSING', what, { database: name });
  }
  if (facts?.comment === CREATING) {
    throw notOurs(name, 'a trunk of this name was begun by another way, and is not finished');
  }
  if (contents === 'ours') return false;
  await server.query(`REVOKE CONNECT, TEMPORARY ON DATABASE ${escapeIdentifier(name)} FROM PUBLIC`);
  return true;
}

async function inspect(
  address: ServerAddress,
  name: string,
): Promise<'ours' | 'empty' | 'foreign'> {
  await using inside = new Connection({ address, database: name, role: 'create' });
  return await inside.use(
    { doing: 'look into the database', otherwise: 'SCHEMA_FAILED' },
    async (client) => {
      const found = await readMarker(client);
      if (found !== null) {
        if (found.writtenFor === name && found.marker.kind === 'trunk') return 'ours';
        throw notOurs(name, `it is the ${found.marker.kind} ${found.marker.name}, or a copy of it`);
      }
      return (await isEmpty(client)) ? 'empty' : 'foreign';
    },
  );
}

async function fill(
  address: ServerAddress,
  options: TrunkOptions,
): Promise<{ readonly skipped: readonly string[] }> {
  const { name, plan, topicPrefix, onProgress } = options;
  await using inside = new Connection({ address, database: name, role: 'create' });
  return await inside.use(
    { doing: 'make the schema', otherwise: 'SCHEMA_FAILED' },
    async (client) => {
      const rights = await readApplierRights(client);
      const spared = rights.replica ? null : rights.sessionUser;
      const adapt = async (): Promise<readonly string[]> => [
        ...(options.restored === true ? await quietRestored(client) : []),
        ...(spared === null ? [] : await spareApplier(client, spared, rights.cure)),
      ];
      const result = await runPlan(client, plan, onProgress, adapt);
      await transaction(client, async () => {
        await migrateHere(client, 'shadow', name);
        await client.query(
          `INSERT INTO understudy.marker (id, kind, name, database, topic_prefix, spared_account)
          VALUES (pg_catalog.gen_random_uuid(), 'trunk', $1, $1, $2, $3)`,
          [name, topicPrefix, spared],
        );
        await client.query(`INSERT INTO understudy.fence (generation) VALUES (0);
        INSERT INTO understudy.sign_of_life (generation, at)
          VALUES (0, pg_catalog.clock_timestamp())`);
        await startProgress(client);
        // With the marker: a trunk to be filled is never taken for one to be followed.
        if (options.bootstrap === true || options.restored === true) {
          await client.query('INSERT INTO understudy.bootstrap (mark) VALUES ($1)', [
            options.restored === true ? BACKUP_MARK : null,
          ]);
        }
      });
      return result;
    },
  );
}

/** After `reason`. What cannot be dropped now keeps its note and is dropped at the next try. */
async function dropUnfinished(server: pg.Client, name: string, reason: unknown): Promise<void> {
  try {
    await endSessionsOf(server, name);
    await server.query(`DROP DATABASE IF EXISTS ${escapeIdentifier(name)}`);
  } catch (error) {
    throw new UnderstudyError(
      'SCHEMA_FAILED',
      'the trunk could not be made, and what was made could not be dropped',
      { database: name },
      new AggregateError([reason, error]),
    );
  }
}
