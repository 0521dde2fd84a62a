/**
 * What of a table was changed in production, as two catalogues tell it: the shadow's and
 * production's. A closed union, so that every kind has its policy and its way of being carried out.
 */
import type { SourcePosition } from '../change/position.ts';
import type { ToldAddition } from '../change/table-change.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import { unreachable } from '../util/assert.ts';
import type { ColumnSchema, SchemaCatalogue, TableSchema } from './table-schema.ts';
import { isWiderType, sameType } from './type-width.ts';

export type SchemaChange =
  /** Production has a column that the shadow lacks. `told`: how it came to be, where that is told. */
  | {
      readonly kind: 'add';
      readonly table: TableId;
      readonly column: ColumnSchema;
      readonly told?: ToldAddition;
    }
  /** The shadow has a column that production has no more. */
  | { readonly kind: 'drop'; readonly table: TableId; readonly column: ColumnSchema }
  /**
   * A column has another name. Without `certain` it may as well have been dropped, and another of
   * its type added: two catalogues look the same then.
   */
  | {
      readonly kind: 'rename';
      readonly table: TableId;
      readonly from: ColumnSchema;
      readonly to: ColumnSchema;
      readonly certain: boolean;
    }
  /** Every value of before is one of now, in the same words; or NULL may stand where it could not. */
  | {
      readonly kind: 'widen' | 'retype';
      readonly table: TableId;
      readonly from: ColumnSchema;
      readonly to: ColumnSchema;
    }
  /** An enum has more labels, and all that it had. */
  | {
      readonly kind: 'enumValue';
      readonly table: TableId;
      readonly from: ColumnSchema;
      readonly to: ColumnSchema;
      readonly labels: readonly AddedLabel[];
    }
  /** Other columns identify a row. `primary`: those of before are the shadow's primary key. */
  | {
      readonly kind: 'key';
      readonly table: TableId;
      readonly from: readonly string[];
      readonly to: readonly string[];
      readonly primary: boolean;
    }
  /** Without `certain` it may be a table of before under another name, with rows. */
  | { readonly kind: 'newTable'; readonly table: TableId; readonly certain: boolean }
  | { readonly kind: 'droppedTable'; readonly table: TableId }
  /** A table has another name: `table`. */
  | {
      readonly kind: 'renameTable';
      readonly table: TableId;
      readonly from: TableId;
      /**
       * Where that stands in production's log, changes of before having the old name. Null where it is not
       * certain: it looks like this one, and nothing tells that it is.
       */
      readonly until: SourcePosition | null;
      /** See TableRename. */
      readonly turn: bigint;
      /** Why a person must decide; null: nobody need. */
      readonly why: string | null;
    };

export type TableRenamed = Extract<SchemaChange, { kind: 'renameTable' }>;

interface AddedLabel {
  readonly label: string;
  /** The label that it stands before; null: it is the last. */
  readonly before: string | null;
}

/**
 * What makes `ours` into `theirs`, of all tables that either has: by table, in no other order than
 * that tables and columns have. Defaults, identities, constraints other than the key, and columns
 * that became NOT NULL do not count: the shadow holds every row without them. `appended`: the engine
 * puts every new column at the end of its table.
 */
export function changesBetween(
  ours: SchemaCatalogue,
  theirs: SchemaCatalogue,
  appended = true,
): readonly SchemaChange[] {
  const gone = [...ours].filter(([name]) => !theirs.has(name)).map(([, table]) => table);
  return [
    ...[...ours.values()].flatMap((table) => {
      const now = theirs.get(tableName(table.id));
      if (now !== undefined) return changesOfTable(table, now, appended);
      return [{ kind: 'droppedTable', table: table.id } as const];
    }),
    ...[...theirs].flatMap(([name, table]) => {
      if (ours.has(name)) return [];
      const certain = !gone.some((old) => sameColumns(old, table));
      return [{ kind: 'newTable', table: table.id, certain } as const];
    }),
  ];
}

/** Of one table that both have. */
function changesOfTable(
  ours: TableSchema,
  theirs: TableSchema,
  appended: boolean,
): readonly SchemaChange[] {
  const table = ours.id;
  const here = new Map(ours.columns.map((column) => [column.name, column]));
  const there = new Map(theirs.columns.map((column) => [column.name, column]));
  const renames = renamesOf(ours, theirs, appended);
  const renamed = new Map(renames.map(({ from, to }) => [from.name, to.name]));
  const fresh = new Set(renames.map(({ to }) => to.name));
  const changes: SchemaChange[] = [...renames];
  for (const column of ours.columns) {
    const now = there.get(column.name);
    if (now !== undefined) changes.push(...changesOfColumn(table, column, now));
    else if (!renamed.has(column.name)) changes.push({ kind: 'drop', table, column });
  }
  for (const column of theirs.columns) {
    if (here.has(column.name) || fresh.has(column.name)) continue;
    changes.push({ kind: 'add', table, column });
  }
  return withKeyChange(changes, ours, theirs);
}

/** The changes of a table with that of its key, which depends on what became of its columns. */
export function withKeyChange(
  changes: readonly SchemaChange[],
  ours: TableSchema,
  theirs: TableSchema,
): readonly SchemaChange[] {
  const others = changes.filter(({ kind }) => kind !== 'key');
  const renames = others.filter((change) => change.kind === 'rename');
  const renamed = new Map(renames.map(({ from, to }) => [from.name, to.name]));
  const key = ours.key.map((column) => renamed.get(column) ?? column);
  if (sameList(key, theirs.key)) return others;
  const primary = ours.uniques.some((unique) => unique.primary);
  const { id: table, key: from } = ours;
  return [...others, { kind: 'key', table, from, to: theirs.key, primary }];
}

