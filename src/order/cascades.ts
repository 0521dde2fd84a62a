/**
 * Rows that production's server deleted or changed by itself, because a foreign key says so, and did
 * not write to its log: MariaDB's, and those of a MySQL whose storage engine carries them out. The log
 * has the parent's change only, so the shadow's server is to carry them out at that change's place
 * between the others: what was written before has to be there, and what comes after must not be.
 */
import type { ChangeEvent } from '../change/record.ts';
import { tableName } from '../change/table-id.ts';
import { imageValue, type KnownValue, type RowImage } from '../change/value.ts';
import type { SchemaCatalogue, TableSchema } from '../schema/table-schema.ts';
import type { ParentChange } from './change-batch.ts';
import { keyIn } from './net-rows.ts';

/** What happens with rows of others when one of a table goes, or gets other values. */
interface Parent {
  readonly onDelete: boolean;
  /** Columns whose change changes rows of others. */
  readonly onUpdate: ReadonlySet<string>;
  /** Tables (by `tableName()`) whose rows it may concern, itself among them. */
  readonly family: ReadonlySet<string>;
}

const known = new WeakMap<SchemaCatalogue, ReadonlyMap<string, Parent>>();

/** The tables of which a change carries on, by `tableName()`. */
function parentsIn(catalogue: SchemaCatalogue): ReadonlyMap<string, Parent> {
  const found = known.get(catalogue);
  if (found !== undefined) return found;
  const children = new Map<string, Set<string>>();
  const rules = new Map<string, { onDelete: boolean; onUpdate: Set<string> }>();
  for (const child of catalogue.values()) {
    for (const { references, referencedColumns, unlogged } of child.foreignKeys) {
      if (unlogged === undefined) continue;
      const name = tableName(references);
      const rule = rules.get(name) ?? { onDelete: false, onUpdate: new Set() };
      rules.set(name, rule);
      rule.onDelete ||= unlogged.onDelete;
      if (unlogged.onUpdate) for (const column of referencedColumns) rule.onUpdate.add(column);
      children.set(name, (children.get(name) ?? new Set()).add(tableName(child.id)));
    }
  }
  const parents = new Map(
    [...rules].map(([name, rule]) => [name, { ...rule, family: familyOf(name, children) }]),
  );
  known.set(catalogue, parents);
  return parents;
}

function familyOf(name: string, children: ReadonlyMap<string, ReadonlySet<string>>): Set<string> {
  const family = new Set([name]);
  // A set that grows while it is walked is walked to its end.
  for (const member of family) for (const child of children.get(member) ?? []) family.add(child);
  return family;
}

/** A change that carries on, and the tables that it may concern. */
export interface CarriedOn {
  readonly change: ParentChange;
  readonly family: ReadonlySet<string>;
}

/** Null if this one does not carry on. */
export function carriesOn(
  event: ChangeEvent,
  table: TableSchema,
  catalogue: SchemaCatalogue,
): CarriedOn | null {
  if (event.op !== 'delete' && event.op !== 'update') return null;
  // Of one that has no transaction it is not known what came before it.
  if (event.transaction === null || table.key.length === 0) return null;
  const parent = parentsIn(catalogue).get(tableName(table.id));
  if (parent === undefined) return null;
  const { family, onDelete, onUpdate } = parent;
  const isGone = event.op === 'delete' && event.newKey === null;
  if (isGone) {
    if (!onDelete) return null;
    return {
      change: { kind: 'delete', key: keyIn(table, event, event.key, event.before) },
      family,
    };
  }
  // A delete that says where its row went tells the new key only, which is all of it that is told.
  const after = event.op === 'update' ? event.after : event.newKey;
  const before = event.before ?? event.oldKey ?? event.key;
  const columns = changedOf(onUpdate, before, after);
  if (columns.length === 0) return null;
  const old = event.op === 'update' ? (event.oldKey ?? event.before ?? event.key) : event.key;
  return {
    change: { kind: 'update', key: keyIn(table, event, old, event.before), columns },
    family,
  };
}

function changedOf(
  names: ReadonlySet<string>,
  before: RowImage | null,
  after: RowImage | null,
): readonly (readonly [string, KnownValue])[] {
  const changed: (readonly [string, KnownValue])[] = [];
  for (const name of names) {
    if (before === null || after === null) continue;
    if (!before.shape.index.has(name) || !after.shape.index.has(name)) continue;
    const [old, value] = [imageValue(before, name), imageValue(after, name)];
    if (typeof old === 'symbol' || typeof value === 'symbol' || isSame(old, value)) continue;
    changed.push([name, value]);
  }
  return changed;
}

function isSame(a: KnownValue, b: KnownValue): boolean {
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b) === 0;
  return a === b;
}
