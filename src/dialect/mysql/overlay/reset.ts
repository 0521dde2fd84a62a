import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { RowSelection } from '../../dialect.ts';
import { selectTables } from '../../sql/overlay-rows.ts';
import { ensureStage, type ApplySession } from '../apply/apply.ts';
import { lockParents, type OverlaidTable } from '../apply/apply-captured.ts';
import { applyFailure, duplicatedKey } from '../apply/apply-error.ts';
import { besideEntry, isEmpty } from '../apply/staged-rows.ts';
import { JOURNAL } from '../session/names.ts';
import { insertOutcomes } from './outcomes.ts';
import { selectionCondition } from './read.ts';
import { readDefaults } from './reshapes.ts';

/**
 * Puts the selected rows back to production's and gives them up. Runs in the caller's READ COMMITTED
 * transaction on an applier's session. Returns how many were owned. Its cost goes by these.
 *
 * Rows are locked before entries, as the capture does. An entry that is locked keeps the candidate from
 * making a row that is not there; what it made before is waited for, and goes. A row that the candidate
 * takes meanwhile stays its own.
 * Foreign keys are not checked: a part of the tables may leave rows that refer to nothing.
 * Errors: USAGE, TABLE_UNKNOWN, APPLY_BLOCKED (also if a row that is not selected holds a unique
 * value of one that is).
 */
export async function resetOverlay(session: ApplySession, only: RowSelection): Promise<number> {
  let owned = 0;
  for (const table of selectTables([...session.captured.values()], only)) {
    const condition = selectionCondition(table, only);
    if (condition === null) continue;
    await ensureStage(session, table);
    try {
      owned += await resetTable(session, table, condition);
    } catch (error) {
      throw resetFailure(error, table);
    }
  }
  return owned;
}

async function resetTable(
  { client, database, reshaped }: ApplySession,
  table: OverlaidTable,
  condition: string,
): Promise<number> {
  const { columns, stage, relation, keyHint, journal } = table;
  const names = columns.map(({ name }) => name);
  const staged = columns.map((column) => column.staged);
  await client.run(`DELETE FROM ${stage}`);
  // Who applies alone moves the images, and alone ends entries: what is read of them holds.
  const { rows: owned } = await client.run(
    `INSERT INTO ${stage} (${staged.join(', ')}, seq, op, mask)
      SELECT ${names.map((name) => `j.${name}`).join(', ')}, ROW_NUMBER() OVER (),
        IF(j.${JOURNAL.present} = 1, 'f', 'd'), 0
      FROM ${journal} j WHERE ${condition}`,
  );
  if (owned === 0) return 0;
  await lockParents(client, table);
  const of = (alias: string): string =>
    table.key.map((key) => `${alias}.${key.name} = s.${key.staged}`).join(' AND ');
  const rows = `${stage} s STRAIGHT_JOIN ${relation} t ${keyHint} ON ${of('t')}`;
  const entries = `${stage} s STRAIGHT_JOIN ${journal} j FORCE INDEX FOR JOIN (PRIMARY) ON ${of('j')}`;
  await client.rows(`SELECT COUNT(*) AS locked FROM ${rows} FOR UPDATE`);
  await client.rows(`SELECT COUNT(*) AS locked FROM ${entries} FOR UPDATE`);
  const told = `(j.${JOURNAL.moved} = 1 OR NOT ${isEmpty(table)})`;
  const undone = `${entries} ${besideEntry(table)} WHERE ${told}`;
  await client.run(insertOutcomes(table, { outcome: 'reset', source: null }, undone));
  // All out before any comes in: the rows may have swapped unique values among each other.
  await client.run(`DELETE t FROM ${rows}`);
  const shape = reshaped.get(table.label);
  const defaults =
    shape === undefined
      ? new Map<string, string>()
      : await readDefaults(client, database, table, shape);
  const values = columns.map(({ staged: name, schema }) => {
    const otherwise = defaults.get(schema.name);
    return otherwise === undefined ? `s.${name}` : `COALESCE(s.${name}, ${otherwise})`;
  });
  await client.run(
    `INSERT INTO ${relation} (${names.join(', ')})
      SELECT ${values.join(', ')} FROM ${stage} s WHERE s.op = 'f'`,
  );
  // Those that came in the meantime, see apply-captured.ts.
  await lockParents(client, table);
  await client.run(`DELETE j FROM ${entries}`);
  return owned;
}

function resetFailure(error: unknown, table: OverlaidTable): unknown {
  const clash = duplicatedKey(error);
  if (clash === null) return applyFailure(error, table.label);
  const what =
    clash === table.keyIndex
      ? 'the candidate makes rows that are to be reset'
      : 'a row of the candidate that is not reset holds a unique value of one that is';
  return new UnderstudyError('APPLY_BLOCKED', what, {
    table: table.label,
    detail: `constraint ${clash}`,
  });
}
