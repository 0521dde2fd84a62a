/**
 * User-level locks: seen on the whole server whatever the database, gone with the session that
 * holds them, and readable without any right.
 */
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { sleep } from '../../../util/wait.ts';
import type { Client } from './client.ts';
import { ERRNO, hasErrno } from './errors.ts';
import { workLock } from './names.ts';

/** How long an earlier session is waited for. */
const PLACE_WAIT_MS = 5_000;
const POLL_MS = 10;
/** The account may not end that session. */
const KILL_DENIED = 1095;

/** Waits at most `waitMs` (whole seconds are what the server counts in); false if it took longer. */
export async function takeLock(client: Client, name: string, waitMs: number): Promise<boolean> {
  const { got } = await client.row<{ got: string | number | null }>(
    'SELECT GET_LOCK(?, ?) AS got',
    [name, Math.ceil(waitMs / 1000)],
  );
  return Number(got) === 1;
}

/** The same, after it gave all others back. */
export async function swapLocks(client: Client, name: string, waitMs: number): Promise<boolean> {
  await client.rows('SELECT RELEASE_ALL_LOCKS() AS done');
  return takeLock(client, name, waitMs);
}

/**
 * Marks this session by a lock as the one of its kind, until it ends or takes another. SHADOW_UNREACHABLE
 * if an earlier one keeps it: the server has not yet noticed that its connection is gone.
 */
export async function claimPlace(client: Client, name: string, database: string): Promise<void> {
  if (await swapLocks(client, name, PLACE_WAIT_MS)) return;
  const what = 'an earlier session of this process is still there';
  throw new UnderstudyError('SHADOW_UNREACHABLE', what, { database });
}

export async function giveLock(client: Client, name: string): Promise<void> {
  await client.rows('SELECT RELEASE_LOCK(?) AS done', [name]);
}

/** The session that holds it, by its id; null if nobody does. */
export async function lockHolder(client: Client, name: string): Promise<string | null> {
  const { id } = await client.row<{ id: string | number | null }>('SELECT IS_USED_LOCK(?) AS id', [
    name,
  ]);
  return id === null ? null : String(id);
}

/** The sessions that hold one of these. */
export async function lockHolders(
  client: Client,
  names: readonly string[],
): Promise<readonly string[]> {
  const ids: string[] = [];
  for (const name of names) {
    const id = await lockHolder(client, name);
    if (id !== null) ids.push(id);
  }
  return ids;
}

/**
 * Ends the sessions that hold one of these, as far as the account may, and waits for their end, `waitMs`
 * at most. Not the client's own.
 */
export async function endHolders(
  client: Client,
  names: readonly string[],
  waitMs: number,
): Promise<void> {
  const deadline = performance.now() + waitMs;
  const own = String((await client.row<{ id: string }>('SELECT CONNECTION_ID() AS id')).id);
  for (;;) {
    const ids = (await lockHolders(client, names)).filter((id) => id !== own);
    if (ids.length === 0 || performance.now() > deadline) return;
    for (const id of ids) {
      try {
        await client.run(`KILL CONNECTION ${id}`);
      } catch (error) {
        if (!hasErrno(error, ERRNO.noSuchThread, KILL_DENIED)) throw error;
      }
    }
    await sleep(POLL_MS);
  }
}

/**
 * Keeps others from making or dropping `database` until this session ends.
 * SHADOW_UNREACHABLE if somebody else does so for too long: trying again helps.
 */
export async function lockWork(client: Client, database: string, waitMs: number): Promise<void> {
  if (await takeLock(client, workLock(database), waitMs)) return;
  const what = 'another understudy is making or dropping it';
  throw new UnderstudyError('SHADOW_UNREACHABLE', what, { database });
}
