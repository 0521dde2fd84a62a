import { tableName, type TableId } from '../../../change/table-id.ts';
import type { ApplySession } from '../apply/apply.ts';
import { applyFailure } from '../apply/apply-error.ts';
import { JOURNAL } from '../session/names.ts';
import { assertUnreferenced, selectTables } from '../../sql/overlay-rows.ts';
import { touchCaptured } from './journal.ts';
import { capturedTables } from './reset.ts';
import { writeWaiting } from './write-waiting.ts';

/**
 * Empties the visible table as if the candidate had: each row that nobody owns gets an entry with
 * production's image first. Runs in the caller's transaction on an applier's session, in which the
 * capture does not act. Sequences stay where they are, as after the engine's own TRUNCATE. Returns how
 * many rows there were. Errors: USAGE if another table refers to it, TABLE_UNKNOWN, APPLY_BLOCKED.
 */
export async function truncateOverlay(session: ApplySession, id: TableId): Promise<number> {
  const [table] = selectTables(capturedTables(session), { table: id });
  if (table === undefined) return 0;
  const { client, catalogue } = session;
  assertUnreferenced(
    table.label,
    [...catalogue.values()].flatMap(({ id: referring, foreignKeys }) =>
      foreignKeys.some(({ references }) => tableName(references) === table.label)
        ? [tableName(referring)]
        : [],
    ),
  );
  const columns = table.columns.map(({ name }) => name).join(', ');
  const key = table.key.map(({ name }) => name).join(', ');
  try {
    await client.query(`LOCK TABLE ${table.rows} IN ACCESS EXCLUSIVE MODE`);
    await writeWaiting(session, table.schema.id);
    await client.query(`INSERT INTO ${table.journal ?? ''} (${columns}, ${JOURNAL.present})
      SELECT ${columns}, true FROM ${table.rows} ON CONFLICT (${key}) DO NOTHING`);
    const { rowCount } = await client.query(`DELETE FROM ${table.rows}`);
    await touchCaptured(client, [table]);
    return rowCount ?? 0;
  } catch (error) {
    throw applyFailure(error, table.label);
  }
}
