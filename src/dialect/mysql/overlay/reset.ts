import type { RowSelection } from '../../dialect.ts';
import { forgottenBy } from '../../sql/orphan-decisions.ts';
import { isApart, selectTables } from '../../sql/overlay-rows.ts';
import type { ApplySession } from '../apply/apply.ts';
import { forgetAccepted } from './orphans.ts';
import { putBack } from './put-back.ts';
import { selectionCondition } from './read.ts';
import { writeAllWaiting } from './write-waiting.ts';

/**
 * Puts the selected rows back to production's and gives them up. Runs in the caller's READ COMMITTED
 * transaction on an applier's session. Returns how many were owned. Its cost goes by these, and by what is
 * kept out.
 *
 * A row that the candidate takes meanwhile stays its own. Foreign keys are not checked: a part of the tables
 * may leave rows that refer to nothing.
 * Errors: USAGE, TABLE_UNKNOWN, APPLY_BLOCKED (also if a row that is not selected holds a unique
 * value of one that is).
 */
export async function resetOverlay(session: ApplySession, only: RowSelection): Promise<number> {
  let owned = 0;
  const all = [...session.captured.values()];
  const tables = selectTables(all, only, isApart);
  for (const table of tables) {
    if (selectionCondition(table, only) === null) continue;
    await writeAllWaiting(session, table);
    const which = (alias: string): string => selectionCondition(table, only, alias) ?? 'FALSE';
    owned += await putBack(session, table, which, 'reset');
  }
  await forgetAccepted(session.client, session.database, forgottenBy(all, tables, only));
  return owned;
}
