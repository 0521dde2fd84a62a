/**
 * Carries changes of production's schema into a shadow. These servers commit at every statement that
 * changes a table, so that each change is a step of its own: what is there already is passed over, and a
 * crash leaves changes that are done and changes that are not.
 *
 * The fence is held by another session meanwhile. Whoever takes it over ends this one first, which shows
 * its presence, and waits for the other's lock.
 */
import { tableName } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { PlanStatement } from '../../../schema/shadow-plan.ts';
import type { SchemaChange } from '../../../schema/schema-change.ts';
import type { SchemaCatalogue } from '../../../schema/table-schema.ts';
import { sameType } from '../../../schema/type-width.ts';
import { unreachable } from '../../../util/assert.ts';
import type { Fence } from '../../dialect.ts';
import type { CarriedChange } from '../../evolving.ts';
import { afterChange, assertNotOwn, type Reshaped } from '../../sql/reshaped.ts';
import { stagedType } from '../apply/apply-table.ts';
import { readTables, type DatabaseTables } from '../catalogue/catalogue.ts';
import type { ServerAddress } from '../session/address.ts';
import { makeClosed, withoutCapture } from '../overlay/closed.ts';
import {
  describeCaptured,
  hasEntries,
  lacksColumn,
  noteUncaptured,
  readCapturedNames,
} from '../overlay/journal.ts';
import { keptName, keptRelation, readReshapes, saveReshaped } from '../overlay/reshapes.ts';
import { Client } from '../session/client.ts';
import { ERRNO, hasErrno, isConnectionLoss, serverError, tellable } from '../session/errors.ts';
import { blocked, withLockWait } from '../session/metadata-locks.ts';
import { companionName, quote } from '../session/names.ts';
import { define } from './clone-tables.ts';
import { claimPresence } from './fence.ts';
import { rememberColumns } from './former-columns.ts';
import { noteTable } from './noted-tables.ts';
import { announceRename, moveNotes } from './renamed-tables.ts';
import { dropUnfit } from './triggers-aside.ts';

/** Of statements that the servers wrote, with backslashes that escape; what does not fit is refused. */
const DEFINING =
  'STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO';
/** How long such a statement waits for those that read the table. */
const LOCK_WAIT_S = 5;

export interface CarryPlace {
  /** A candidate may write there. */
  readonly isRollout: boolean;
  readonly address: ServerAddress;
  readonly database: string;
  /** Name of the followed database in production. */
  readonly source: string;
}

/**
 * While the caller holds the fence. Returns what could not be made of what a table does without. Errors:
 * SCHEMA_FAILED names the statement that the server refuses; else the driver's.
 */
export async function carryChanges(
  place: CarryPlace,
  fence: Fence,
  changes: readonly CarriedChange[],
): Promise<readonly string[]> {
  const { address, database, isRollout } = place;
  const client = await Client.connect(address, database);
  try {
    // Rows that foreign keys lead to may come later.
    await client.run('SET SESSION foreign_key_checks = 0');
    await claimPresence(client, database, fence, 'copy0');
    const carry = async (): Promise<readonly string[]> => {
      const skipped: string[] = [];
      for (const carried of changes) skipped.push(...(await carryOne(client, place, carried)));
      if (isRollout) skipped.push(...(await dropUnfit(client, place)));
      return skipped;
    };
    if (!isRollout) return await carry();
    await assertNoneIsCaptured(client, database, changes);
    const changed = changes.flatMap(({ change }) =>
      change.kind === 'renameTable' ? [change.from.name, change.table.name] : [change.table.name],
    );
    return await withoutCapture(client, place, changed, carry);
  } finally {
    await client.end();
  }
}

