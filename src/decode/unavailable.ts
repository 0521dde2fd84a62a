/**
 * Debezium's forms of "this large value did not change and was not sent" (observed on the
 * connector). Most types have a placeholder; for the others it is a plain NULL, which cannot be
 * told from a real one. Both are read as UNAVAILABLE, the target keeps what it has; the second
 * kind is counted, because a real NULL may have been passed over.
 *
 * Asked only for updates and for the create half of a key change, without an old row in the
 * event, and for columns that the engine may store out of line and that are not in the key: the
 * same value anywhere else is data.
 */
import type { ColumnType, TypeKind } from '../schema/table-schema.ts';
import { bareTypeName } from './column.ts';
import type { ConnectSchema, ConnectType } from './envelope/connect-schema.ts';
import { isObject } from './envelope/exact-number.ts';
import type { ConnectorModes } from './modes.ts';

const PLACEHOLDER = '__debezium_unavailable_value';
const PLACEHOLDER_BYTES = Buffer.from(PLACEHOLDER);
const PLACEHOLDER_BASE64 = PLACEHOLDER_BYTES.toString('base64');
const PLACEHOLDER_CODES = [...PLACEHOLDER_BYTES];
/** The placeholder's bytes as a name-based UUID. */
const PLACEHOLDER_UUID = 'b68a35a7-17ad-35b3-af2a-ae46edb4545a';

export interface Availability {
  /** Is this value, not null, the type's placeholder? */
  readonly isPlaceholder: (value: unknown) => boolean;
  /** The type has no placeholder: NULL may mean "not sent". */
  readonly nullIsDoubtful: boolean;
}

/** How a column says that it was not sent. */
export function availabilityOf(
  schema: ConnectSchema,
  type: ColumnType,
  modes: ConnectorModes,
): Availability {
  if (schema.type === 'array') return arrayAvailability(schema, type);
  if (type.kind === 'hstore') {
    return { isPlaceholder: isHstorePlaceholder, nullIsDoubtful: false };
  }
  if (schema.type === 'string') {
    const lost = type.kind === 'bytes' && modes.binary !== 'hex';
    return { isPlaceholder: (value) => value === PLACEHOLDER, nullIsDoubtful: lost };
  }
  if (schema.type === 'bytes' && type.kind !== 'bits' && !isDecimal(type.kind)) {
    return { isPlaceholder: isPlaceholderBytes, nullIsDoubtful: false };
  }
  return { isPlaceholder: () => false, nullIsDoubtful: !alwaysShort(type) };
}

function isDecimal(kind: TypeKind): boolean {
  return kind === 'numeric' || kind === 'money';
}

/** Values that never grow beyond the pointer that would replace them are never moved out. */
function alwaysShort(type: ColumnType): boolean {
  if (type.kind === 'numeric') return type.precision !== undefined && type.precision <= 32;
  if (type.kind === 'bits') return type.length !== undefined && type.length <= 96;
  return false;
}

function arrayAvailability(schema: ConnectSchema, type: ColumnType): Availability {
  const isPlaceholder = elementPlaceholder(schema.items?.type, type.element);
  return isPlaceholder === null
    ? { isPlaceholder: () => false, nullIsDoubtful: true }
    : { isPlaceholder, nullIsDoubtful: false };
}

function elementPlaceholder(
  sent: ConnectType | undefined,
  element: ColumnType | undefined,
): ((value: unknown) => boolean) | null {
  if (element === undefined) return null;
  const { kind } = element;
  if (kind === 'text' || kind === 'char') {
    return bareTypeName(element) === 'citext' ? null : isOnly(PLACEHOLDER);
  }
  if (kind === 'json' || kind === 'jsonb') return isOnly(PLACEHOLDER);
  if (kind === 'uuid') return isOnly(PLACEHOLDER_UUID);
  if (kind === 'bytes') return sent === 'bytes' ? isOnlyBytes : null;
  if (kind === 'int32' || kind === 'int64') return isCodes;
  return kind === 'date' && sent === 'int32' ? isCodes : null;
}

function isOnly(text: string): (value: unknown) => boolean {
  return (value) => Array.isArray(value) && value.length === 1 && value[0] === text;
}

/** Bytes as JSON and as Avro have them. */
function isPlaceholderBytes(value: unknown): boolean {
  return (
    value === PLACEHOLDER_BASE64 || (Buffer.isBuffer(value) && PLACEHOLDER_BYTES.equals(value))
  );
}

function isOnlyBytes(value: unknown): boolean {
  return Array.isArray(value) && value.length === 1 && isPlaceholderBytes(value[0]);
}

function isCodes(value: unknown): boolean {
  return (
    Array.isArray(value) &&
    value.length === PLACEHOLDER_CODES.length &&
    PLACEHOLDER_CODES.every((code, i) => value[i] === code)
  );
}

const PLACEHOLDER_HSTORE = JSON.stringify({ [PLACEHOLDER]: PLACEHOLDER });

function isHstorePlaceholder(value: unknown): boolean {
  if (typeof value === 'string') return value === PLACEHOLDER_HSTORE;
  return isObject(value) && JSON.stringify(value) === PLACEHOLDER_HSTORE;
}
