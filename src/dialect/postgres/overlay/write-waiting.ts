/** Keys that waited are written as any change is, once nobody is at them: see dialect/waiting.ts. */
import type { ClientBase } from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import { checkDeferred, tableOf, type ApplySession } from '../apply/apply.ts';
import { applyFailure } from '../apply/apply-error.ts';
import { applyStaged } from '../apply/apply-rows.ts';
import { clearStage } from '../apply/apply-sql.ts';
import type { ApplyTable } from '../apply/apply-table.ts';
import { attempt, findLocked, searchLocked } from '../apply/park-locked.ts';
import { ensureStages } from '../apply/stage.ts';
import { endWaiting, stageWaiting, unstage } from '../apply/waiting-sql.ts';
import { relation, WAITING_TABLE, waitingId } from '../session/names.ts';
import { admitBlocked, withoutLedgers } from './admit.ts';
import { touchCaptured } from './journal.ts';
import { dropWaiting, readWaitingLabels, readWaitingTables } from './waiting.ts';

/** Keys tried at once, and how often at most. */
const PART = 1_000;
const PARTS = 10;
/** What is waited for a lock here is time in which nothing is applied. */
const LOCK_TIMEOUT = '10ms';
const SEARCH_MS = 100;
const ROUNDS = 3;

/**
 * Of one table, or of all, in the caller's READ COMMITTED transaction on an applier's session. Passes over what
 * somebody is at. Returns how many were written, and how many wait still.
 */
export async function writeWaiting(
  session: ApplySession,
  only?: TableId,
): Promise<{ readonly written: number; readonly left: number }> {
  const { client } = session;
  const sum = { written: 0, left: 0 };
  const all = await readWaitingTables(client);
  const wanted = only === undefined ? null : tableName(only);
  const tables = all.filter((id) => wanted === null || tableName(id) === wanted);
  if (tables.length === 0) return sum;
  const before = await client.query<{ timeout: string }>(
    `SELECT pg_catalog.current_setting('lock_timeout') AS timeout`,
  );
  await client.query(`SET LOCAL lock_timeout = '${LOCK_TIMEOUT}'`);
  for (const id of tables) {
    if (session.captured?.has(tableName(id)) !== true) {
      await dropWaiting(client, id);
      continue;
    }
    const table = { ...tableOf(session, id), waiting: relation(waitingId(id)) };
    try {
      const { written, left } = await writeTable(session, table);
      sum.written += written;
      sum.left += left;
    } catch (error) {
      throw applyFailure(error, table.label);
    }
  }
  await client.query(`SELECT pg_catalog.set_config('lock_timeout', $1, true)`, [
    before.rows[0]?.timeout ?? '0',
  ]);
  return sum;
}

/**
 * Before these tables, or all, are changed: what waits of them is written first. APPLY_BLOCKED if a candidate is
 * at them still, as it would be in the way of the change itself.
 */
export async function settleWaiting(
  client: ClientBase,
  session: () => Promise<ApplySession>,
  tables: readonly TableId[] | null,
): Promise<void> {
  const waiting = await readWaitingLabels(client);
  const wanted = tables?.filter((id) => waiting.has(tableName(id))) ?? [undefined];
  if (waiting.size === 0 || wanted.length === 0) return;
  const open = await session();
  for (const table of wanted) {
    const { left } = await writeWaiting(open, table);
    if (left === 0) continue;
    const what = 'a session of the candidate holds rows that wait to be written first';
    throw new UnderstudyError('APPLY_BLOCKED', what, {
      ...(table !== undefined && { table: tableName(table) }),
    });
  }
}

async function writeTable(
  session: ApplySession,
  table: ApplyTable,
): Promise<{ readonly written: number; readonly left: number }> {
  const { client } = session;
  let written = 0;
  for (let part = 0, wrote = 1; wrote > 0 && part < PARTS; part += 1) {
    wrote = await writePart(session, table);
    written += wrote;
  }
  if (written > 0) {
    await touchCaptured(client, [table]);
    await checkDeferred(session);
    // What waited may have been in the way of rows that came after it.
    await admitBlocked(session, table, { schema: false, parts: 1 });
  }
  const { rows } = await client.query<{ left: number }>(
    `SELECT pg_catalog.count(*)::int4 AS left FROM ${table.waiting ?? ''}`,
  );
  const left = rows[0]?.left ?? 0;
  if (left === 0) await endList(session, table);
  return { written, left };
}

/** Who makes a key wait locks the line first: see beginWaiting. */
async function endList({ client }: ApplySession, table: ApplyTable): Promise<void> {
  const { schema, name } = table.schema.id;
  const line = 'table_schema = $1 AND table_name = $2';
  const locked = await client.query(
    `SELECT FROM ${WAITING_TABLE} WHERE ${line} FOR UPDATE SKIP LOCKED`,
    [schema, name],
  );
  if (locked.rowCount !== 1) return;
  await client.query(
    `DELETE FROM ${WAITING_TABLE} WHERE ${line} AND NOT EXISTS (SELECT FROM ${table.waiting ?? ''})`,
    [schema, name],
  );
}

/** Where production's log stands by what was applied, of which these are a part. */
async function readSource(client: ClientBase): Promise<string | null> {
  const { rows } = await client.query<{ source: string | null }>(
    'SELECT p.source::text AS source FROM understudy.progress p',
  );
  return rows[0]?.source ?? null;
}

/** Returns how many were written. */
async function writePart(session: ApplySession, table: ApplyTable): Promise<number> {
  const { client } = session;
  await ensureStages(client, [table], {
    ...{ known: session.staged, used: new Set(), made: new Set() },
  });
  await client.query(clearStage(table));
  let staged = (await client.query(stageWaiting(table, PART))).rowCount ?? 0;
  const context = { ...withoutLedgers(session), source: await readSource(client) };
  const write = async (): Promise<number> => {
    const { rowCount } = await client.query(endWaiting(table));
    await applyStaged(context, table);
    return rowCount ?? 0;
  };
  let locked = staged === 0 ? [] : await findLocked(client, table);
  for (let round = 0; round < ROUNDS; round += 1) {
    if (locked.length > 0) await client.query(unstage(table, locked));
    staged -= locked.length;
    if (staged <= 0) return 0;
    const done = await attempt(client, write);
    if (done !== null) return done;
    locked = await searchLocked(client, table, write, SEARCH_MS);
  }
  return 0;
}
