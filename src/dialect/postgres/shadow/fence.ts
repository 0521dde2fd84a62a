/**
 * Who may write to a shadow database. A holder has a generation; every act asserts it under a
 * share lock on the fence's row, in the transaction that writes. So after a take-over commits,
 * no act of a lower generation can commit any more:
 *
 * - an act that asserted before makes the take-over wait, or is ended by it;
 * - an act that asserts later reads the new generation and is FENCED.
 *
 * Each session of a holder keeps a shared advisory lock named by the generation. The server drops
 * it with the session, however that ends; so a killed process is known to be gone at once, and a
 * stopped one (its sessions live, but give no sign of life) can be found and ended.
 */
import type pg from 'pg';
import { escapeLiteral } from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { Fence, FenceState, HolderNote } from '../../dialect.ts';
import { notHeld, toFenceState, type FenceRow } from '../../sql/fence-state.ts';
import { hasSqlState, SQLSTATE } from '../session/errors.ts';
import { assertNotNewer, databaseVersion } from '../session/migrations.ts';
import { transaction } from '../session/session.ts';
import { endSilentMembers } from './member-sessions.ts';

/** First half of the advisory locks' name; the second is the generation, cut to 31 bits. */
const PRESENCE = 0x756e_6465;
/**
 * How long a take-over waits for the sessions it ended, and for the fence's row; and how long one
 * that does not go on keeps that row.
 */
const TAKE_OVER_WAIT_MS = 2_000;

const SESSIONS_OF = `pg_catalog.pg_locks l WHERE l.locktype = 'advisory' AND l.granted
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
      WHERE d.datname = pg_catalog.current_database())
    AND l.classid = ${String(PRESENCE)} AND l.objsubid = 2`;

const STATE = `SELECT f.generation, f.holder, s.note,
    (EXTRACT(epoch FROM pg_catalog.clock_timestamp() - s.at) * 1000)::float8 AS "silentMs",
    s.away OR EXISTS (SELECT FROM ${SESSIONS_OF} AND l.objid::int8 = f.generation & 2147483647)
      AS present
  FROM understudy.fence f CROSS JOIN understudy.sign_of_life s`;

/** The fence as it stands, without a lock. `leaseMs`: see fenceState of the port. */
export async function readFence(client: pg.ClientBase, leaseMs: number): Promise<FenceState> {
  return toFenceState(await readRow(client, STATE), leaseMs);
}

async function readRow(client: pg.ClientBase, sql: string): Promise<FenceRow> {
  const row = (await client.query<FenceRow>(sql)).rows[0];
  if (row === undefined) throw new UnderstudyError('INTERNAL', 'the fence has no row');
  return row;
}

/**
 * Takes the fence if it is free: see the port. The sessions of a silent holder are ended first,
 * for a transaction of a stopped process may hold locks for ever. Null if somebody else holds it
 * or was faster.
 */
export async function takeFence(
  client: pg.ClientBase,
  options: { readonly holder: string; readonly leaseMs: number; readonly database: string },
): Promise<Fence | null> {
  const { holder, leaseMs, database } = options;
  assertNotNewer('shadow', database, (await databaseVersion(client)) ?? 0);
  const seen = await readFence(client, leaseMs);
  if (!seen.free) return null;
  if (seen.holder !== null) await endSessions(client, seen.generation);
  await endSilentMembers(client, leaseMs);
  const generation = seen.generation + 1n;
  try {
    return await transaction(client, () =>
      raiseGeneration(client, { generation, holder, leaseMs }),
    );
  } catch (error) {
    if (hasSqlState(error, SQLSTATE.lockNotAvailable)) return null;
    throw error;
  }
}

/** In a transaction: the fence's row locked, looked at again, and raised. */
async function raiseGeneration(
  client: pg.ClientBase,
  options: { readonly generation: bigint; readonly holder: string; readonly leaseMs: number },
): Promise<Fence | null> {
  const { generation, holder, leaseMs } = options;
  // A process stopped in here has no presence yet by which it could be found: the server ends it.
  await client.query(`SET LOCAL lock_timeout = ${String(TAKE_OVER_WAIT_MS)};
    SET LOCAL idle_in_transaction_session_timeout = ${String(TAKE_OVER_WAIT_MS)}`);
  const now = toFenceState(await readRow(client, `${STATE} FOR UPDATE OF f, s`), leaseMs);
  if (!now.free || now.generation !== generation - 1n) return null;
  // Before the commit: else the new holder would look gone for a moment. If the transaction
  // fails, the lock names a generation that nobody reaches but through this same step.
  await showPresence(client, generation);
  await client.query('UPDATE understudy.fence SET generation = $1, holder = $2', [
    generation,
    holder,
  ]);
  // Waits for what members write, who are then refused: a new holder begins alone.
  await client.query('DELETE FROM understudy.share');
  await client.query(
    `UPDATE understudy.sign_of_life
      SET generation = $1, at = pg_catalog.clock_timestamp(), away = false, note = NULL`,
    [generation],
  );
  return { generation, holder };
}

