import type { SourcePosition } from '../change/position.ts';
import type { TableId } from '../change/table-id.ts';

/**
 * What a column's type is, as far as decoding and comparing need to know: a closed lattice over
 * all engines. `other` is a type that is carried as text and never interpreted.
 */
export type TypeKind =
  | 'boolean'
  | 'int16'
  | 'int32'
  | 'int64'
  | 'float32'
  | 'float64'
  | 'numeric'
  | 'money'
  | 'text'
  | 'char'
  | 'bytes'
  | 'bits'
  | 'date'
  | 'time'
  | 'timetz'
  | 'timestamp'
  | 'timestamptz'
  | 'interval'
  | 'uuid'
  | 'json'
  | 'jsonb'
  | 'xml'
  | 'enum'
  | 'set'
  | 'year'
  | 'geometry'
  | 'vector'
  | 'composite'
  | 'range'
  | 'hstore'
  | 'point'
  | 'array'
  | 'other';

export interface ColumnType {
  /** As the engine writes it in DDL, e.g. `numeric(10,2)`, `public.mood`, `text[]`. */
  readonly sql: string;
  readonly kind: TypeKind;
  /** If `sql` is a domain: the type beneath it, as DDL. `kind` and the rest describe that type. */
  readonly domainOf?: string;
  /** Elements of an array. */
  readonly element?: ColumnType;
  /** Characters, bits or bytes, where the type declares them. */
  readonly length?: number;
  readonly precision?: number;
  readonly scale?: number;
  /** Of numbers where the engine has such. */
  readonly unsigned?: true;
  /** Of a text that is not stored in UTF-8: its character set, as the engine calls it. */
  readonly charset?: string;
  /** Of an enum or a set, in the order of their declaration, where the engine keeps them so. */
  readonly labels?: readonly string[];
}

export interface ColumnSchema {
  readonly name: string;
  readonly type: ColumnType;
  readonly nullable: boolean;
  readonly generated: 'no' | 'stored' | 'virtual';
  readonly identity: 'no' | 'always' | 'by-default';
  /** It has a DEFAULT other than NULL; not set where it has none. */
  readonly hasDefault?: true;
  /** The engine may store the value out of line, so Debezium may leave it out of an update. */
  readonly toastable: boolean;
}

export interface UniqueKey {
  readonly name: string;
  readonly columns: readonly string[];
  readonly primary: boolean;
  readonly deferrable: boolean;
  /** Partial or on expressions: cannot be reasoned about by columns alone. */
  readonly plain: boolean;
}

export interface ForeignKey {
  readonly name: string;
  readonly columns: readonly string[];
  readonly references: TableId;
  readonly referencedColumns: readonly string[];
  /**
   * By this key the server deletes or changes rows of the table itself, and its log does not say so.
   * Absent where it does neither.
   */
  readonly unlogged?: { readonly onDelete: boolean; readonly onUpdate: boolean };
}

/** A table of the shadow, as its catalogue describes it now. */
export interface TableSchema {
  readonly id: TableId;
  readonly columns: readonly ColumnSchema[];
  /**
   * The columns that identify a row: the primary key, else a unique index over NOT NULL columns,
   * else empty (no key: rows cannot be addressed).
   */
  readonly key: readonly string[];
  readonly uniques: readonly UniqueKey[];
  readonly foreignKeys: readonly ForeignKey[];
  readonly partitioned: boolean;
  /** For a partition: the outermost partitioned table it belongs to. */
  readonly partitionOf?: TableId;
  /** Columns of before with their names since, or null: see former-columns.ts. Default: none is known. */
  readonly former?: ReadonlyMap<string, string | null>;
  /** Names that it had before: see table-renames.ts. Default: none is known. */
  readonly names?: readonly FormerName[];
  /** Changes of before, under its name, are of another table. Default: there was none. */
  readonly since?: SourcePosition;
}

/** Changes under this name are of the table, between these places in production's log. */
export interface FormerName {
  readonly table: TableId;
  /** Null: from the beginning. */
  readonly after: SourcePosition | null;
  readonly until: SourcePosition;
}

/** Columns that a change may write: all but generated ones. */
export function writableColumns(table: TableSchema): readonly ColumnSchema[] {
  return table.columns.filter((column) => column.generated === 'no');
}

/** The tables of one database by tableName(). */
export type SchemaCatalogue = ReadonlyMap<string, TableSchema>;
