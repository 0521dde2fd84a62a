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
 * The caller's transaction holds all of before these changes, and nothing of after. Errors: as
 * `applyRows`.
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
    for (const { all, each } of statementsOf(table, changes)) {
      if (await isDone(client, all)) continue;
      if (each.length === 0) refused += 1;
      for (const sql of each) if (!(await isDone(client, sql))) refused += 1;
    }
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

interface Statement {
  readonly all: string;
  /** The same, one by one. */
  readonly each: readonly string[];
}

/** In order; deletes that follow each other together. */
function* statementsOf(table: ApplyTable, changes: readonly ParentChange[]): Iterable<Statement> {
  let keys: string[] = [];
  const remove = (of: readonly string[]): string =>
    `DELETE FROM ${table.relation} WHERE ${of.join(' OR ')}`;
  const deletes = (): Statement => {
    const each = keys.length === 1 ? [] : keys.map((key) => remove([key]));
    const statement = { all: remove(keys), each };
    keys = [];
    return statement;
  };
  for (const change of changes) {
    if (change.kind === 'delete') {
      keys.push(isKey(table, change.key));
      if (keys.length === KEYS) yield deletes();
      continue;
    }
    if (keys.length > 0) yield deletes();
    const set = change.columns.map(
      ([name, value]) => `${quote(name)} = ${literalOf(table, name, value)}`,
    );
    const where = isKey(table, change.key);
    yield { all: `UPDATE ${table.relation} SET ${set.join(', ')} WHERE ${where}`, each: [] };
  }
  if (keys.length > 0) yield deletes();
}

function isKey(table: ApplyTable, key: readonly KnownValue[]): string {
  const parts = table.key.map(
    (column, i) => `${column.name} = ${literalOf(table, column.schema.name, key[i] ?? null)}`,
  );
  return `(${parts.join(' AND ')})`;
}

function literalOf(table: ApplyTable, name: string, value: KnownValue): string {
  const column = table.schema.columns.find((one) => one.name === name);
  if (column === undefined) {
    const what = 'a foreign key refers to a column the table lacks';
    throw new UnderstudyError('COLUMN_UNKNOWN', what, { table: table.label, column: name });
  }
  const text = renderLiteral(value, column.type);
  return text === NO_LABEL ? `''` : text;
}
