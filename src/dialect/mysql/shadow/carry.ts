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
import { readTables, type DatabaseTables } from '../catalogue/catalogue.ts';
import type { ServerAddress } from '../session/address.ts';
import { withoutCapture } from '../overlay/install.ts';
import {
  addToJournal,
  describeCaptured,
  hasEntries,
  readCapturedNames,
} from '../overlay/journal.ts';
import { Client } from '../session/client.ts';
import { ERRNO, hasErrno, isConnectionLoss, serverError, tellable } from '../session/errors.ts';
import { quote } from '../session/names.ts';
import { claimPresence } from './fence.ts';
import { rememberColumns } from './former-columns.ts';
import { noteTable } from './noted-tables.ts';
import { announceRename, moveNotes } from './renamed-tables.ts';

/**
 * As definitions are written by the servers, with backslashes that escape; what does not fit is refused.
 * Foreign keys are not looked at: rows that they lead to may come later.
 */
const SETTINGS = `SET SESSION foreign_key_checks = 0, lock_wait_timeout = 5,
  sql_mode = 'STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO'`;

export interface CarryPlace {
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
  { address, database, source }: CarryPlace,
  fence: Fence,
  changes: readonly CarriedChange[],
): Promise<readonly string[]> {
  const client = await Client.connect(address, database);
  try {
    await client.run(SETTINGS);
    await claimPresence(client, database, fence, 'copy0');
    await assertNoneIsCaptured(client, database, changes);
    return await withoutCapture(client, { database, source }, async () => {
      const skipped: string[] = [];
      for (const carried of changes) {
        const tables = await readTables(client, database, source);
        const { catalogue } = tables;
        await alongWithJournal(client, database, tables, carried);
        await rememberColumns(client, database, carried.change);
        if (carried.change.kind === 'renameTable') {
          await renameTable(client, database, carried, catalogue);
          continue;
        }
        for (const statement of dueStatements(carried, catalogue)) {
          const why = await runStatement(client, statement);
          if (why !== null) skipped.push(`${statement.what}: ${why}`);
        }
        const { kind, table } = carried.change;
        if (kind === 'newTable' || kind === 'droppedTable') {
          await noteTable(client, database, table, null);
        }
      }
      return skipped;
    });
  } finally {
    await client.end();
  }
}

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
  if (change.kind === 'add') {
    await addToJournal(client, database, table, {
      column: change.column.name,
      statements: beside(table.journal),
    });
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
    for (const statement of statements) await runStatement(client, statement);
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
  { sql, what, optional }: PlanStatement,
): Promise<string | null> {
  try {
    await client.run(sql);
    return null;
  } catch (error) {
    if (serverError(error) === null || isConnectionLoss(error)) throw error;
    // Somebody reads the table: the whole act is tried again.
    if (hasErrno(error, ERRNO.lockWaitTimeout, ERRNO.deadlock)) throw error;
    if (optional) return hasErrno(error, ERRNO.duplicateKeyName) ? null : tellable(error);
    throw new UnderstudyError(
      'SCHEMA_FAILED',
      `cannot change ${what} as production did`,
      // Without the server's error as cause: it may quote a value that does not fit.
      { detail: tellable(error) },
    );
  }
}
