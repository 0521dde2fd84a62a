/**
 * Rows that production's server deleted or changed by itself, because a foreign key says so, and did
 * not write to its log: MariaDB's, and those of a MySQL whose storage engine carries them out. The log
 * has the parent's change only, so the shadow's server is to carry them out at that change's place
 * between the others: what was written before has to be there, and what comes after must not be.
 */
import type { ChangeEvent } from '../change/record.ts';
import { tableName } from '../change/table-id.ts';
import { imageValue, UNAVAILABLE, type KnownValue, type RowImage } from '../change/value.ts';
import type { SchemaCatalogue, TableSchema } from '../schema/table-schema.ts';
import type { ParentChange } from './change-batch.ts';
import { unreachable } from '../util/assert.ts';
import { keyIn } from './net-rows.ts';

/** What happens with rows of others when one of a table goes, or gets other values. */
interface Parent {
  /** The table, and those whose rows go or change with its own. */
  readonly members: ReadonlySet<string>;
  readonly onDelete: boolean;
  /** Columns whose change changes rows of others. */
  readonly onUpdate: ReadonlySet<string>;
  /**
   * Tables (by `tableName()`) whose rows it may concern, itself among them; and those that refer to one
   * of these, or that one refers to, for their rows can forbid it.
   */
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
    [...rules].map(([name, rule]): [string, Parent] => {
      const members = membersOf(name, children);
      return [name, { ...rule, members, family: withNeighbours(members, catalogue) }];
    }),
  );
  known.set(catalogue, parents);
  return parents;
}

function membersOf(
  name: string,
  children: ReadonlyMap<string, ReadonlySet<string>>,
): ReadonlySet<string> {
  const family = new Set([name]);
  // A set that grows while it is walked is walked to its end.
  for (const member of family) for (const child of children.get(member) ?? []) family.add(child);
  return family;
}

function withNeighbours(family: ReadonlySet<string>, catalogue: SchemaCatalogue): Set<string> {
  const all = new Set(family);
  for (const { id, foreignKeys } of catalogue.values()) {
    for (const { references } of foreignKeys) {
      const [child, parent] = [tableName(id), tableName(references)];
      if (family.has(child)) all.add(parent);
      if (family.has(parent)) all.add(child);
    }
  }
  return all;
}

/** Is the table one whose rows go or change with others', or take others along? */
export function isTied(table: string, catalogue: SchemaCatalogue): boolean {
  return [...parentsIn(catalogue).values()].some(({ members }) => members.has(table));
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
  // Of one that has no transaction it is not known what came before it.
  if (event.transaction === null || table.key.length === 0) return null;
  const parent = parentsIn(catalogue).get(tableName(table.id));
  if (parent === undefined) return null;
  const { family, onDelete, onUpdate } = parent;
  const updated = (
    old: RowImage | null,
    columns: ReturnType<typeof changedOf>,
  ): CarriedOn | null => {
    if (columns.length === 0) return null;
    return {
      change: { kind: 'update', key: keyIn(table, event, [old, event.before]), columns },
      family,
    };
  };
  const { op } = event;
  switch (op) {
    case 'delete':
      if (event.newKey !== null) {
        // The row itself goes on under its new key, whether others refer to that or not: it is there
        // when the other half comes.
        return onUpdate.size === 0
          ? null
          : updated(event.key, changedOf(table.key, event.key, event.newKey));
      }
      if (!onDelete) return null;
      return {
        change: { kind: 'delete', key: keyIn(table, event, [event.key, event.before]) },
        family,
      };
    case 'create': {
      // What the first half did not tell: these are the same as before, or not.
      if (event.oldKey === null) return null;
      const others = [...onUpdate].filter((column) => !table.key.includes(column));
      return updated(event.key, changedOf(others, null, event.after));
    }
    case 'update': {
      const before = event.before ?? event.oldKey ?? event.key;
      const old = event.oldKey ?? event.before ?? event.key;
      return updated(old, changedOf([...onUpdate], before, event.after));
    }
    // What it did is not known; what is set aside with it waits for the same replay.
    case 'unread':
    case 'read':
    case 'truncate':
      return null;
    default:
      return unreachable(op);
  }
}

/** Columns of these that have another value; all that have one, if it is not known what was before. */
function changedOf(
  names: readonly string[],
  before: RowImage | null,
  after: RowImage | null,
): readonly (readonly [string, KnownValue])[] {
  const changed: (readonly [string, KnownValue])[] = [];
  for (const name of names) {
    if (after?.shape.index.has(name) !== true) continue;
    const value = imageValue(after, name);
    const isKnown = before?.shape.index.has(name) === true;
    const old = isKnown ? imageValue(before, name) : UNAVAILABLE;
    if (typeof value === 'symbol') continue;
    if (typeof old === 'symbol' || !isSame(old, value)) changed.push([name, value]);
  }
  return changed;
}

function isSame(a: KnownValue, b: KnownValue): boolean {
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b) === 0;
  return a === b;
}
