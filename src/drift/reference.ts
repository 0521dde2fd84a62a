/**
 * Production's side of a comparison: read now from a pinned snapshot, or written down earlier in
 * a manifest.
 */
import { tableName, type TableId } from '../change/table-id.ts';
import type { ComparedTable, Leaf, RowHash, RowText, TableReader } from '../dialect/dialect.ts';
import type { SchemaCatalogue, TableSchema } from '../schema/table-schema.ts';
import { writableColumns } from '../schema/table-schema.ts';

/** A leaf with its place among the table's leaves. */
export interface PlacedLeaf extends Leaf {
  readonly index: number;
}

export interface ReferenceTable {
  readonly table: ComparedTable;
  /** See TableReader.forms. */
  readonly forms: readonly string[];
  /** All leaves in order. */
  leaves(leafRows: number): AsyncIterable<readonly Leaf[]>;
  /** Null where only leaf hashes are known. */
  readonly rowHashes: ((leaves: readonly PlacedLeaf[]) => Promise<readonly RowHash[]>) | null;
  /** Null where columns are not known. */
  readonly rows: ((keys: readonly (readonly string[])[]) => Promise<readonly RowText[]>) | null;
}

export interface Reference {
  /** `schema.name` of every table there is, partitions left out. */
  readonly tables: readonly string[];
  id(name: string): TableId;
  /** Self-test of the server that made the hashes. */
  selfTest(): Promise<string>;
  /**
   * The table, to be compared over those of its columns that `wanted` accepts. Generated columns
   * are left out: each side computes its own.
   */
  open(name: string, wanted: (column: string) => boolean): Promise<ReferenceTable>;
  /** All its columns that can be compared. */
  columns(name: string): readonly string[];
  key(name: string): readonly string[];
}

/** Tables whose rows are not read through another one already. */
export function wholeTables(catalogue: SchemaCatalogue): readonly TableSchema[] {
  return [...catalogue.values()].filter(
    (table) => table.partitionOf === undefined || !catalogue.has(tableName(table.partitionOf)),
  );
}

export function columnNames(table: TableSchema): readonly string[] {
  return writableColumns(table).map((column) => column.name);
}

/** Production as a pinned snapshot shows it. */
export async function readerReference(reader: TableReader): Promise<Reference> {
  const tables = new Map(
    wholeTables(await reader.tables()).map((table) => [tableName(table.id), table]),
  );
  const schemaOf = (name: string): TableSchema => {
    const schema = tables.get(name);
    if (schema === undefined) throw new Error(`no table ${name} in the reference`);
    return schema;
  };
  return {
    tables: [...tables.keys()],
    id: (name) => schemaOf(name).id,
    selfTest: () => reader.selfTest(),
    columns: (name) => columnNames(schemaOf(name)),
    key: (name) => schemaOf(name).key,
    async open(name, wanted) {
      const schema = schemaOf(name);
      const table: ComparedTable = {
        table: schema.id,
        key: schema.key,
        columns: columnNames(schema).filter(wanted),
      };
      return {
        table,
        forms: await reader.forms(table),
        leaves: (leafRows) => reader.cutLeaves(table, leafRows),
        rowHashes: (leaves) => reader.rowHashes(table, leaves),
        rows: (keys) => reader.rows(table, keys),
      };
    },
  };
}
