/**
 * A rollout as a copy of the trunk. These servers copy no database by themselves, and commit at every
 * table that is made; so the copy is marked as being made from its first statement to its last, and
 * what a crash leaves of it is dropped at the next try.
 *
 * Its rows are of one position: from before the first is read until the mark says that all is there,
 * one transaction holds what every act on the trunk needs a share lock of, and it is that transaction
 * that copies the position and sets the mark. Should its session end, nothing of it is there, and the
 * copy is none.
 */
import { randomUUID } from 'node:crypto';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { ServerAddress } from '../session/address.ts';
import { transaction, type Client } from '../session/client.ts';
import { Connection } from '../session/connection.ts';
import { ERRNO, hasErrno } from '../session/errors.ts';
import type { Flavour } from '../session/flavour.ts';
import { migrate } from '../session/migrations.ts';
import { companionName, quote } from '../session/names.ts';
import { lockWork } from '../session/server-locks.ts';
import { createDefiners, dropAccounts, noteApplier } from './accounts.ts';
import type { ActingTriggers } from '../../overlay.ts';
import { copyCode } from './clone-code.ts';
import { CLONE_LIMITS, copyTables, endCopiers, type ClonePlace } from './clone-tables.ts';
import { dropDatabases, isFree } from './create-trunk.ts';
import { assertGround } from './ground.ts';
import { databaseExists, notOurs, readMarker, type FoundMarker } from './marker.ts';
import { SHADOW_MIGRATIONS } from './schema-shadow.ts';
import { assertRoomForViews, dropViews } from './view-databases.ts';

/** How long another process may work on the same databases before this gives up. */
const WAIT_MS = 60_000;
/** How long acts on the trunk are waited for that have begun. */
const ACT_WAIT_S = 60;
/** The session that keeps others out says so often that it lives; the server ends one that is stopped. */
const ALIVE_MS = 5_000;
const SILENT_S = 60;

export interface CloneOptions {
  readonly from: string;
  readonly to: string;
  readonly rolloutName: string;
  readonly acts?: ActingTriggers | null;
}

/**
 * See the port. Errors: TARGET_NOT_OURS if the source has no marker of its own, or the name is taken;
 * SHADOW_OPEN if candidates could go round a rollout on this server; APPLY_BLOCKED if an act on the source takes too long;
 * SCHEMA_FAILED if a text in it cannot be copied for sure. After any of them nothing is left.
 */
export async function cloneDatabase(
  address: ServerAddress,
  flavour: Flavour,
  { from, to, rolloutName, acts = null }: CloneOptions,
  limits = CLONE_LIMITS,
): Promise<void> {
  const id = randomUUID();
  const what = { doing: 'copy the database', otherwise: 'APPLY_FAILED' } as const;
  try {
    await using server = new Connection({ address, database: null });
    await using maker = new Connection({ address, database: null });
    await server.use(what, async (keeper) => {
      await lockWork(keeper, from, WAIT_MS);
      await lockWork(keeper, to, WAIT_MS);
      const found = await readMarker(keeper, from);
      if (found?.writtenFor !== from || found.state !== 'ready') {
        throw notOurs(from, 'it has no marker of its own');
      }
      await assertGround(keeper, to);
      await migrate(keeper, SHADOW_MIGRATIONS, companionName(from));
      await maker.use(what, (client) => makeRoom(client, to));
      const { sourceDatabase: source } = found;
      const place: ClonePlace = { address, flavour, from, to, source, limits, acts };
      await keepActsOut(keeper, from, async () => {
        await maker.use(what, (client) => make(client, place, { found, rolloutName, id }));
        await copyControl(keeper, place);
        await keeper.run(`UPDATE ${quote(companionName(to), 'marker')} SET state = 'ready'`);
      });
    });
  } catch (error) {
    await dropUnfinished(address, { to, id }, error);
    throw error;
  }
}

/** Nothing has the name, but what a crash left of a copy. */
async function makeRoom(client: Client, to: string): Promise<void> {
  const found = await readMarker(client, to);
  if (found?.writtenFor === to && found.marker.kind === 'rollout' && found.state === 'creating') {
    await dropOurs(client, to, null);
  }
  const isTaken = (await databaseExists(client, to)) || !(await isFree(client, companionName(to)));
  if (isTaken) throw notOurs(to, 'a database of this name exists already');
  await assertRoomForViews(client, to);
}

/** Accounts first: who is left without a database has no rights anywhere. */
export async function dropOurs(client: Client, name: string, role: string | null): Promise<void> {
  await dropAccounts(client, name, role);
  await endCopiers(client, name);
  await dropViews(client, name);
  await dropDatabases(client, name);
}

/**
 * Runs `fn` while no act on the database runs, of its holder or of members, and none begins: they wait,
 * and so does who takes it over. In a transaction, committed when `fn` resolves.
 */
