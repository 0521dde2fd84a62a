/** Rows that are kept out, let in once nothing is in their way: see blocked-sql.ts. */
import type { ApplySession } from '../apply/apply.ts';
import { writeStaged, type StepContext } from '../apply/apply-rows.ts';
import { clearStage } from '../apply/apply-sql.ts';
import type { ApplyTable } from '../apply/apply-table.ts';
import { ensureStages } from '../apply/stage.ts';
import { queryAll } from '../session/query-all.ts';
import { findAnyBlocked, lookedUp, settleAll, stageBlocked, unstageOwned } from './blocked-sql.ts';
import { deleteEqualEntries, lockEqualEntries, lockEqualRows } from './release-sql.ts';

/** Rows tried at once. */
const PART = 1000;

/** For what writes no change of production's, and so tells nothing of what is not known of its rows. */
export function withoutLedgers({ client, catalogue, comparisons }: ApplySession): StepContext {
  const ledgers = { tables: new Set<string>(), images: new Set<string>(), judges: false };
  return { client, catalogue, comparisons, ledgers, source: null };
}

/**
 * Lets in rows of a table that are kept out, and of which no row can be found that is in their way; those
 * that the candidate is at are passed over. `schema`: tries those too that its schema refused. Returns how
 * many were let in. In the caller's READ COMMITTED transaction on an applier's session.
 */
export async function admitBlocked(
  session: ApplySession,
  table: ApplyTable,
  { schema }: { readonly schema: boolean },
): Promise<number> {
  const { client, comparisons } = session;
  let total = 0;
  // One that is let in may have been in the way of others.
  for (let admitted = 1; admitted > 0; total += admitted) {
    const any = await client.query(findAnyBlocked(table.journal ?? ''));
    if (any.rows.length === 0) return total;
    await ensureStages(client, [table], {
      ...{ known: session.staged, used: new Set(), made: new Set() },
    });
    await queryAll(client, [
      clearStage(table),
      settleAll(table),
      stageBlocked(table, lookedUp(table, comparisons), { schema, limit: PART }),
    ]);
    const freed = await takeUp(session, table);
    if (freed === 0) return total;
    const { owned } = await writeStaged(withoutLedgers(session), table);
    await client.query(clearStage(table));
    admitted = freed - owned;
  }
  return total;
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
