import { assert } from '../../../util/assert.ts';
import type { KnownValue } from '../../../change/value.ts';
import type { ColumnType } from '../../../schema/table-schema.ts';

/**
 * A value as PostgreSQL's input text for its type: what `'…'::type` reads back exactly. Arrays
 * become array literals, bytes hex, booleans t/f. Null stays null.
 */
export function renderText(value: KnownValue, type?: ColumnType): string | null {
  if (value === null) return null;
  if (typeof value === 'string') return value;
  if (typeof value === 'boolean') return renderBoolean(value, type);
  if (value instanceof Uint8Array) return `\\x${toHex(value)}`;
  return renderArray(value, type?.element);
}

/** Debezium says boolean for `bit(1)` too. */
function renderBoolean(value: boolean, type: ColumnType | undefined): string {
  if (type?.kind === 'bits') return value ? '1' : '0';
  return value ? 't' : 'f';
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

function renderArray(values: readonly KnownValue[], element: ColumnType | undefined): string {
  // The one built-in type whose arrays are not separated by a comma.
  const separator = element?.sql === 'box' ? ';' : ',';
  return `{${values.map((value) => renderElement(value, element)).join(separator)}}`;
}

function renderElement(value: KnownValue, element: ColumnType | undefined): string {
  if (value === null) return 'NULL';
  // A nested array is part of the literal's own syntax, and must not be quoted.
  if (Array.isArray(value)) return renderArray(value as readonly KnownValue[], element);
  const text = renderText(value, element);
  assert(text !== null, 'only null renders as null');
  return `"${text.replace(/["\\]/g, '\\$&')}"`;
}

const COPY_SPECIAL = /[\\\n\r\t]/g;
const COPY_ESCAPES: Readonly<Record<string, string>> = {
  '\\': '\\\\',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
};

/** One field of COPY's text format. */
export function copyField(text: string | null): string {
  if (text === null) return '\\N';
  return text.replace(COPY_SPECIAL, (special) => COPY_ESCAPES[special] ?? special);
}
