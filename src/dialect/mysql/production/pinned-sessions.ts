/**
 * Sessions on production that share one snapshot whose place in the binlog is exactly known.
 *
 * Such a place cannot be read beside a snapshot: the binlog has a transaction before snapshots see it,
 * for as long as its commit waits, say for a replica. So the server is kept from committing for as long
 * as it takes to open the snapshots and to read the place, some milliseconds: the lock waits for commits
 * under way, and keeps further ones off. The snapshots are then all that the binlog has before that
 * place, and nothing else. It is asked for with little patience, again and again, for who waits for it
 * makes writers wait behind it.
 *
 * Without the right to that lock, the followed tables are read-locked, of which alone the snapshots are
 * exact then. That is less kind: a transaction that writes to several of them may end as a deadlock.
 *
 * MariaDB takes the binlog into its snapshots, and needs no lock: sessions that were opened at once are
 * used if they have the same place. There a place may lie before what the binlog has by then; so
 * snapshots are taken again until they hold what was in the binlog when they were asked for.
 */
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { backoffMs, sleep } from '../../../util/wait.ts';
import type { Client } from '../session/client.ts';
import { ERRNO, hasErrno, isRefusal, tellable } from '../session/errors.ts';
import type { Flavour } from '../session/flavour.ts';
import { parseGtids, snapshotText, type BinlogPlace } from './binlog-view.ts';
import type { ProductionSessions } from './production-session.ts';

export interface PinnedSessions {
  /** Each in a read-only transaction; at least one. The caller ends them. */
  readonly sessions: readonly Client[];
  readonly place: BinlogPlace;
}

export interface PinRequest {
  /** Sessions, at most: where MariaDB commits without a pause there may be fewer. */
  readonly count: number;
  /** MariaDB's GTIDs (`logEnd`) that the snapshot must hold. */
  readonly after: string;
  /** Quoted: what the snapshot is to be exact of. */
  readonly tables: readonly string[];
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

const LOCK_WAIT_S = 1;
/** A locker that says nothing for so long has died: its server ends it, and the lock with it. */
const LOCKER_SILENT_S = 30;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;
/** How often MariaDB's sessions are opened anew to have one place. */
const TRIES_AT_ONCE = 50;
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
      ? pinMySql(production, opened, request)
      : pinMariaDb(opened, request));
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

async function pinMySql(
  production: ProductionSessions,
  opened: readonly Client[],
  request: PinRequest,
): Promise<PinnedSessions> {
  const [first] = opened;
  if (first === undefined) throw new UnderstudyError('INTERNAL', 'no session was asked for');
  const open = async (): Promise<PinnedSessions> => {
    await startSnapshots(opened);
    return { sessions: opened, place: await readMySqlPlace(first) };
  };
  try {
    return await pinLocked(production, { ...request, lock: STOP_COMMITS }, () =>
      withoutPrepared(first, open),
    );
  } catch (error) {
    if (!(error instanceof LockRefused) || request.tables.length === 0) throw error;
  }
  // Prepared transactions hold the tables that they wrote to.
  return await pinLocked(production, { ...request, lock: lockOf(request.tables) }, open);
}

/** Those that have one place; the copy takes longer with fewer, but is as exact. */
async function pinMariaDb(opened: readonly Client[], request: PinRequest): Promise<PinnedSessions> {
  const found = await retrying(request, async () => {
    for (let tries = 1; ; tries += 1) {
      const together = await openTogether(opened, request.after);
      if (typeof together === 'string' || tries === TRIES_AT_ONCE) return together;
      if (together.sessions.length === opened.length) return together;
    }
  });
  const others = opened.filter((client) => !found.sessions.includes(client));
  await Promise.all(others.map((client) => client.end()));
  return found;
}

