/** A column's value as a text that tells it exactly, in the form that values have between the rooms. */
import type { ColumnSchema } from '../../../schema/table-schema.ts';
import { unreachable } from '../../../util/assert.ts';

/**
 * SQL for sessions with our settings; NULL for NULL. Written again as it is (see renderLiteral), it makes
 * the same value. What is no text is `0x` and its bytes.
 */
export function exactText(name: string, { type }: ColumnSchema): string {
  switch (type.kind) {
    case 'bits':
      return `LPAD(BIN(${name} + 0), ${String(type.length ?? 1)}, '0')`;
    case 'float32':
      // A float's own text has six digits.
      return `CAST(CAST(${name} AS DOUBLE) AS CHAR)`;
    case 'timestamptz':
      return `CONCAT(CAST(${name} AS CHAR), '+00')`;
    case 'bytes':
    case 'geometry':
    case 'vector':
      return `CONCAT('0x', LOWER(HEX(${name})))`;
    case 'text':
    case 'char':
    case 'enum':
    case 'set':
    case 'json':
      return `CONVERT(${name} USING utf8mb4)`;
    case 'float64':
    case 'boolean':
    case 'int16':
    case 'int32':
    case 'int64':
    case 'numeric':
    case 'money':
    case 'date':
    case 'time':
    case 'timetz':
    case 'timestamp':
    case 'interval':
    case 'year':
    case 'jsonb':
    case 'uuid':
    case 'xml':
    case 'composite':
    case 'range':
    case 'hstore':
    case 'point':
    case 'array':
    case 'other':
      return `CAST(${name} AS CHAR)`;
    default:
      return unreachable(type.kind);
  }
}

/** Kinds whose values may be longer than what a function of the server gives. */
const LONG = new Set<ColumnSchema['type']['kind']>([
  ...(['text', 'char', 'bytes', 'json', 'geometry', 'vector'] as const),
]);

/** SQL that holds if `exactText` gave no text for a value, which was too long for that. */
export function isLost(name: string, column: ColumnSchema): string | null {
  if (!LONG.has(column.type.kind)) return null;
  return `(${name} IS NOT NULL AND ${exactText(name, column)} IS NULL)`;
}

/** What a checksum is made of: it differs where values do, and is never NULL. */
export function hashedText(name: string, column: ColumnSchema): string {
  const { kind } = column.type;
  // Bytes as they are stored, without a limit to their length.
  if (kind === 'json') return `COALESCE(SHA2(CAST(${name} AS CHAR), 256), '-')`;
  if (LONG.has(kind)) return `COALESCE(SHA2(${name}, 256), '-')`;
  // Of an enum its number too: index 0 reads like an empty label.
  const text = exactText(name, column);
  return `COALESCE(CONCAT('+', ${kind === 'enum' ? `${name} + 0, ' ', ` : ''}${text}), '-')`;
}