type Rename = Extract<SchemaChange, { kind: 'rename' }>;

/**
 * Where a new column stands at the end of its table, one that stands before a column of both is an old
 * one under another name. At the end it may be either, if a column of its type is gone.
 */
function renamesOf(ours: TableSchema, theirs: TableSchema, appended: boolean): readonly Rename[] {
  const here = new Set(ours.columns.map(({ name }) => name));
  const there = new Set(theirs.columns.map(({ name }) => name));
  const gaps = gapsOf(ours.columns, (name) => there.has(name));
  const fresh = gapsOf(theirs.columns, (name) => here.has(name));
  const gone = new Set([...gaps.values()].flat());
  const renames: Rename[] = [];
  const add = (from: ColumnSchema, to: ColumnSchema, certain: boolean): void => {
    gone.delete(from);
    renames.push({ kind: 'rename', table: ours.id, from, to, certain });
  };
  const left: ColumnSchema[] = [];
  for (const [before, columns] of fresh) {
    const old = before === null ? [] : (gaps.get(before) ?? []);
    const pairs = columns.map((to, i) => ({ to, from: old[i] }));
    const same =
      old.length === columns.length &&
      pairs.every(({ from, to }) => from !== undefined && sameType(from.type, to.type));
    for (const { from, to } of pairs) {
      if (same && from !== undefined) add(from, to, appended);
      else left.push(to);
    }
  }
  for (const to of left) {
    const from = [...gone].find(({ type }) => sameType(type, to.type));
    if (from !== undefined) add(from, to, false);
  }
  return renames;
}

/** The columns that are not shared, by the shared column that they stand before; null: at the end. */
function gapsOf(
  columns: readonly ColumnSchema[],
  isShared: (name: string) => boolean,
): ReadonlyMap<string | null, readonly ColumnSchema[]> {
  const gaps = new Map<string | null, readonly ColumnSchema[]>();
  let gap: ColumnSchema[] = [];
  for (const column of columns) {
    if (!isShared(column.name)) gap.push(column);
    else {
      if (gap.length > 0) gaps.set(column.name, gap);
      gap = [];
    }
  }
  if (gap.length > 0) gaps.set(null, gap);
  return gaps;
}

/** Of a column under one name; `from` is the shadow's. */
export function changesOfColumn(
  table: TableId,
  from: ColumnSchema,
  to: ColumnSchema,
): readonly SchemaChange[] {
  if (from.generated !== to.generated) return [{ kind: 'retype', table, from, to }];
  const labels = addedLabels(from, to);
  if (labels === null) return [{ kind: 'retype', table, from, to }];
  if (labels.length > 0) return [{ kind: 'enumValue', table, from, to, labels }];
  const same = sameType(from.type, to.type);
  if (same && (from.nullable || !to.nullable)) return [];
  const isWider = same || isWiderType(from.type, to.type);
  return [{ kind: isWider ? 'widen' : 'retype', table, from, to }];
}

/** None if it is no enum, or a column of another type; null if a label is gone or has moved. */
function addedLabels(from: ColumnSchema, to: ColumnSchema): readonly AddedLabel[] | null {
  const [before, after] = [labelsOf(from), labelsOf(to)];
  if (before === undefined || after === undefined || sameList(before, after)) return [];
  const known = new Set(before);
  if (
    !sameList(
      before,
      after.filter((label) => known.has(label)),
    )
  )
    return null;
  // From the end on, so that the label it stands before is there when it is made.
  return after
    .map((label, i) => ({ label, before: after[i + 1] ?? null }))
    .filter(({ label }) => !known.has(label))
    .reverse();
}

/** Of an enum or a set, or an array of them. */
function labelsOf({ type }: ColumnSchema): readonly string[] | undefined {
  return type.labels ?? type.element?.labels;
}

/** Do they have the same columns, in the same order? */
export function sameColumns(a: TableSchema, b: TableSchema): boolean {
  return (
    a.columns.length === b.columns.length &&
    a.columns.every(({ name, type }, i) => {
      const other = b.columns[i];
      return other?.name === name && sameType(type, other.type);
    })
  );
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}

/** In a few words, without its table. */
export function describeChange(change: SchemaChange): string {
  switch (change.kind) {
    case 'add':
      return `column ${change.column.name} added`;
    case 'drop':
      return `column ${change.column.name} dropped`;
    case 'rename':
      return `column ${change.from.name} ${change.certain ? 'renamed to' : 'gone, and new is'} ${change.to.name}`;
    case 'widen':
    case 'retype': {
      const [from, to] = [change.from, change.to].map(
        ({ type, nullable }) => `${type.sql}${nullable ? '' : ' NOT NULL'}`,
      );
      return `column ${change.to.name} changed from ${from} to ${to}`;
    }
    case 'enumValue':
      return `labels added to column ${change.to.name}`;
    case 'key':
      return `key changed from (${change.from.join(', ')}) to (${change.to.join(', ')})`;
    case 'newTable':
      return change.certain ? 'table is new' : 'table is new, or has another name';
    case 'droppedTable':
      return 'table dropped';
    case 'renameTable':
      return [
        change.until === null
          ? `table ${tableName(change.from)} gone, and new is ${tableName(change.table)}`
          : `table ${tableName(change.from)} renamed to ${tableName(change.table)}`,
        ...(change.why === null ? [] : [change.why]),
      ].join('; ');
    default:
      return unreachable(change);
  }
}
