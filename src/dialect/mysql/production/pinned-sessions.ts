/**
 * Sessions on production that share one snapshot whose place in the binlog is exactly known.
 *
 * Such a place cannot be read beside a snapshot: the binlog has a transaction before snapshots see it,
 * for as long as its commit waits, say for a replica. So the tables concerned are read-locked for as
 * long as it takes to open the snapshots and to read the place, some milliseconds: the lock waits for
 * commits under way, and keeps further ones off. Of these tables the snapshots are then all that the
 * binlog has before that place, and nothing else. It is asked for with little patience, again and
 * again, for who waits for it makes writers wait behind it.
 *
 * MariaDB takes the binlog into its snapshots: one session alone needs no lock. There the place of a
 * snapshot may lie before what the binlog has by then; so a snapshot is taken again until it holds what
 * was in the binlog when it was asked for.
 */
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { backoffMs, sleep } from '../../../util/wait.ts';
import type { Client } from '../session/client.ts';
import { ERRNO, hasErrno, isRefusal, tellable } from '../session/errors.ts';
import type { Flavour } from '../session/flavour.ts';
import { parseGtids, type BinlogPlace } from './binlog-view.ts';
import type { ProductionSessions } from './production-session.ts';

export interface PinnedSessions {
  /** Each in a read-only transaction; at least one. The caller ends them. */
  readonly sessions: readonly Client[];
  readonly place: BinlogPlace;
}

