/** Whether two images of a row are the same, byte for byte, in SQL. */
import type { ColumnSchema } from '../../../schema/table-schema.ts';
import { unreachable } from '../../../util/assert.ts';
import { exactText } from '../compare/exact-text.ts';

/** Holds if all of these columns have the same bytes, or are NULL, on both sides. */
export function sameImage(
  columns: readonly { readonly name: string; readonly schema: ColumnSchema }[],
  left: string,
  right: string,
): string {
  const parts = columns.map((column) => sameValue(column, left, right));
  return parts.length === 0 ? 'TRUE' : `(${parts.join(' AND ')})`;
}

export function sameValue(
  { name, schema }: { readonly name: string; readonly schema: ColumnSchema },
  left: string,
  right: string,
): string {
  const side = (alias: string): string => exactValue(`${alias}.${name}`, schema);
  return `${side(left)} <=> ${side(right)}`;
}

/** Equal only where the values are, also for a collation, and in every time zone. */
export function exactValue(name: string, column: ColumnSchema): string {
  switch (column.type.kind) {
    case 'text':
    case 'char':
    case 'bytes':
    // As a text in hexadecimal they may be longer than what a function of the server gives.
    case 'geometry':
    case 'vector':
      return `CAST(${name} AS BINARY)`;
    case 'enum':
    case 'set':
      // The number that stands for no label reads like an empty one.
      return `CONCAT(${name} + 0, ' ', CAST(${name} AS BINARY))`;
    case 'json':
      return `CAST(CAST(${name} AS CHAR) AS BINARY)`;
    case 'float32':
    case 'float64':
      return exactText(name, column);
    case 'timestamptz':
      // Two moments have one name where clocks are put back.
      return `UNIX_TIMESTAMP(${name})`;
    case 'array':
    case 'bits':
    case 'boolean':
    case 'composite':
    case 'date':
    case 'hstore':
    case 'int16':
    case 'int32':
    case 'int64':
    case 'interval':
    case 'jsonb':
    case 'money':
    case 'numeric':
    case 'other':
    case 'point':
    case 'range':
    case 'time':
    case 'timestamp':
    case 'timetz':
    case 'uuid':
    case 'xml':
    case 'year':
      return name;
    default:
      return unreachable(column.type.kind);
  }
}
