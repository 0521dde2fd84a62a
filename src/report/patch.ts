/**
 * The difference of a rollout as SQL: statements that turn one side's rows into the other's. Pure. Values that
 * rows exchange under a unique key, and rows that refer to each other in a circle, are beyond such a list: see
 * safeOrder.
 */

import { tableName } from '../change/table-id.ts';
import type { SqlWriting } from '../schema/sql-writing.ts';
import { writableColumns, type TableSchema } from '../schema/table-schema.ts';
import { safeOrder, type RowMove } from './patch-order.ts';

export interface PatchRow {
  /** Label of its table. */
  readonly table: string;
  readonly key: readonly string[];
  /** Under which production has it. */
  readonly productionKey: readonly string[];
  readonly columns: readonly {
    readonly column: string;
    readonly production: string | null;
    readonly candidate: string | null;
    /** It is not written: it tells what the row refers to, and holds. */
    readonly same?: true;
  }[];
  /** Which sides have it. */
  readonly production: boolean;
  readonly candidate: boolean;
}

/** `towards`: the side that the other's rows are made like. None if there are no rows. */
export function patchStatements(
  rows: readonly PatchRow[],
  tables: ReadonlyMap<string, TableSchema>,
  {
    towards,
    writer,
    pairs = [],
  }: {
    readonly towards: 'production' | 'candidate';
    readonly writer: SqlWriting;
    /** Rows that both sides have under keys of their own. */
    readonly pairs?: readonly PatchPair[];
  },
): readonly string[] {
  const from = towards === 'candidate' ? 'production' : 'candidate';
  const here = keysHere(pairs, towards);
  const keys = (of: string): readonly string[] => tables.get(of)?.key ?? [];
  const moves = rows
    .filter((row) => row[from] || row[towards])
    .map((row) => {
      const writing = { table: tables.get(row.table), writer, towards, keys, here };
      const written = row[towards] ? referring(row, writing) : row;
      return { ...movement(written, writing), row: written, writing };
    });
  const statements = safeOrder(moves, tables).flatMap(({ row, writing }) => {
    if (!row[towards]) return [deletion(row, writing)];
    return row[from] ? update(row, writing) : [insertion(row, writing)];
  });
  return statements.length === 0 ? [] : [...writer.before, ...statements, ...writer.after];
}

/** Of the columns that are known. */
function movement(row: PatchRow, writing: Writing): RowMove {
  const { towards } = writing;
  const from = towards === 'candidate' ? 'production' : 'candidate';
  const key = known(writing).key.map((name, i) => [name, keyOf(row, writing)[i] ?? null] as const);
  const side = (of: typeof towards): RowMove['after'] =>
    row[of]
      ? new Map([
          ...key,
          ...row.columns.map((one) => [one.column, one[one.same ? from : of]] as const),
        ])
      : null;
  return { table: row.table, before: side(from), after: side(towards) };
}

/** A row by the label of its table, and its keys on both sides. */
export interface PatchPair {
  readonly table: string;
  readonly candidate: readonly string[];
  readonly production: readonly string[];
}

/** By table, keys of the side that rows are made like, to those of the side that the statements are for. */
type KeysHere = ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>;

function keysHere(pairs: readonly PatchPair[], towards: 'production' | 'candidate'): KeysHere {
  const from = towards === 'candidate' ? 'production' : 'candidate';
  return new Map(
    [...Map.groupBy(pairs, ({ table }) => table)].map(([table, of]) => [
      table,
      new Map(of.map((pair) => [JSON.stringify(pair[towards]), pair[from]])),
    ]),
  );
}

/** What a row refers to of a pair, it refers to by the key that this has on the side the statement is for. */
function referring(row: PatchRow, writing: Writing): PatchRow {
  const { towards, here } = writing;
  const values = new Map(row.columns.map((one) => [one.column, one[towards]]));
  const put = new Map<string, string>();
  for (const { columns, references, referencedColumns } of known(writing).foreignKeys) {
    const parent = writing.keys(tableName(references));
    const of = parent.map(
      (name) => values.get(columns[referencedColumns.indexOf(name)] ?? '') ?? null,
    );
    const key = of.includes(null)
      ? undefined
      : here.get(tableName(references))?.get(JSON.stringify(of));
    parent.forEach((name, i) => {
      const column = columns[referencedColumns.indexOf(name)];
      const value = key?.[i];
      if (column !== undefined && value !== undefined) put.set(column, value);
    });
  }
  if (put.size === 0) return row;
  const columns = row.columns.map((one) => {
    const value = put.get(one.column);
    return value === undefined ? one : { ...one, [towards]: value };
  });
  return { ...row, columns };
}

interface Writing {
  readonly here: KeysHere;
  /** The key's columns of a table, by its label. */
  keys(table: string): readonly string[];
  readonly table: TableSchema | undefined;
  readonly writer: SqlWriting;
  readonly towards: 'production' | 'candidate';
}

function known({ table }: Writing): TableSchema {
  if (table === undefined) throw new Error('rows are of tables that are known');
  return table;
}

function value(name: string, text: string | null, writing: Writing): string {
  const column = known(writing).columns.find((one) => one.name === name);
  if (column === undefined) throw new Error('values are of columns that are known');
  return writing.writer.literal(text, column.type);
}

/** Of the row on the side that the statement is for. */
function keyOf(row: PatchRow, { towards }: Writing): readonly string[] {
  return towards === 'candidate' ? row.productionKey : row.key;
}

function whereKey(row: PatchRow, writing: Writing): string {
  const key = keyOf(row, writing);
  return known(writing)
    .key.map(
      (name, i) => `${writing.writer.column(name)} = ${value(name, key[i] ?? null, writing)}`,
    )
    .join(' AND ');
}

function deletion(row: PatchRow, writing: Writing): string {
  return `DELETE FROM ${writing.writer.table(known(writing).id)} WHERE ${whereKey(row, writing)};`;
}

function update(row: PatchRow, writing: Writing): readonly string[] {
  const { writer, towards } = writing;
  const schema = known(writing);
  const { id, key } = schema;
  // Of a pair each side keeps its own.
  const keeps = row.key.every((text, i) => text === row.productionKey[i]) ? [] : key;
  const changed = row.columns.filter(({ column, same }) => !same && !keeps.includes(column));
  if (changed.length === 0) return [];
  const set = changed.map(
    (one) => `${writer.column(one.column)} = ${value(one.column, one[towards], writing)}`,
  );
  // Also a moment in the key: some servers stamp a table's first one unasked.
  const named = new Set(changed.map(({ column }) => column));
  const stamped = writableColumns(schema)
    .filter(({ name, type }) => !named.has(name) && writer.isStamped(type))
    .map(({ name }) => `${writer.column(name)} = ${writer.column(name)}`);
  const table = writer.table(id);
  return [
    `UPDATE ${table} SET ${[...set, ...stamped].join(', ')} WHERE ${whereKey(row, writing)};`,
  ];
}

function insertion(row: PatchRow, writing: Writing): string {
  const { writer, towards } = writing;
  const names = row.columns.map(({ column }) => writer.column(column));
  const values = row.columns.map((one) => value(one.column, one[towards], writing));
  const table = writer.table(known(writing).id);
  return `INSERT INTO ${table} (${names.join(', ')})${writer.overriding} VALUES (${values.join(', ')});`;
}
