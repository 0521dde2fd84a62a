import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { NetChange } from '../../../order/change-batch.ts';
import type { Client } from '../session/client.ts';
import { ERRNO, hasErrno } from '../session/errors.ts';
import { applyFailure } from './apply-error.ts';
import type { ApplyColumn, ApplyTable } from './apply-table.ts';
import { describeKey, stageChanges, type Masks, type Staged } from './stage.ts';

const SAVEPOINT = 'understudy_rows';

/** Names of a key column on the staging side of a join: the row's key, or its key before. */
type KeySide = 'staged' | 'from';

/**
 * Writes the net changes of one table, in the caller's READ COMMITTED transaction; returns how
 * many rows. The staging table exists. Nobody else writes to the table.
 *
 * Keys are compared by the server alone, with the table's own collations: in the staging table,
 * where of two spellings of one key the later one stays, and in the joins. A row that is
 * overwritten gets its key's spelling too.
 *
 * Rows are written as they are: those to go are deleted, those that are there overwritten, the
 * others inserted. Only where a second unique key stands in the way, as when two rows swap their
 * values, all rows of the step are deleted before they are inserted again. Statements that settle
 * a conflict by themselves (REPLACE, ON DUPLICATE KEY UPDATE) are never used on the table: they
 * act on whatever unique key they meet first, and so on rows that are none of the batch's.
 */
export async function applyRows(
  client: Client,
  table: ApplyTable,
  changes: readonly NetChange[],
  packetBytes: number,
): Promise<number> {
  await client.run(`DELETE FROM ${table.stage}`);
  const staged = await stageChanges(client, table, changes, packetBytes);
  try {
    if (staged.masks.size > 0) await complete(client, table, changes, staged);
    await write(client, table, staged);
    return changes.length;
  } catch (error) {
    throw applyFailure(error, table.label);
  }
}

/**
 * Completes images that lack columns from the row as it was before the step: by the key it had
 * then, or where no row has that, by its own, which it has if the batch was applied before.
 */
async function complete(
  client: Client,
  table: ApplyTable,
  changes: readonly NetChange[],
  { masks }: Staged,
): Promise<void> {
  for (const side of ['from', 'staged'] as const) {
    for (const [number, mask] of masks) {
      const set = table.columns
        .filter((_, i) => mask[i] === false)
        .map((column) => `s.${column.staged} = t.${column.name}`);
      await client.run(
        `UPDATE ${join(table, side)} SET ${set.join(', ')}, s.op = 'f'
          WHERE s.op IN ('p', 'q') AND s.mask = ${String(number)}`,
      );
    }
  }
  await assertComplete(client, table, changes);
}

/** ROW_INCOMPLETE if an image still lacks columns that its row must have. */
export async function assertComplete(
  client: Client,
  table: ApplyTable,
  changes: readonly NetChange[],
): Promise<void> {
  const [lost] = await client.rows<{ seq: number }>(
    `SELECT seq FROM ${table.stage} WHERE op = 'p' ORDER BY seq LIMIT 1`,
  );
  if (lost === undefined) return;
  const key = changes[lost.seq]?.key;
  throw new UnderstudyError('ROW_INCOMPLETE', 'a change lacks columns of a row that is not there', {
    table: table.label,
    ...(key !== undefined && { key: describeKey(table, key) }),
  });
}

async function write(client: Client, table: ApplyTable, { masks, counts }: Staged): Promise<void> {
  if (counts.d > 0) await client.run(`DELETE t FROM ${join(table, 'staged')} WHERE s.op = 'd'`);
  if (counts.f + counts.p + counts.q === 0) return;
  await client.run(`SAVEPOINT ${SAVEPOINT}`);
  try {
    await client.run(
      `UPDATE ${join(table, 'staged')}
        SET ${table.columns.map((c) => `t.${c.name} = s.${c.staged}`).join(', ')}
        WHERE s.op = 'f'`,
    );
    await insert(client, table, masks);
  } catch (error) {
    if (!hasErrno(error, ERRNO.duplicateEntry)) throw error;
    await client.run(`ROLLBACK TO SAVEPOINT ${SAVEPOINT}`);
    await client.run(`DELETE t FROM ${join(table, 'staged')}`);
    await insert(client, table, masks);
  }
  await client.run(`RELEASE SAVEPOINT ${SAVEPOINT}`);
}

/** Inserts the staged rows whose keys the table lacks. */
async function insert(client: Client, table: ApplyTable, masks: Masks): Promise<void> {
  await client.run(insertStaged(table, table.columns, `s.op = 'f'`));
  // Columns that production's connector leaves out get their defaults.
  for (const [number, mask] of await lackingMasks(client, table, masks)) {
    const known = table.columns.filter((_, i) => mask[i] === true);
    await client.run(insertStaged(table, known, `s.op = 'q' AND s.mask = ${String(number)}`));
  }
}

/**
 * The masks of images that lack columns still. Without such an image no statement leaves a column out:
 * MariaDB refuses one without default, even if the statement inserts nothing.
 */
export async function lackingMasks(
  client: Client,
  table: ApplyTable,
  masks: Masks,
): Promise<Masks> {
  if (masks.size === 0) return masks;
  const left = await client.rows<{ mask: number }>(
    `SELECT DISTINCT mask FROM ${table.stage} WHERE op = 'q'`,
  );
  const numbers = new Set(left.map(({ mask }) => mask));
  return new Map([...masks].filter(([number]) => numbers.has(number)));
}

function insertStaged(table: ApplyTable, columns: readonly ApplyColumn[], which: string): string {
  const [anyKey] = table.key;
  if (anyKey === undefined) throw new UnderstudyError('INTERNAL', `${table.label} has no key`);
  return `INSERT INTO ${table.relation} (${columns.map((c) => c.name).join(', ')})
    SELECT ${columns.map((c) => `s.${c.staged}`).join(', ')}
    FROM ${table.stage} s LEFT JOIN ${table.relation} t ${table.keyHint}
      ON ${keysEqual(table, 'staged')}
    WHERE ${which} AND t.${anyKey.name} IS NULL`;
}

/** The staged rows first, and for each the table's row by its key. */
function join(table: ApplyTable, side: KeySide): string {
  return `${table.stage} s STRAIGHT_JOIN ${table.relation} t ${table.keyHint}
    ON ${keysEqual(table, side)}`;
}

function keysEqual(table: ApplyTable, side: KeySide): string {
  return table.key.map((column) => `t.${column.name} = s.${column[side]}`).join(' AND ');
}
