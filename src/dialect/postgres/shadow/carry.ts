/** Carries changes of production's schema into a shadow, in the caller's fenced transaction. */
import pg from 'pg';
import { tableName, type TableId } from '../../../change/table-id.ts';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { PlanStatement } from '../../../schema/shadow-plan.ts';
import type { SchemaChange } from '../../../schema/schema-change.ts';
import type { CarriedChange } from '../../evolving.ts';
import { afterChange, assertNotOwn, type Reshapes } from '../../sql/reshaped.ts';
import { ChangedOverlay } from '../overlay/changed-tables.ts';
import { readImageTables } from '../overlay/images.ts';
import {
  describeKept,
  keptId,
  keptView,
  readReshapes,
  savesReshaped,
} from '../overlay/reshapes.ts';
import { readComparisons, type Comparisons } from '../catalogue/key-facts.ts';
import { readApplierRights, readSparedAccount } from '../apply/applier-rights.ts';
import { hasSqlState, SQLSTATE, tellable } from '../session/errors.ts';
import { imageId, relation, viewId } from '../session/names.ts';
import { namedAnew, readIndexes, type Unnamed } from './named-anew.ts';
import { dependentViews } from './dependent-views.ts';
import { rememberColumns } from './former-columns.ts';
import { spareApplier } from './fallback-schema.ts';
import { forgetNoted } from './noted-tables.ts';
import { moveNotes } from './renamed-tables.ts';

/** The server says that it is there already: table, object, schema, function, primary key. */
const THERE = ['42P07', '42710', '42P06', '42723', '42P16'] as const;

/** The server says that something else needs it: of a column's type, and of what is dropped. */
const IN_USE = ['0A000', '2BP01'] as const;

/** What may go in one transaction, in order: a label of an enum can be used after its own only. */
export function turnsOf(changes: readonly CarriedChange[]): readonly (readonly CarriedChange[])[] {
  const { labels = [], others = [] } = Object.groupBy(changes, ({ change }) =>
    change.kind === 'enumValue' ? 'labels' : 'others',
  );
  return [labels, others].filter((turn) => turn.length > 0);
}

/**
 * Runs the statements, and brings what is ours beside the tables along. What is there already is
 * passed over, and so is what a table does without, with its reason in the result. SCHEMA_FAILED
 * names any other statement that the server refuses. Sets `search_path` for the rest of the
 * transaction.
 */
export async function carryChanges(
  client: pg.ClientBase,
  all: readonly CarriedChange[],
): Promise<readonly string[]> {
  await client.query(`SET LOCAL search_path = ''`);
  const reshapes = await readReshapes(client);
  for (const { change } of all) assertNotOwn(change, reshapes);
  const changes = await carryKept(client, all, reshapes);
  const overlay = await ChangedOverlay.open(client, changes);
  const without = new Map<string, string>();
  for (const { change, statements } of changes) {
    for (const statement of statements) {
      const why = await runStatement(client, statement, change);
      // What ties two new tables together is made with the second.
      if (why === null) without.delete(statement.what);
      else without.set(statement.what, why);
    }
  }
  const skipped = [...without].map(([what, why]) => `${what}: ${why}`);
  await carryToImages(client, changes);
  for (const { change } of changes) {
    if (change.kind === 'renameTable') await moveNotes(client, change);
    await rememberColumns(client, change);
    await forgetNoted(client, change);
  }
  const spared = await readSparedAccount(client);
  if (spared !== null && changes.some(({ change }) => change.kind === 'newTable')) {
    const { cure } = await readApplierRights(client);
    skipped.push(...(await spareApplier(client, spared, cure)));
  }
  await overlay?.close(spared);
  return skipped;
}

/**
 * Of tables that the candidate reshaped production's image alone is changed: what the candidate made stays
 * as it is. Returns the changes of others.
 */