/** What could not be made of it. */
async function carryOne(
  client: Client,
  { database, source, isRollout }: CarryPlace,
  carried: CarriedChange,
): Promise<readonly string[]> {
  const reshapes = await readReshapes(client, database, source);
  assertNotOwn(carried.change, reshapes);
  const { change } = carried;
  const reshaped = reshapes.tables.get(
    tableName(change.kind === 'renameTable' ? change.from : change.table),
  );
  if (reshaped !== undefined) {
    await carryKept(client, { database, source }, reshaped, carried);
    return [];
  }
  const tables = await readTables(client, database, source);
  await alongWithJournal(client, database, tables, carried);
  await rememberColumns(client, database, carried.change);
  const { kind, table } = carried.change;
  if (kind === 'renameTable') {
    await renameTable(client, database, carried, tables.catalogue);
    return [];
  }
  const skipped: string[] = [];
  const run = async (statements: readonly PlanStatement[]): Promise<void> => {
    for (const statement of statements) {
      const why = await runStatement(client, database, statement);
      if (why !== null) skipped.push(`${statement.what}: ${why}`);
    }
  };
  const due = dueStatements(carried, tables.catalogue);
  if (kind === 'newTable' && isRollout && due.length > 0) {
    await makeClosed(client, database, table.name, (name) =>
      run(
        due.map((one) => ({ ...one, sql: one.sql.replace(MAKES, `CREATE TABLE ${quote(name)}`) })),
      ),
    );
  } else await run(due);
  if (kind === 'droppedTable') await noteUncaptured(client, database, table.name);
  if (kind === 'newTable' || kind === 'droppedTable') {
    await noteTable(client, database, table, null);
  }
  return skipped;
}

/** The candidate's table stays as the candidate made it: production's image alone is changed. */
async function carryKept(
  client: Client,
  { database, source }: Pick<CarryPlace, 'database' | 'source'>,
  reshaped: Reshaped,
  { change, beside }: CarriedChange,
): Promise<void> {
  const after = afterChange(reshaped, change);
  const { name } = reshaped.schema.id;
  const kept = keptRelation(database, name);
  const ours = await readTables(client, companionName(database), source);
  const label = tableName({ schema: source, name: keptName(name) });
  const there = new Set(ours.catalogue.get(label)?.columns.map((column) => column.name));
  const alter = (what: string): Promise<void> => define(client, `ALTER TABLE ${kept} ${what}`);
  if (change.kind === 'add' && !there.has(change.column.name)) {
    for (const statement of beside(kept)) await define(client, statement, DEFINING);
  } else if (change.kind === 'drop' && there.has(change.column.name)) {
    await alter(`DROP COLUMN ${quote(change.column.name)}`);
  } else if (change.kind === 'rename' && there.has(change.from.name)) {
    await alter(`RENAME COLUMN ${quote(change.from.name)} TO ${quote(change.to.name)}`);
  } else if ('to' in change && typeof change.to === 'object' && 'type' in change.to) {
    const type = stagedType(change.to, ours.textForms.get(label)?.get(change.to.name));
    const isKey = reshaped.schema.key.includes(change.to.name);
    await alter(`MODIFY COLUMN ${quote(change.to.name)} ${type} ${isKey ? 'NOT NULL' : 'NULL'}`);
  }
  await rememberColumns(client, database, change);
  await saveReshaped(client, database, after);
}

