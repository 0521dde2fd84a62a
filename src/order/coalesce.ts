import type { ChangeEvent } from '../change/record.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { SchemaCatalogue, TableSchema } from '../schema/table-schema.ts';
import { BagRows } from './bag-rows.ts';
import { carriesOn, type CarriedOn } from './cascades.ts';
import type { BatchStep, ParentChange } from './change-batch.ts';
import { NetRows, whereOf } from './net-rows.ts';

/**
 * The net effect of changes, in the order in which they are given (production's).
 *
 * - One change per key and step: insert and delete, delete and insert, and updates melt into one;
 *   columns that were not sent are filled from earlier images as far as those know them.
 * - A key change (delete with `newKey`, create with `oldKey`) is one act: the row goes on under
 *   its new key and `from` says which row of before the step it was, through chains and swaps.
 *   Where only one half is among the changes (consistency `key`) the delete deletes and the create
 *   looks for its old row, which may be gone: ROW_INCOMPLETE when it is written, not a guess.
 * - A truncate ends the step of all tables.
 * - An update that lacks a writable column keeps it: not complete. A create that lacks one
 *   (the connector leaves the column out) is complete: the shadow's default stands.
 * - What a foreign key does to other rows unseen (cascades.ts) is a step of its own, if it is asked for:
 *   after all before it of the tables it concerns, before all that follows.
 * - Rows of a table without key are added and removed whole, one by one (see BagRows).
 * - Keys are compared by their text here. Where the server's equality is coarser (collations,
 *   `citext`, numbers), two changes of one step can meet the same row; the writer resolves it.
 *
 * Errors: KEY_MISSING, TABLE_UNKNOWN, COLUMN_UNKNOWN, with the place of the event.
 */
export function coalesce(
  changes: readonly ChangeEvent[],
  catalogue: SchemaCatalogue,
  { cascades = false }: { readonly cascades?: boolean } = {},
): readonly BatchStep[] {
  const steps: BatchStep[] = [];
  /** Parents that went one after the other, with nothing of the tables they concern in between. */
  const going: { last: Going | null } = { last: null };
  let tables = new Map<string, { readonly table: TableId; readonly rows: NetRows | BagRows }>();
  const flush = (): void => {
    for (const { table, rows } of tables.values()) {
      if (rows instanceof BagRows) steps.push({ kind: 'bag', table, changes: rows.changes() });
      else steps.push({ kind: 'rows', table, changes: rows.changes() });
    }
    tables = new Map();
    going.last = null;
  };
  const carryOn = (schema: TableSchema, of: CarriedOn): void => {
    const name = tableName(schema.id);
    if (going.last?.table === name && of.change.kind === 'delete') {
      going.last.changes.push(of.change);
      return;
    }
    if ([...of.family].some((member) => tables.has(member))) flush();
    const changes = [of.change];
    going.last = of.change.kind === 'delete' ? { family: of.family, table: name, changes } : null;
    steps.push({ kind: 'cascade', table: schema.id, changes });
  };
  for (const change of changes) {
    const name = tableName(change.table);
    const schema = catalogue.get(name);
    if (schema === undefined) {
      throw new UnderstudyError('TABLE_UNKNOWN', 'an event is of a table that the shadow lacks', {
        ...whereOf(change),
      });
    }
    if (change.op === 'truncate') {
      flush();
      steps.push({ kind: 'truncate', table: schema.id });
      continue;
    }
    const carried = cascades ? carriesOn(change, schema, catalogue) : null;
    if (carried !== null) carryOn(schema, carried);
    else if (going.last?.family.has(name) === true) going.last = null;
    let target = tables.get(name);
    if (target === undefined) {
      const rows = schema.key.length === 0 ? new BagRows() : new NetRows(schema);
      target = { table: schema.id, rows };
      tables.set(name, target);
    }
    target.rows.add(change);
  }
  flush();
  return steps;
}

/** The last step of a foreign key's, while more of its table's can go with it. */
interface Going {
  readonly table: string;
  readonly family: ReadonlySet<string>;
  readonly changes: ParentChange[];
}
