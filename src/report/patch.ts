/**
 * The difference of a rollout as SQL: statements that turn one side's rows into the other's. Pure. Rows go
 * before their parents go and come after their parents come; values that rows exchange under a unique key,
 * and tables that refer to each other in a circle, are beyond such a list.
 */

import { tableName, type TableId } from '../change/table-id.ts';
import type { ColumnType, TableSchema } from '../schema/table-schema.ts';

/** How an engine writes what a statement is made of: see SqlWriting. */
export interface PatchWriter {
  table(id: TableId): string;
  column(name: string): string;
  literal(text: string | null, type: ColumnType): string;
  readonly overriding: string;
}

type PatchTable = Pick<TableSchema, 'id' | 'key' | 'columns' | 'foreignKeys'>;

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
  }[];
  /** Which sides have it. */
  readonly production: boolean;
  readonly candidate: boolean;
}

/** `towards`: the side that the other's rows are made like. */
export function patchStatements(
  rows: readonly PatchRow[],
  tables: ReadonlyMap<string, PatchTable>,
  {
    towards,
    writer,
    pairs = [],
  }: {
    readonly towards: 'production' | 'candidate';
    readonly writer: PatchWriter;
    /** Rows that both sides have under keys of their own. */
    readonly pairs?: readonly PatchPair[];
  },
): readonly string[] {
  const from = towards === 'candidate' ? 'production' : 'candidate';
  const byTable = Map.groupBy(rows, (row) => row.table);
  const order = parentsFirst(tables).filter((label) => byTable.has(label));
  const written = order.map((label) => {
    const table = tables.get(label);
    const own = byTable.get(label) ?? [];
    const keys = (of: string): readonly string[] => tables.get(of)?.key ?? [];
    const one = { table, writer, towards, keys, here: keysHere(pairs, towards) };
    return {
      deletes: own.filter((row) => row[from] && !row[towards]).map((row) => deletion(row, one)),
      updates: own
        .filter((row) => row[from] && row[towards])
        .flatMap((row) => update(referring(row, one), one)),
      inserts: own
        .filter((row) => !row[from] && row[towards])
        .map((row) => insertion(referring(row, one), one)),
    };
  });
  return [
    ...written.toReversed().flatMap(({ deletes }) => deletes),
    ...written.flatMap(({ updates, inserts }) => [...updates, ...inserts]),
  ];
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
  readonly table: PatchTable | undefined;
  readonly writer: PatchWriter;
  readonly towards: 'production' | 'candidate';
}

function known({ table }: Writing): PatchTable {
  if (table === undefined) throw new Error('rows are of tables that are known');
  return table;
}

function value(name: string, text: string | null, writing: Writing): string {
  const column = known(writing).columns.find((one) => one.name === name);
  if (column === undefined) throw new Error('values are of columns that are known');
  return writing.writer.literal(text, column.type);
}

/** Of the row on the side that the statement is for. */
function whereKey(row: PatchRow, writing: Writing): string {
  const key = writing.towards === 'candidate' ? row.productionKey : row.key;
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
  const keys = new Set(known(writing).key);
  const set = row.columns
    .filter(({ column }) => !keys.has(column))
    .map((one) => `${writer.column(one.column)} = ${value(one.column, one[towards], writing)}`);
  if (set.length === 0) return [];
  const table = writer.table(known(writing).id);
  return [`UPDATE ${table} SET ${set.join(', ')} WHERE ${whereKey(row, writing)};`];
}

function insertion(row: PatchRow, writing: Writing): string {
  const { writer, towards } = writing;
  const names = row.columns.map(({ column }) => writer.column(column));
  const values = row.columns.map((one) => value(one.column, one[towards], writing));
  const table = writer.table(known(writing).id);
  return `INSERT INTO ${table} (${names.join(', ')})${writer.overriding} VALUES (${values.join(', ')});`;
}

function parentsFirst(tables: ReadonlyMap<string, PatchTable>): readonly string[] {
  const done = new Set<string>();
  const visit = (label: string, above: ReadonlySet<string>): void => {
    if (done.has(label) || above.has(label)) return;
    const below = new Set(above).add(label);
    for (const { references } of tables.get(label)?.foreignKeys ?? []) {
      visit(tableName(references), below);
    }
    done.add(label);
  };
  for (const label of [...tables.keys()].toSorted()) visit(label, new Set());
  return [...done];
}