/** As the servers print it. */
const MAKES = /^CREATE TABLE `(?:[^`]|``)+`/;

/**
 * What the candidate wrote is kept by the key that rows had, and of tables that are there: SCHEMA_FAILED. A
 * new column comes to the images first; all else is brought along when writes are captured again.
 */
async function alongWithJournal(
  client: Client,
  database: string,
  tables: DatabaseTables,
  { change, beside }: CarriedChange,
): Promise<void> {
  const label = tableName(change.table);
  const captured = await readCapturedNames(client, database);
  if (!captured.has(change.table.name) || !tables.catalogue.has(label)) return;
  const table = describeCaptured(tables, database, change.table);
  // Production's rows have in it what the statement gives them.
  if (change.kind === 'add' && (await lacksColumn(client, database, table, change.column.name))) {
    for (const statement of beside(table.journal)) await define(client, statement, DEFINING);
  }
  if (change.kind !== 'key' && change.kind !== 'droppedTable') return;
  if (!(await hasEntries(client, table))) return;
  throw new UnderstudyError(
    'SCHEMA_FAILED',
    `cannot change table ${label} as production did: the rollout has what was written into it`,
    { table: label, detail: 'reset the table in the rollout, or delete the rollout' },
  );
}

/** What the candidate wrote is kept by the names that tables had when the rollout was made. */
async function assertNoneIsCaptured(
  client: Client,
  database: string,
  changes: readonly CarriedChange[],
): Promise<void> {
  const captured = await readCapturedNames(client, database);
  for (const { change } of changes) {
    if (change.kind !== 'renameTable' || !captured.has(change.from.name)) continue;
    const table = tableName(change.from);
    throw new UnderstudyError(
      'SCHEMA_FAILED',
      `cannot rename table ${table} as production did: the rollout has what was written into it`,
      { table, detail: 'delete the rollout, and create it anew once the trunk has the new name' },
    );
  }
}

/** Its name and what is noted of it are not changed together: which was done, a note tells. */
async function renameTable(
  client: Client,
  database: string,
  { change, statements }: CarriedChange,
  catalogue: SchemaCatalogue,
): Promise<void> {
  if (change.kind !== 'renameTable') return;
  await announceRename(client, database, change);
  // What a crash cut off is ended before (finishRenames).
  if (isDue(change, catalogue)) {
    for (const statement of statements) await runStatement(client, database, statement);
  }
  await moveNotes(client, database, change);
}

/** What is optional, or comes after what does it, may be run again: of an added column it has to be. */
function dueStatements(
  { change, statements, after }: CarriedChange,
  catalogue: SchemaCatalogue,
): readonly PlanStatement[] {
  const act = statements.find(({ optional }) => !optional);
  if (!isDue(change, catalogue)) {
    return change.kind === 'add' ? statements.filter((one) => one !== act) : [];
  }
  if (act === undefined || after === undefined) return statements;
  const placed = { ...act, sql: `${act.sql}${placeAfter(after, change, catalogue)}` };
  return statements.map((one) => (one === act ? placed : one));
}

/** After the nearest column before it in production that the shadow has. */
function placeAfter(
  before: readonly string[],
  { table }: SchemaChange,
  catalogue: SchemaCatalogue,
): string {
  const columns = catalogue.get(tableName(table))?.columns ?? [];
  const here = new Set(columns.map(({ name }) => name));
  const last = before.findLast((name) => here.has(name));
  return last === undefined ? ' FIRST' : ` AFTER ${quote(last)}`;
}

/** Is it still to be done? */
function isDue(change: SchemaChange, catalogue: SchemaCatalogue): boolean {
  const table = catalogue.get(tableName(change.table));
  const column = (name: string) => table?.columns.find((one) => one.name === name);
  switch (change.kind) {
    case 'add':
      return column(change.column.name) === undefined;
    case 'drop':
      return column(change.column.name) !== undefined;
    case 'rename':
      return column(change.from.name) !== undefined && column(change.to.name) === undefined;
    case 'widen':
    case 'retype':
    case 'enumValue': {
      const now = column(change.to.name);
      if (now === undefined) return true;
      return !sameType(now.type, change.to.type) || (change.to.nullable && !now.nullable);
    }
    case 'key':
      return table?.key.join('\0') !== change.to.join('\0');
    case 'newTable':
      return table === undefined;
    case 'droppedTable':
      return table !== undefined;
    case 'renameTable':
      return catalogue.has(tableName(change.from));
    default:
      return unreachable(change);
  }
}

/** Null if what it makes is there now, else why it is not. */
async function runStatement(
  client: Client,
  database: string,
  { sql, what, optional }: PlanStatement,
): Promise<string | null> {
  try {
    await withLockWait(client, LOCK_WAIT_S, () => define(client, sql, DEFINING));
    return null;
  } catch (error) {
    if (serverError(error) === null || isConnectionLoss(error)) throw error;
    // Somebody reads the table: the whole act is tried again.
    if (hasErrno(error, ERRNO.lockWaitTimeout, ERRNO.deadlock)) {
      throw await blocked(client, database, error);
    }
    if (optional) return hasErrno(error, ERRNO.duplicateKeyName) ? null : tellable(error);
    throw new UnderstudyError(
      'SCHEMA_FAILED',
      `cannot change ${what} as production did`,
      // Without the server's error as cause: it may quote a value that does not fit.
      { detail: tellable(error) },
    );
  }
}
