/** Debezium did not send this column (an unchanged TOAST value): the target keeps what it has. */
export const UNAVAILABLE: unique symbol = Symbol('unavailable');
export type Unavailable = typeof UNAVAILABLE;

/**
 * NULL, or not sent: Debezium sends NULL for unchanged TOAST values of some types. Which of the two
 * is for the target to judge: where its own value could never have been stored out of line, the
 * NULL is real.
 */
export const UNSURE: unique symbol = Symbol('unsure');
export type Unsure = typeof UNSURE;

/**
 * One column's value, decoded: exact, and free of the encoding it came in.
 * - string: the value in its database's own text form (numbers, dates, JSON, enums, text …)
 * - boolean: a boolean
 * - Uint8Array: raw bytes (bytea, BLOB …)
 * - array: a database array of such values
 * - null: SQL NULL
 */
export type KnownValue = string | boolean | Uint8Array | null | readonly KnownValue[];
export type ColumnValue = KnownValue | Unavailable | Unsure;

/** The columns of an image, shared by all rows of one record schema. */
export class RowShape {
  readonly columns: readonly string[];
  readonly index: ReadonlyMap<string, number>;
  /** Names in the record that are of no column any more: dropped, or of one with another name now. */
  readonly former: readonly string[];

  constructor(columns: readonly string[], former: readonly string[] = []) {
    this.columns = columns;
    this.former = former;
    this.index = new Map(columns.map((column, i) => [column, i]));
  }
}

/** A row's image: values in the order of `shape.columns`. A column that is absent was not sent. */
export interface RowImage {
  readonly shape: RowShape;
  readonly values: readonly ColumnValue[];
}

/** The value of a column, or UNAVAILABLE where the image does not have it. */
export function imageValue(image: RowImage, column: string): ColumnValue {
  const i = image.shape.index.get(column);
  return i === undefined ? UNAVAILABLE : (image.values[i] ?? null);
}