export interface PinRequest {
  /** Sessions; on MariaDB without the right to lock tables there is but one. */
  readonly count: number;
  /** MariaDB's GTIDs (`logEnd`) that the snapshot must hold. */
  readonly after: string;
  /** Quoted: what the snapshot is to be exact of. */
  readonly tables: readonly string[];
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

const LOCK_WAIT_S = 1;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;
/** Reads of MariaDB's status that must agree in a row: it is shared by all who read it just then. */
const EQUAL_READS = 3;

/**
 * Errors: PIN_FAILED (no binlog; a transaction that does not end within `timeoutMs`),
 * DATABASE_PERMISSION, PRODUCTION_UNREACHABLE, the signal's reason.
 */
export async function pinSessions(
  production: ProductionSessions,
  flavour: Flavour,
  request: PinRequest,
): Promise<PinnedSessions> {
  const opened: Client[] = [];
  try {
    for (let i = 0; i < request.count; i += 1) {
      const client = await production.open();
      opened.push(client);
      await client.run('SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ');
    }
    return await (flavour.engine === 'mysql'
      ? pinLocked(production, opened, request, async (first) => {
          await startSnapshots(opened);
          return await readMySqlPlace(first);
        })
      : pinMariaDb(production, opened, request));
  } catch (error) {
    for (const client of opened) client.destroy();
    throw error;
  }
}

/** The end of the binlog: MariaDB's GTIDs there, whatever of it is committed. */
export async function logEnd(client: Client): Promise<string> {
  return (await client.row<{ gtids: string }>('SELECT @@global.gtid_binlog_pos AS gtids')).gtids;
}

/** Where the binlog ends, of one that is written to meanwhile. */
export async function currentPlace(client: Client, flavour: Flavour): Promise<BinlogPlace> {
  if (flavour.engine === 'mysql') return await readMySqlPlace(client);
  await startSnapshots([client]);
  const place = await readMariaDbPlace(client);
  await client.run('ROLLBACK');
  return place;
}

async function pinMariaDb(
  production: ProductionSessions,
  opened: readonly Client[],
  request: PinRequest,
): Promise<PinnedSessions> {
  if (opened.length > 1) {
    try {
      return await pinLocked(production, opened, request, (first) =>
        withoutPrepared(first, async () => {
          await startSnapshots(opened);
          return await readMariaDbPlace(first);
        }),
      );
    } catch (error) {
      if (!(error instanceof LockRefused)) throw error;
    }
  }
  const [client, ...others] = opened;
  if (client === undefined) throw new UnderstudyError('INTERNAL', 'no session was asked for');
  await Promise.all(others.map((other) => other.end()));
  return await retrying(request, async () => {
    const place = await withoutPrepared(client, async () => {
      await startSnapshots([client]);
      return await readMariaDbPlace(client);
    });
    if (typeof place !== 'string' && holds(place.gtids, request.after)) {
      return { sessions: [client], place };
    }
    await client.run('ROLLBACK');
    return typeof place === 'string' ? place : 'a transaction of the binlog is not yet committed';
  });
}

/** Whoever may not lock tables. */
class LockRefused extends UnderstudyError {}

async function pinLocked(
  production: ProductionSessions,
  opened: readonly Client[],
  request: PinRequest,
  open: (first: Client) => Promise<BinlogPlace | string>,
): Promise<PinnedSessions> {
  const [first] = opened;
  if (first === undefined) throw new UnderstudyError('INTERNAL', 'no session was asked for');
  const locker = await production.open();
  try {
    await locker.run(`SET SESSION lock_wait_timeout = ${String(LOCK_WAIT_S)}`);
    return await retrying(request, async () => {
      if (!(await lockTables(locker, request.tables))) {
        return 'a transaction that wrote to the tables does not end; see XA RECOVER too';
      }
      try {
        const place = await open(first);
        return typeof place === 'string' ? place : { sessions: opened, place };
      } finally {
        await locker.run('UNLOCK TABLES');
      }
    });
  } finally {
    await locker.end();
  }
}

/** False if somebody writes to them, or is about to. */
async function lockTables(locker: Client, tables: readonly string[]): Promise<boolean> {
  if (tables.length === 0) return true;
  try {
    await locker.run(`LOCK TABLES ${tables.map((table) => `${table} READ`).join(', ')}`);
    return true;
  } catch (error) {
    if (hasErrno(error, ERRNO.lockWaitTimeout, ERRNO.deadlock)) return false;
    if (!isRefusal(error)) throw error;
    const what = 'production does not let its tables be locked, which takes some milliseconds';
    throw new LockRefused('DATABASE_PERMISSION', what, {
      detail: `${tellable(error)}; GRANT SELECT, LOCK TABLES on the followed database`,
    });
  }
}

/** Until it is no text, which says what it waits for. */
async function retrying(
  { timeoutMs, signal }: PinRequest,
  attempt: () => Promise<PinnedSessions | string>,
): Promise<PinnedSessions> {
  const deadline = performance.now() + timeoutMs;
  for (let tries = 1; ; tries += 1) {
    const found = await attempt();
    if (typeof found !== 'string') return found;
    if (performance.now() >= deadline) {
      const seconds = String(Math.round(timeoutMs / 1000));
      throw new UnderstudyError('PIN_FAILED', `no exact snapshot within ${seconds} s`, {
        detail: found,
      });
    }
    await sleep(backoffMs(tries, FIRST_PAUSE_MS, LONGEST_PAUSE_MS), signal);
  }
}

/** Ends those that the sessions have. */
async function startSnapshots(clients: readonly Client[]): Promise<void> {
  for (const client of clients) {
    await client.run('START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY');
  }
}

/**
 * Rows of a prepared XA transaction are in the log, and no snapshot sees them: a text if there was one
 * before `act` had ended.
 */
async function withoutPrepared<T>(client: Client, act: () => Promise<T>): Promise<T | string> {
  const what = 'an XA transaction is prepared and not ended; see XA RECOVER';
  const before = await preparedSoFar(client);
  if ((await client.rows('XA RECOVER')).length > 0) return what;
  const done = await act();
  return (await preparedSoFar(client)) === before ? done : what;
}

async function preparedSoFar(client: Client): Promise<string> {
  const [row] = await client.rows<{ Value: string }>(`SHOW GLOBAL STATUS LIKE 'Com_xa_prepare'`);
  return row?.Value ?? '';
}

async function readMySqlPlace(client: Client): Promise<BinlogPlace> {
  let status: readonly { readonly File: string; readonly Position: string | number }[];
  try {
    status = await client.rows('SHOW BINARY LOG STATUS');
  } catch (error) {
    if (!isRefusal(error)) throw error;
    const what = 'production does not tell where its binlog ends';
    throw new UnderstudyError('DATABASE_PERMISSION', what, {
      detail: `${tellable(error)}; GRANT REPLICATION CLIENT ON *.*`,
    });
  }
  const { mode, gtids } = await client.row<{ mode: string; gtids: string }>(
    'SELECT @@global.gtid_mode AS mode, @@global.gtid_executed AS gtids',
  );
  const [place] = status;
  if (place === undefined) throw noBinlog();
  return { file: place.File, pos: BigInt(place.Position), gtids: mode === 'ON' ? gtids : '' };
}

/** Of the snapshot that the session has. */
async function readMariaDbPlace(client: Client): Promise<BinlogPlace> {
  let last = { file: '', pos: '' };
  for (let equal = 0; equal < EQUAL_READS;) {
    const rows = await client.rows<{ Variable_name: string; Value: string }>(
      `SHOW STATUS LIKE 'binlog_snapshot_%'`,
    );
    const of = new Map(rows.map((row) => [row.Variable_name.toLowerCase(), row.Value]));
    const now = {
      file: of.get('binlog_snapshot_file') ?? '',
      pos: of.get('binlog_snapshot_position') ?? '',
    };
    if (now.file === '') throw noBinlog();
    equal = now.file === last.file && now.pos === last.pos ? equal + 1 : 1;
    last = now;
  }
  const { gtids } = await client.row<{ gtids: string | null }>(
    'SELECT BINLOG_GTID_POS(?, ?) AS gtids',
    [last.file, Number(last.pos)],
  );
  return { file: last.file, pos: BigInt(last.pos), gtids: gtids ?? '' };
}

/** Does a position of MariaDB's hold all of another one? */
function holds(gtids: string, wanted: string): boolean {
  const set = parseGtids(gtids);
  return wanted
    .split(',')
    .filter((gtid) => gtid !== '')
    .every((gtid) => set?.has(gtid) === true);
}

function noBinlog(): UnderstudyError {
  return new UnderstudyError('PIN_FAILED', 'production writes no binlog', {
    detail: 'start it with --log-bin and a server_id above 0',
  });
}