/** Snapshots of all, and the most of them that have the same place; a text if that is too early. */
async function openTogether(
  opened: readonly Client[],
  after: string,
): Promise<PinnedSessions | string> {
  const [first] = opened;
  if (first === undefined) throw new UnderstudyError('INTERNAL', 'no session was asked for');
  const places = await withoutPrepared(first, async () => {
    await startSnapshots(opened);
    const read: (PinnedSessions & { readonly key: string })[] = [];
    // One after the other, for they would disturb each other.
    for (const client of opened) {
      const place = await readMariaDbPlace(client);
      read.push({ sessions: [client], place, key: snapshotText(place) });
    }
    return [...Map.groupBy(read, ({ key }) => key).values()];
  });
  if (typeof places === 'string') return places;
  const [most] = places.toSorted((a, b) => b.length - a.length);
  const place = most?.[0]?.place;
  if (most === undefined || place === undefined || !holds(place.gtids, after)) {
    return 'a transaction of the binlog is not yet committed';
  }
  return { sessions: most.flatMap(({ sessions }) => sessions), place };
}

interface Lock {
  readonly statement: string;
  readonly release: string;
  readonly what: string;
}

const STOP_COMMITS: Lock = {
  statement: 'FLUSH TABLES WITH READ LOCK',
  release: 'UNLOCK TABLES',
  what: 'a statement or commit does not end',
};

function lockOf(tables: readonly string[]): Lock {
  return {
    statement: `LOCK TABLES ${tables.map((table) => `${table} READ`).join(', ')}`,
    release: 'UNLOCK TABLES',
    what: 'a transaction that wrote to the tables does not end; see XA RECOVER too',
  };
}

/** Whoever may not lock, or not ask what a lock of the whole server does not tell. */
class LockRefused extends UnderstudyError {}

/** What `open` gives, of sessions that it opens while the lock is held. */
async function pinLocked(
  production: ProductionSessions,
  request: PinRequest & { readonly lock: Lock },
  open: () => Promise<PinnedSessions | string>,
): Promise<PinnedSessions> {
  const { lock } = request;
  const locker = await production.open();
  try {
    await locker.run(
      `SET SESSION lock_wait_timeout = ${String(LOCK_WAIT_S)}, wait_timeout = ${String(LOCKER_SILENT_S)}`,
    );
    return await retrying(request, async () => {
      if (!(await tryLock(locker, lock))) return lock.what;
      try {
        return await open();
      } finally {
        await locker.run(lock.release);
      }
    });
  } finally {
    await locker.end();
  }
}

/** False if it was not given in time. */
async function tryLock(locker: Client, { statement, release }: Lock): Promise<boolean> {
  try {
    await locker.run(statement);
    return true;
  } catch (error) {
    if (hasErrno(error, ERRNO.lockWaitTimeout, ERRNO.deadlock)) {
      // FLUSH stops writers first and then waits for tables: it leaves the former in force.
      await locker.run(release);
      return false;
    }
    if (!isRefusal(error)) throw error;
    const what = 'production does not let itself be locked for the milliseconds that a pin takes';
    throw new LockRefused('DATABASE_PERMISSION', what, {
      detail: `${tellable(error)}; GRANT FLUSH_TABLES ON *.*, or LOCK TABLES on the followed database`,
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
  await Promise.all(
    clients.map((client) => client.run('START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY')),
  );
}

/**
 * Rows of a prepared XA transaction are in the log, and no snapshot sees them: a text if there was one
 * before `act` had ended.
 */
async function withoutPrepared<T>(client: Client, act: () => Promise<T>): Promise<T | string> {
  const what = 'an XA transaction is prepared and not ended; see XA RECOVER';
  const before = await preparedSoFar(client);
  if (await anyPrepared(client)) return what;
  const done = await act();
  // One that was being prepared all the while has been counted before, and is listed afterwards.
  const none = (await preparedSoFar(client)) === before && !(await anyPrepared(client));
  return none ? done : what;
}

async function anyPrepared(client: Client): Promise<boolean> {
  try {
    return (await client.rows('XA RECOVER')).length > 0;
  } catch (error) {
    if (!isRefusal(error) && !hasErrno(error, ERRNO.xaFatal)) throw error;
    // No count tells it: a server that is started again counts anew, and they are there still.
    const what = 'production does not tell whether XA transactions are prepared';
    throw new LockRefused('DATABASE_PERMISSION', what, {
      detail: `${tellable(error)}; GRANT XA_RECOVER_ADMIN ON *.*, or LOCK TABLES on the followed database`,
    });
  }
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