async function keepActsOut(
  client: Client,
  database: string,
  fn: () => Promise<void>,
): Promise<void> {
  const companion = companionName(database);
  await client.run(
    `SET SESSION innodb_lock_wait_timeout = ${String(ACT_WAIT_S)}, wait_timeout = ${String(SILENT_S)}`,
  );
  await transaction(client, async () => {
    try {
      await client.rows(`SELECT one FROM ${quote(companion, 'granting')} FOR UPDATE`);
      await client.rows(`SELECT topic FROM ${quote(companion, 'share')} FOR UPDATE`);
    } catch (error) {
      if (!hasErrno(error, ERRNO.lockWaitTimeout, ERRNO.deadlock)) throw error;
      const what = 'an act on the database that is to be copied takes long';
      throw new UnderstudyError('APPLY_BLOCKED', what, { database }, error);
    }
    const alive = setInterval(() => {
      // Whether it still is, is seen at the next statement.
      client.rows('SELECT 1 AS alive').catch(() => undefined);
    }, ALIVE_MS);
    try {
      await fn();
    } finally {
      clearInterval(alive);
    }
  });
}

async function make(
  client: Client,
  place: ClonePlace,
  {
    found,
    rolloutName,
    id,
  }: {
    readonly found: FoundMarker;
    readonly rolloutName: string;
    readonly id: string;
  },
): Promise<void> {
  const { from, to, source } = place;
  const companion = companionName(to);
  await client.run(`CREATE DATABASE IF NOT EXISTS ${quote(companion)} CHARACTER SET utf8mb4`);
  await migrate(client, SHADOW_MIGRATIONS, companion);
  // From here on it is known as ours, and as not finished.
  await client.run(
    `INSERT INTO ${quote(companion, 'marker')}
      (id, kind, name, \`database\`, source_database, topic_prefix, state)
      VALUES (?, 'rollout', ?, ?, ?, ?, 'creating')`,
    [id, rolloutName, to, source, found.marker.topicPrefix],
  );
  const { charset, collation } = await client.row<{ charset: string; collation: string }>(
    `SELECT DEFAULT_CHARACTER_SET_NAME AS charset, DEFAULT_COLLATION_NAME AS collation
      FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?`,
    [from],
  );
  await client.run(`CREATE DATABASE ${quote(to)} CHARACTER SET ${charset} COLLATE ${collation}`);
  const definers = await createDefiners(client, to);
  await noteApplier(client, to);
  await client.run(`USE ${quote(to)}`);
  await copyTables(client, place);
  await copyCode(client, place, definers);
}

/** Of another database: who holds it, who helps, whose it is. */
const NOT_COPIED: ReadonlySet<string> = new Set([
  ...['migration', 'marker', 'account', 'applier', 'fence', 'sign_of_life'],
  ...['member', 'share', 'hand_over', 'granting'],
]);

/** What we keep beside the rows, and a fence that no holder of the source ever had. */
async function copyControl(client: Client, { from, to }: ClonePlace): Promise<void> {
  const [theirs, ours] = [companionName(from), companionName(to)];
  const tables = await client.rows<{ name: string }>(
    `SELECT TABLE_NAME AS name FROM information_schema.TABLES
      WHERE TABLE_SCHEMA = ? AND TABLE_TYPE = 'BASE TABLE'`,
    [theirs],
  );
  for (const { name } of tables.filter((table) => !NOT_COPIED.has(table.name))) {
    await client.run(`INSERT INTO ${quote(ours, name)} SELECT * FROM ${quote(theirs, name)}`);
  }
  await client.run(
    `INSERT INTO ${quote(ours, 'fence')} (generation)
      SELECT generation + 1 FROM ${quote(theirs, 'fence')}`,
  );
  await client.run(
    `INSERT INTO ${quote(ours, 'sign_of_life')} (generation, at_us)
      SELECT generation + 1, at_us FROM ${quote(theirs, 'sign_of_life')}`,
  );
}

/** After `reason`. What cannot be dropped now keeps its mark and is dropped at the next try. */
async function dropUnfinished(
  address: ServerAddress,
  { to, id }: { readonly to: string; readonly id: string },
  reason: unknown,
): Promise<void> {
  await using server = new Connection({ address, database: null });
  const what = { doing: 'drop what was copied', otherwise: 'APPLY_FAILED' } as const;
  try {
    await server.use(what, async (client) => {
      await lockWork(client, to, WAIT_MS);
      // Also one of which it is not known whether it was finished.
      const found = await readMarker(client, to);
      if (found?.marker.id === id) await dropOurs(client, to, null);
    });
  } catch (error) {
    throw new UnderstudyError(
      'APPLY_FAILED',
      'the database could not be copied, and what was copied could not be dropped',
      { database: to },
      new AggregateError([reason, error]),
    );
  }
}
