import type { TableId } from '../../../change/table-id.ts';
import { assertUnreferenced, selectTables } from '../../sql/overlay-rows.ts';
import type { ApplySession } from '../apply/apply.ts';
import { applyFailure } from '../apply/apply-error.ts';
import { readReferences } from '../catalogue/catalogue.ts';
import { JOURNAL } from '../session/names.ts';
import { KEEPING } from './journal.ts';
import { writeAllWaiting } from './write-waiting.ts';

/**
 * Empties the visible table as if the candidate had deleted each row: those that nobody owns get entries
 * with production's images. Runs in the caller's READ COMMITTED transaction on an applier's session,
 * which the triggers spare. A row that the candidate makes meanwhile goes too, or waits and stays.
 *
 * AUTO_INCREMENT stays where it is: from 1 on, where TRUNCATE would put it, new rows would get the
 * numbers that production's have. Returns how many rows there were. Errors: USAGE if another table
 * refers to it, as of the servers' TRUNCATE; TABLE_UNKNOWN, APPLY_BLOCKED.
 */
export async function truncateOverlay(session: ApplySession, id: TableId): Promise<number> {
  const { client, captured, database } = session;
  const [table] = selectTables([...captured.values()], { table: id });
  if (table === undefined) return 0;
  const references = await readReferences(client, database);
  assertUnreferenced(
    table.label,
    references.flatMap((one) =>
      one.schema === database && one.references === id.name ? [`${id.schema}.${one.table}`] : [],
    ),
  );
  const names = table.columns.map(({ name }) => name).join(', ');
  try {
    // Rows before entries, as everywhere; what is there then is the candidate's, or nobody's.
    await client.rows(`SELECT COUNT(*) AS locked FROM ${table.relation} FOR UPDATE`);
    // What came before it is emptied, too, but for what the candidate is at.
    await writeAllWaiting(session, table);
    await client.run(
      `INSERT INTO ${table.journal} (${names}, ${JOURNAL.present})
        SELECT ${table.columns.map(({ name }) => `t.${name}`).join(', ')}, 1
        FROM ${table.relation} t ${KEEPING}`,
    );
    return (await client.run(`DELETE FROM ${table.relation}`)).rows;
  } catch (error) {
    throw applyFailure(error, table.label);
  }
}
