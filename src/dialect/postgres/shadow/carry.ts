/** Carries changes of production's schema into a shadow, in the caller's fenced transaction. */
import pg from 'pg';
import { UnderstudyError } from '../../../errors/understudy-error.ts';
import type { PlanStatement } from '../../../schema/shadow-plan.ts';
import type { SchemaChange } from '../../../schema/schema-change.ts';
import type { CarriedChange } from '../../evolving.ts';
import { ChangedOverlay } from '../overlay/changed-tables.ts';
import { readImageTables } from '../overlay/images.ts';
import { readApplierRights, readSparedAccount } from '../apply/applier-rights.ts';
import { hasSqlState, SQLSTATE, tellable } from '../session/errors.ts';
import { imageId, relation } from '../session/names.ts';
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
  changes: readonly CarriedChange[],
): Promise<readonly string[]> {
  await client.query(`SET LOCAL search_path = ''`);
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

/** A key that is a constraint, by its table and name. */
const KEY = /^ALTER TABLE (.+) ADD CONSTRAINT "((?:[^"]|"")+)" ((?:PRIMARY KEY|UNIQUE)[^]*)$/;

/**
 * A key has an index of its name, which another table's may have here: of one that was renamed, say. Then
 * the server is to name it. Null if it is there under its name. Ends what failed.
 */
async function namedAnew(
  client: pg.ClientBase,
  statement: PlanStatement,
): Promise<PlanStatement | null> {
  const [, table, name, key] = KEY.exec(statement.sql) ?? [];
  if (table === undefined || name === undefined || key === undefined) return null;
  await client.query('ROLLBACK TO SAVEPOINT carried');
  const { rows } = await client.query<{ is: boolean }>(
    `SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint
      WHERE conrelid = pg_catalog.to_regclass($1) AND (contype = 'p' AND $3 OR conname = $2)) AS is`,
    [table, name.replaceAll('""', '"'), key.startsWith('PRIMARY')],
  );
  return rows[0]?.is === true ? null : { ...statement, sql: `ALTER TABLE ${table} ADD ${key}` };
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
    const unnamed = isThere ? await namedAnew(client, statement) : null;
    if (unnamed !== null) return runStatement(client, unnamed, change);
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