async function carryKept(
  client: pg.ClientBase,
  changes: readonly CarriedChange[],
  { tables }: Reshapes,
): Promise<readonly CarriedChange[]> {
  const left: CarriedChange[] = [];
  const now = new Map(tables);
  const views = new Map<string, TableId>();
  for (const carried of changes) {
    const { change, beside } = carried;
    const label = tableName(change.kind === 'renameTable' ? change.from : change.table);
    const reshaped = now.get(label);
    if (reshaped === undefined) {
      left.push(carried);
      continue;
    }
    const after = afterChange(reshaped, change);
    const { id } = reshaped.schema;
    await client.query(`DROP VIEW IF EXISTS ${relation(viewId(id, 'production'))}`);
    views.set(label, id);
    const images = (await readImageTables(client)).has(imageId(id).name) ? [imageId(id)] : [];
    for (const table of [keptId(id), ...images]) {
      for (const statement of beside(relation(table))) await client.query(statement);
    }
    await rememberColumns(client, change);
    await client.query(savesReshaped(after));
    now.set(label, after);
  }
  const comparisons: Comparisons = views.size === 0 ? new Map() : await readComparisons(client);
  for (const label of views.keys()) {
    const reshaped = now.get(label);
    if (reshaped !== undefined) await client.query(keptView(describeKept(reshaped, comparisons)));
  }
  return left;
}

/** Rows that are set aside are kept in tables of the same columns. */
async function carryToImages(
  client: pg.ClientBase,
  changes: readonly CarriedChange[],
): Promise<void> {
  const names = await readImageTables(client);
  for (const { change, beside } of changes) {
    const images = imageId(change.table);
    if (!names.has(images.name)) continue;
    if (change.kind === 'droppedTable') await client.query(`DROP TABLE ${relation(images)}`);
    for (const statement of beside(relation(images))) await client.query(statement);
  }
}

/** As runStatement, but that it makes nothing where the table has the same by another name. */
async function runUnnamed(
  client: pg.ClientBase,
  { table, statement }: Unnamed,
  change: SchemaChange,
): Promise<string | null> {
  const before = await readIndexes(client, table);
  await client.query('SAVEPOINT unnamed');
  const why = await runStatement(client, statement, change);
  const made = (await readIndexes(client, table)).filter(
    ({ id }) => !before.some((one) => one.id === id),
  );
  const isTwice = made.some((one) => before.some(({ what }) => what === one.what));
  if (isTwice) await client.query('ROLLBACK TO SAVEPOINT unnamed');
  await client.query('RELEASE SAVEPOINT unnamed');
  return why;
}

/** Null if what it makes is there now, else why it is not. */
async function runStatement(
  client: pg.ClientBase,
  statement: PlanStatement,
  change: SchemaChange,
): Promise<string | null> {
  await client.query('SAVEPOINT carried');
  try {
    await client.query(statement.sql);
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    // Somebody reads the table: the whole act is tried again.
    const { lockNotAvailable, deadlockDetected, serializationFailure } = SQLSTATE;
    if (hasSqlState(error, lockNotAvailable, deadlockDetected, serializationFailure)) throw error;
    // Another table of that name is not what it makes.
    const isThere = change.kind !== 'renameTable' && hasSqlState(error, ...THERE);
    if (isThere) {
      await client.query('ROLLBACK TO SAVEPOINT carried');
      const unnamed = await namedAnew(client, statement);
      if (unnamed !== null) return runUnnamed(client, unnamed, change);
    }
    if (!isThere && !statement.optional) {
      await client.query('ROLLBACK TO SAVEPOINT carried');
      const views = hasSqlState(error, ...IN_USE) ? await dependentViews(client, change) : [];
      const cure =
        views.length === 0
          ? ''
          : `; read by view ${views.join(', ')}: drop it, let the change be carried, and make it again`;
      throw new UnderstudyError(
        'SCHEMA_FAILED',
        `cannot change ${statement.what} as production did`,
        // Without the server's error as cause: it may quote a value that does not fit.
        { detail: `${tellable(error)}${cure}` },
      );
    }
    await client.query('ROLLBACK TO SAVEPOINT carried');
    if (!isThere) return tellable(error);
  }
  await client.query('RELEASE SAVEPOINT carried');
  return null;
}
