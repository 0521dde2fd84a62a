/** Rows that are kept out, let in once nothing is in their way: see blocked-sql.ts. */
import type { ApplySession } from '../apply/apply.ts';
import { writeStaged } from '../apply/apply-rows.ts';
import type { StepContext } from '../apply/step.ts';
import { isUnderstudyError } from '../../../errors/understudy-error.ts';
import { applyFailure } from '../apply/apply-error.ts';
import { clearStage } from '../apply/apply-sql.ts';
import type { ApplyTable } from '../apply/apply-table.ts';
import { ensureStages } from '../apply/stage.ts';
import { queryAll } from '../session/query-all.ts';
import { findAnyBlocked, lookedUp, settleAll, stageBlocked, unstageOwned } from './blocked-sql.ts';
import { touchCaptured } from './journal.ts';
import { deleteEqualEntries, lockEqualEntries, lockEqualRows } from './release-sql.ts';

/** Rows tried at once. */
const PART = 1000;

/** For what writes no change of production's, and so tells nothing of what is not known of its rows. */
export function withoutLedgers({ client, catalogue, comparisons }: ApplySession): StepContext {
  const ledgers = { tables: new Set<string>(), images: new Set<string>(), judges: false };
  const none = { source: null, waiting: null, visible: new Set<string>() };
  return { client, catalogue, comparisons, ledgers, ...none };
}

/** Of which nobody can tell, without a try, whether something is in their way. */
const OTHERS = 100;
/** When somebody asks for it. */
export const ALL_PARTS = 1000;
const SAVEPOINT = 'understudy_admit';

/**
 * Lets in rows of a table that are kept out, and of which no row can be found that is in their way; those
 * that the candidate is at are passed over, and all of them where it holds a lock that they would have to wait
 * for. `schema`: tries those too that its schema refused. `parts`: of some thousand rows, at most. Returns how
 * many were let in. In the caller's READ COMMITTED transaction on an applier's session.
 */
export async function admitBlocked(
  session: ApplySession,
  table: ApplyTable,
  wanted: { readonly schema: boolean; readonly parts: number },
): Promise<number> {
  if (table.isolated) return 0;
  let total = 0;
  // One that is let in may have been in the way of others.
  for (let part = 0, admitted = 1; admitted > 0 && part < wanted.parts; part += 1) {
    const any = await session.client.query(findAnyBlocked(table.journal ?? ''));
    if (any.rows.length === 0) break;
    await session.client.query(`SAVEPOINT ${SAVEPOINT}`);
    try {
      admitted = await admitPart(session, table, wanted);
    } catch (error) {
      if (!isUnderstudyError(applyFailure(error, table.label), 'APPLY_BLOCKED')) throw error;
      await session.client.query(`ROLLBACK TO SAVEPOINT ${SAVEPOINT}`);
      admitted = 0;
    }
    await session.client.query(`RELEASE SAVEPOINT ${SAVEPOINT}`);
    total += admitted;
  }
  return total;
}

async function admitPart(
  session: ApplySession,
  table: ApplyTable,
  { schema }: { readonly schema: boolean },
): Promise<number> {
  const { client, comparisons } = session;
  await ensureStages(client, [table], {
    ...{ known: session.staged, used: new Set(), made: new Set() },
  });
  const wanted = { schema, limit: PART, others: OTHERS };
  await queryAll(client, [
    clearStage(table),
    settleAll(table),
    stageBlocked(table, lookedUp(table, comparisons), wanted),
  ]);
  const freed = await takeUp(session, table);
  if (freed === 0) return 0;
  const { owned } = await writeStaged(withoutLedgers(session), table);
  await client.query(clearStage(table));
  // A candidate's TRUNCATE must learn of rows that came in: see capture-sql.ts.
  await touchCaptured(client, [table]);
  return freed - owned;
}

/** Gives up the entries of staged rows that are kept out, and unstages those that somebody is at. */
export async function takeUp({ client }: ApplySession, table: ApplyTable): Promise<number> {
  const given = 'equal or kept out';
  const [, , gone] = await queryAll(client, [
    lockEqualRows(table, 'pass over', given),
    lockEqualEntries(table, 'pass over', given),
    deleteEqualEntries(table, { outcome: 'converged', source: null }, given),
    unstageOwned(table),
  ]);
  return (gone?.rows[0] as { readonly released: number } | undefined)?.released ?? 0;
}
