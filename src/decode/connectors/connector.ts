/** What differs between Debezium's source connectors, beneath the envelope they share. */
import type { SourcePosition } from '../../change/position.ts';
import type { TableId } from '../../change/table-id.ts';

export type SourceBlock = Readonly<Record<string, unknown>>;

export type PositionOrder = 'before' | 'equal' | 'after' | 'incomparable';

export interface Connector<Position extends SourcePosition = SourcePosition> {
  readonly name: SourcePosition['connector'];
  /** The field of a source block that holds the schema of a TableId. */
  readonly schemaField: 'schema' | 'db';
  /** The table of a source block. Throws RECORD_CORRUPT where it names none. */
  table(source: SourceBlock): TableId;
  /** The position of a source block. Throws NeedExact. */
  position(source: SourceBlock): Position;
  /** Where `a` stands seen from `b` in production's log. */
  compare(a: Position, b: Position): PositionOrder;
  /**
   * As `compare`, where both are certainly of one server's log, so that of two that were sent one after
   * the other an earlier one must have been sent before. Else `incomparable`.
   */
  compareInLog(a: Position, b: Position): PositionOrder;
  /** The identity of a transaction from Debezium's id, which may differ between its events. */
  transactionId(id: string): string;
  /** The place in production's log behind the commit, where the id of an END tells it. */
  committedAt(id: string): bigint | null;
  /** Does this data_collection of an END count rows of a table? */
  countsRows(collection: string): boolean;
  /**
   * Truncates carry the mark of a transaction whose END comes. Else none: a mark that is sent all
   * the same is passed over.
   */
  readonly truncatesAreMarked: boolean;
  /** A delete's old row holds the real values of all columns, not only of the key. */
  readonly deletedRowIsReal: boolean;
}

/** `equal` for equal values, else where `a` lies. */
export function order(a: bigint | number, b: bigint | number): PositionOrder {
  return a === b ? 'equal' : a < b ? 'before' : 'after';
}
