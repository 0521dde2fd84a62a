import type { ParentChange } from '../../../order/change-batch.ts';
import type { KnownValue } from '../../../change/value.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { Client } from '../session/client.ts';
import { ERRNO, hasErrno } from '../session/errors.ts';
import { quote } from '../session/names.ts';
import { applyFailure } from './apply-error.ts';
import type { ApplyTable } from './apply-table.ts';
import { NO_LABEL, renderLiteral } from './literal.ts';

/** Keys in one statement. */
const KEYS = 500;

/**
 * Lets the server do what foreign keys do to other rows when these go or get other values: by the same
 * change, in a session that checks, so that depth, self-reference and the rules are the server's own.
 * The caller's transaction holds all of before these changes, and nothing of after. Nobody else writes
 * to the tables. Errors: as `applyRows`.
 *
 * A change that the server refuses for a foreign key's sake was possible in production only for a
 * session that did not check, where nothing cascades: so nothing does here, and it is counted. (A session
 * that does not check and meets no such row is not told from one that does: the log's events do not
 * say it.) Returns how many were refused.
 */
export async function carryOut(
  client: Client,
  table: ApplyTable,
  changes: readonly ParentChange[],
): Promise<number> {
  let refused = 0;
  try {
    await client.run('SET SESSION foreign_key_checks = 1');
    refused = await carryAll(changes, (some) => isDone(client, statementOf(table, some)));
  } catch (error) {
    // If not even this can be said, the session is gone, and the first error tells why.
    await client.run(UNCHECKED).catch(() => undefined);
    throw applyFailure(error, table.label);
  }
  await client.run(UNCHECKED);
  return refused;
}

const UNCHECKED = 'SET SESSION foreign_key_checks = 0';

/** False if a foreign key forbids it: then nothing is changed. */
async function isDone(client: Client, sql: string): Promise<boolean> {
  try {
    await client.run(sql);
    return true;
  } catch (error) {
    if (hasErrno(error, ERRNO.rowIsReferenced, ERRNO.noReferencedRow)) return false;
    throw error;
  }
}

/**
 * Carries out changes in order, deletes that follow each other together. `carry` is false if they are
 * refused, and then changed nothing; of several it is asked again for each. Returns how many are refused.
 */
export async function carryAll(
  changes: readonly ParentChange[],
  carry: (some: readonly ParentChange[]) => Promise<boolean>,
): Promise<number> {
  let refused = 0;
  for (const some of together(changes)) {
    if (await carry(some)) continue;
    if (some.length === 1) refused += 1;
    else for (const one of some) if (!(await carry([one]))) refused += 1;
  }
  return refused;
}

function* together(changes: readonly ParentChange[]): Iterable<readonly ParentChange[]> {
  let deletes: ParentChange[] = [];
  for (const change of changes) {
    if (change.kind === 'delete' && deletes.length < KEYS) {
      deletes.push(change);
      continue;
    }
    if (deletes.length > 0) yield deletes;
    deletes = change.kind === 'delete' ? [change] : [];
    if (change.kind === 'update') yield [change];
  }
  if (deletes.length > 0) yield deletes;
}

/** Of one update, or of deletes. */
function statementOf(table: ApplyTable, changes: readonly ParentChange[]): string {
  const where = areKeys(table, changes);
  const set = changes.flatMap((change) => (change.kind === 'update' ? change.columns : []));
  if (set.length === 0) return `DELETE FROM ${table.relation} WHERE ${where}`;
  const values = set.map(([name, value]) => `${quote(name)} = ${literalOf(table, name, value)}`);
  return `UPDATE ${table.relation} SET ${values.join(', ')} WHERE ${where}`;
}

/** That a row, which `alias` stands for, is one of those that are changed. */
export function areKeys(
  table: ApplyTable,
  changes: readonly ParentChange[],
  alias?: string,
): string {
  const column = (name: string): string => (alias === undefined ? name : `${alias}.${name}`);
  const keys = changes.map(({ key }) => {
    const parts = table.key.map(
      ({ name, schema }, i) => `${column(name)} = ${literalOf(table, schema.name, key[i] ?? null)}`,
    );
    return `(${parts.join(' AND ')})`;
  });
  return `(${keys.join(' OR ')})`;
}

/** A value of a column that is referred to. */
export function literalOf(table: ApplyTable, name: string, value: KnownValue): string {
  const column = table.schema.columns.find((one) => one.name === name);
  if (column === undefined) {
    const what = 'a foreign key refers to a column the table lacks';
    throw new UnderstudyError('COLUMN_UNKNOWN', what, { table: table.label, column: name });
  }
  const text = renderLiteral(value, column.type);
  return text === NO_LABEL ? `''` : text;
}
