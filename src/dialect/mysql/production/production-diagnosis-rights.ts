/**
 * Whether the account may pin a snapshot to its place in the binlog, as drift checks, repairs and copies
 * do (pinned-sessions.ts): asked of the server by what needs the same rights and does nothing.
 */
import type { Diagnosis } from '../../dialect.ts';
import type { Client } from '../session/client.ts';
import { ERRNO, hasErrno, isRefusal, serverError } from '../session/errors.ts';
import type { Flavour } from '../session/flavour.ts';
import { quote } from '../session/names.ts';

/** Nobody's table: a server that lets it be flushed or locked says at most that it is not there. */
const NO_TABLE = 'understudy_asks_for_rights';

/** `database`: the followed one; null where that is not known. */
export async function diagnosePinRights(
  client: Client,
  { engine }: Flavour,
  database: string | null,
): Promise<Diagnosis> {
  const id = 'production.pin-rights';
  // Its snapshots tell their place themselves.
  if (engine === 'mariadb') {
    return { id, level: 'ok', message: 'a snapshot tells its place in the binlog', cure: null };
  }
  if (!(await isAllowed(client, 'SHOW BINARY LOG STATUS'))) {
    return {
      id,
      level: 'error',
      message:
        'the account of production.url may not ask where the binlog ends: no drift check, repair or copy can be made',
      cure: 'GRANT REPLICATION CLIENT ON *.* TO it.',
    };
  }
  const missing: string[] = [];
  const table = quote(database ?? 'mysql', NO_TABLE);
  if (!(await isAllowed(client, `FLUSH LOCAL TABLES ${table}`))) missing.push('FLUSH_TABLES');
  if (!(await isAllowed(client, 'XA RECOVER'))) missing.push('XA_RECOVER_ADMIN');
  if (missing.length === 0) {
    return { id, level: 'ok', message: 'a snapshot can be pinned to the binlog', cure: null };
  }
  const cure = `GRANT ${missing.join(', ')} ON *.* TO it.`;
  if (database !== null && (await mayLock(client, table))) {
    return {
      id,
      level: 'warning',
      message:
        'the account of production.url may only lock the followed tables for a pin: a transaction that writes to several of them then may end as a deadlock',
      cure,
    };
  }
  return {
    id,
    level: 'error',
    message:
      'the account of production.url may not stop commits for the milliseconds that a pin takes: no drift check, repair or copy can be made',
    cure: `${cure} Or GRANT LOCK TABLES on the followed database.`,
  };
}

async function mayLock(client: Client, table: string): Promise<boolean> {
  try {
    return await isAllowed(client, `LOCK TABLES ${table} READ`);
  } finally {
    await client.run('UNLOCK TABLES');
  }
}

/** Any other answer of the server's is one by its rights. */
async function isAllowed(client: Client, statement: string): Promise<boolean> {
  try {
    await client.run(statement);
    return true;
  } catch (error) {
    if (isRefusal(error) || hasErrno(error, ERRNO.xaFatal)) return false;
    if (serverError(error) === null) throw error;
    return true;
  }
}
