/** What a connector that reads a binlog tells of a statement that changed tables. */
import type { LogOffset, SourcePosition } from './position.ts';
import type { TableId } from './table-id.ts';

/** A column, as far as the connector tells of it: no collation, and of a default its plain text. */
export interface ToldColumn {
  readonly name: string;
  readonly nullable: boolean;
  /** Of a default that is a literal; null also where it has none, or one that is computed. */
  readonly default: string | null;
}

/** A column when it came to be, and the statement that made it. */
export interface ToldAddition {
  readonly column: ToldColumn;
  readonly ddl: string;
}

/** A table after such a statement. */
export interface ToldTable {
  readonly table: TableId;
  /** `dropped` has no columns. A table that got another name is `altered`, under its new one. */
  readonly kind: 'created' | 'altered' | 'dropped';
  readonly columns: readonly ToldColumn[];
  readonly key: readonly string[];
}

export interface SchemaChangeRecord {
  readonly kind: 'schema-change';
  readonly at: LogOffset;
  /** Where the statement stands in production's log. */
  readonly source: SourcePosition;
  readonly eventTimeMs: number | null;
  /** The database that names without one are of; null if that is not told. */
  readonly database: string | null;
  /** The statement, as production ran it. */
  readonly ddl: string;
  /** A snapshot tells how tables are, by dropping and making them. */
  readonly snapshot: boolean;
  readonly tables: readonly ToldTable[];
}
