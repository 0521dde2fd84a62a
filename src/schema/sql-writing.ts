import type { TableId } from '../change/table-id.ts';
import type { ColumnType } from './table-schema.ts';

/** Pieces of an engine's statements that a person runs in a session of their own. */
export interface SqlWriting {
  table(id: TableId): string;
  column(name: string): string;
  /**
   * Of a value as texts tell it between the rooms (see OverlayRow); null: NULL. On one line, and one value
   * in every session, whatever its settings: nothing in a text ends the literal.
   */
  literal(text: string | null, type: ColumnType): string;
  /** Between an INSERT's columns and its values. */
  readonly overriding: string;
  /** The engine may write a column of this type by itself in an UPDATE that does not set it. */
  isStamped(type: ColumnType): boolean;
  /** What a list of such statements begins with and ends with: one transaction, with settings of its own. */
  readonly before: readonly string[];
  readonly after: readonly string[];
}