/**
 * Ends the sessions of a generation and of any before it, as far as they are of our own account:
 * a holder that was stopped long ago may still keep locks.
 */
async function endSessions(client: pg.ClientBase, generation: bigint): Promise<void> {
  await client.query(
    `SELECT pg_catalog.pg_terminate_backend(a.pid, ${String(TAKE_OVER_WAIT_MS)})
      FROM pg_catalog.pg_stat_activity a
      WHERE a.pid <> pg_catalog.pg_backend_pid()
        AND a.usesysid = (SELECT u.usesysid FROM pg_catalog.pg_user u WHERE u.usename = current_user)
        AND EXISTS (SELECT FROM ${SESSIONS_OF} AND l.pid = a.pid
          AND l.objid::int8 <= $1::int8 & 2147483647)`,
    [generation],
  );
}

/** Marks this session as one of the generation's, until it ends. */
export async function showPresence(client: pg.ClientBase, generation: bigint): Promise<void> {
  await client.query('SELECT pg_catalog.pg_advisory_lock_shared($1::int4, $2::int4)', [
    PRESENCE,
    Number(BigInt.asUintN(31, generation)),
  ]);
}

/**
 * To be asked in the act's transaction: the fence is still ours, and stays so until it ends. The holder is
 * asked too: two may have taken the same generation if a fail-over lost the first one's commit. Its
 * values are in it, so that it can begin a message. See `judgeFence`.
 */
export function askFence({ generation, holder }: Fence): string {
  return `SELECT EXISTS (SELECT FROM understudy.share) AS shared FROM understudy.fence
    WHERE generation = ${String(generation)} AND holder = ${escapeLiteral(holder)} FOR SHARE`;
}

/**
 * What the answer says: true if some partitions are given to members; nobody else can change that
 * meanwhile. FENCED if another holder took it, SHADOW_REWOUND if the database is of before we did.
 */
export async function judgeFence(
  client: pg.ClientBase,
  answer: pg.QueryResult | undefined,
  fence: Fence,
  database: string,
): Promise<boolean> {
  const [found] = (answer?.rows ?? []) as readonly { readonly shared: boolean }[];
  if (found === undefined) throw notHeld(fence, await readRow(client, STATE), database);
  return found.shared;
}

/** Asks and judges in one. */
export async function assertFence(
  client: pg.ClientBase,
  fence: Fence,
  database: string,
): Promise<boolean> {
  return judgeFence(client, await client.query(askFence(fence)), fence, database);
}

/** A sign of life. Does not wait for acts that run. Errors as of `assertFence`. */
export async function renewFence(
  client: pg.ClientBase,
  fence: Fence,
  options: { readonly note: HolderNote; readonly database: string },
): Promise<void> {
  const { rowCount } = await client.query(
    `UPDATE understudy.sign_of_life SET at = pg_catalog.clock_timestamp(), away = false, note = $2
      WHERE generation = $1
        AND EXISTS (SELECT FROM understudy.fence WHERE generation = $1 AND holder = $3)`,
    [fence.generation, JSON.stringify(options.note), fence.holder],
  );
  if (rowCount !== 1) throw notHeld(fence, await readRow(client, STATE), options.database);
}

/**
 * Before a copy shuts the holder out too: it is not gone, and cannot give signs of life. A day is
 * longer than any copy; `welcomeHolder` ends it.
 */
export async function excuseHolder(client: pg.ClientBase): Promise<void> {
  await client.query(`UPDATE understudy.sign_of_life
    SET at = pg_catalog.clock_timestamp() + pg_catalog.make_interval(days => 1), away = true`);
}

/** After the copy: from now on the holder has its lease again to come back. */
export async function welcomeHolder(client: pg.ClientBase): Promise<void> {
  await client.query('UPDATE understudy.sign_of_life SET at = pg_catalog.clock_timestamp()');
}

/** Nobody holds it from now on, unless somebody else already does. */
export async function releaseFence(client: pg.ClientBase, fence: Fence): Promise<void> {
  await client.query(
    'UPDATE understudy.fence SET holder = NULL WHERE generation = $1 AND holder = $2',
    [fence.generation, fence.holder],
  );
}
