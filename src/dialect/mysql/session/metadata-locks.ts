/**
 * Statements that change a table or its triggers, on databases that others write to. The servers keep a
 * table's shape for as long as a transaction lasts that touched it; and while one waits to change the
 * shape, they let nobody else begin with the table.
 */
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { sleep } from '../../../util/wait.ts';
import { withSettings, type Client } from './client.ts';
import { ERRNO, hasErrno, isRefusal } from './errors.ts';

/** How long one try keeps everybody from the table: the servers' least that both have. */
const TRY_S = 1;
/** In between, those have their turn that one try kept waiting. */
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 800;
const PATIENCE_MS = 3_000;
/** Transactions that an error names. */
const NAMED = 5;

/**
 * Runs such a statement in short tries. APPLY_BLOCKED if a transaction is in the way for long, with those
 * that may be it.
 */
export async function patiently(client: Client, database: string, sql: string): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    try {
      await withLockWait(client, TRY_S, () => client.run(sql));
      return;
    } catch (error) {
      if (!hasErrno(error, ERRNO.lockWaitTimeout, ERRNO.deadlock)) throw error;
      if (performance.now() + pauseMs > deadline) throw await blocked(client, database, error);
    }
    await sleep(pauseMs);
  }
}

/** Runs `fn` while the session waits so long for tables, and rows, that others use. */
export async function withLockWait<T>(
  client: Client,
  seconds: number,
  fn: () => Promise<T>,
): Promise<T> {
  const was = await client.row<{ tables: string; rows: string }>(
    'SELECT @@lock_wait_timeout AS tables, @@innodb_lock_wait_timeout AS `rows`',
  );
  const waits = (tables: string, rows: string): string =>
    `lock_wait_timeout = ${tables}, innodb_lock_wait_timeout = ${rows}`;
  const now = String(seconds);
  return withSettings(client, waits(now, now), waits(was.tables, was.rows), fn);
}

/** APPLY_BLOCKED for a statement that waited in vain, with the transactions that may be in the way. */
export async function blocked(
  client: Client,
  database: string,
  error: unknown,
): Promise<UnderstudyError> {
  const named = [...(await preparedOnes(client)), ...(await openOnes(client, database))];
  return new UnderstudyError(
    'APPLY_BLOCKED',
    'a transaction keeps a table from being changed',
    {
      database,
      detail:
        named.length === 0
          ? 'none is seen from here: this account may lack PROCESS and XA_RECOVER_ADMIN'
          : `it may be: ${named.slice(0, NAMED).join('; ')}`,
    },
    error,
  );
}

/** What is prepared stays until somebody ends it, also when its session is long gone. */
async function preparedOnes(client: Client): Promise<readonly string[]> {
  const rows = await ifTold(() =>
    client.rows<{ formatID: string | number; gtrid_length: number; data: string | Buffer }>(
      'XA RECOVER',
    ),
  );
  return rows.map(({ formatID: format, gtrid_length: end, data }) => {
    const id = Buffer.from(data);
    const parts = [id.subarray(0, end), id.subarray(end)].map(
      (part) => `X'${part.toString('hex')}'`,
    );
    const name = [...parts, String(format)].join(', ');
    return `one that is prepared, which XA COMMIT ${name} or XA ROLLBACK ${name} ends`;
  });
}

async function openOnes(client: Client, database: string): Promise<readonly string[]> {
  const rows = await ifTold(() =>
    client.rows<{ id: string; account: string; seconds: string }>(
      `SELECT p.ID AS id, p.USER AS account, TIMESTAMPDIFF(SECOND, t.trx_started, NOW()) AS seconds
        FROM information_schema.INNODB_TRX t
        JOIN information_schema.PROCESSLIST p ON p.ID = t.trx_mysql_thread_id
        WHERE p.DB = ? AND p.USER <> SUBSTRING_INDEX(USER(), '@', 1) ORDER BY t.trx_started`,
      [database],
    ),
  );
  return rows.map(
    ({ id, account, seconds }) =>
      `one of '${account}' in session ${String(id)}, open for ${String(seconds)} s`,
  );
}

/** Nothing where the account may not ask. */
async function ifTold<T>(ask: () => Promise<readonly T[]>): Promise<readonly T[]> {
  try {
    return await ask();
  } catch (error) {
    if (isRefusal(error) || hasErrno(error, ERRNO.xaFatal)) return [];
    throw error;
  }
}
