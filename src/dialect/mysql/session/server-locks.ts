/**
 * User-level locks: seen on the whole server whatever the database, gone with the session that
 * holds them, and readable without any right.
 */
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { Client } from './client.ts';
import { workLock } from './names.ts';

/** Waits at most `waitMs` (whole seconds are what the server counts in); false if it took longer. */
export async function takeLock(client: Client, name: string, waitMs: number): Promise<boolean> {
  const { got } = await client.row<{ got: string | number | null }>(
    'SELECT GET_LOCK(?, ?) AS got',
    [name, Math.ceil(waitMs / 1000)],
  );
  return Number(got) === 1;
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

/**
 * Keeps others from making or dropping `database` until this session ends.
 * SHADOW_UNREACHABLE if somebody else does so for too long: trying again helps.
 */
export async function lockWork(client: Client, database: string, waitMs: number): Promise<void> {
  if (await takeLock(client, workLock(database), waitMs)) return;
  const what = 'another understudy is making or dropping it';
  throw new UnderstudyError('SHADOW_UNREACHABLE', what, { database });
}
