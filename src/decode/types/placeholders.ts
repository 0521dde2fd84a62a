/**
 * Debezium's forms of "this large value did not change and was not sent" (observed on the
 * connector). Most types have a placeholder; for the others it is a plain NULL, which cannot be
 * told from a real one.
 *
 * Asked only for updates and for the create half of a key change, without an old row in the
 * event, and for columns that the engine may store out of line and that are not in the key: the
 * same value anywhere else is data.
 */
import type { ColumnType, TypeKind } from '../../schema/table-schema.ts';
import type { ConnectSchema } from '../envelope/connect-schema.ts';
import { isObject } from '../envelope/exact-number.ts';
import { bareTypeName, type Availability } from './type-table.ts';

const PLACEHOLDER = '__debezium_unavailable_value';
const PLACEHOLDER_BYTES = Buffer.from(PLACEHOLDER);
const PLACEHOLDER_BASE64 = PLACEHOLDER_BYTES.toString('base64');
const PLACEHOLDER_CODES = [...PLACEHOLDER_BYTES];
/** The placeholder's bytes as a name-based UUID. */
const PLACEHOLDER_UUID = 'b68a35a7-17ad-35b3-af2a-ae46edb4545a';
const PLACEHOLDER_HSTORE = JSON.stringify({ [PLACEHOLDER]: PLACEHOLDER });

function placeholder(isPlaceholder: Availability['isPlaceholder']): Availability {
  return { isPlaceholder, nullIsDoubtful: false };
}

/** No placeholder: NULL stands for it. */
export const ONLY_NULL: Availability = { isPlaceholder: () => false, nullIsDoubtful: true };

/** Never left out: the value is always short enough to stay in the row. */
export const ALWAYS_SENT: Availability = { isPlaceholder: () => false, nullIsDoubtful: false };

export const BY_TEXT = placeholder((value) => value === PLACEHOLDER);

/** Bytes in a text form: the placeholder is there as it is, or lost on the way. */
export const BY_TEXT_OR_NULL: Availability = { ...BY_TEXT, nullIsDoubtful: true };

export const BY_BYTES = placeholder(isPlaceholderBytes);

export const BY_HSTORE = placeholder((value) => {
  if (typeof value === 'string') return value === PLACEHOLDER_HSTORE;
  return isObject(value) && JSON.stringify(value) === PLACEHOLDER_HSTORE;
});

/** Of a domain over hstore, which the connector does not know by its name. */
export const BY_HSTORE_DOMAIN: Availability = { ...BY_TEXT, nullIsDoubtful: true };

const BY_TEXTS = byOnly((item) => item === PLACEHOLDER);
const BY_UUIDS = byOnly((item) => item === PLACEHOLDER_UUID);
const BY_BYTES_IN_ARRAY = byOnly(isPlaceholderBytes);

/**
 * Arrays whose elements the connector does not know: sent as bytes or as their text, or NULL where
 * it could not convert the placeholder to either.
 */
export const BY_UNKNOWN_IN_ARRAY: Availability = {
  ...byOnly((item) => item === PLACEHOLDER || isPlaceholderBytes(item)),
  nullIsDoubtful: true,
};

/** The placeholder's bytes as numbers. */
const BY_CODES = placeholder(
  (value) =>
    Array.isArray(value) &&
    value.length === PLACEHOLDER_CODES.length &&
    PLACEHOLDER_CODES.every((code, i) => value[i] === code || value[i] === BigInt(code)),
);

function byOnly(isPlaceholder: (item: unknown) => boolean): Availability {
  return placeholder(
    (value) => Array.isArray(value) && value.length === 1 && isPlaceholder(value[0]),
  );
}

/** Bytes as JSON and as Avro have them. */
function isPlaceholderBytes(value: unknown): boolean {
  return (
    value === PLACEHOLDER_BASE64 || (Buffer.isBuffer(value) && PLACEHOLDER_BYTES.equals(value))
  );
}

/** Arrays whose placeholder survives the conversion of their elements; of others only NULL is left. */
const BY_ELEMENT: Partial<Record<TypeKind, Availability>> = {
  text: BY_TEXTS,
  char: BY_TEXTS,
  json: BY_TEXTS,
  jsonb: BY_TEXTS,
  uuid: BY_UUIDS,
  bytes: BY_BYTES_IN_ARRAY,
  int32: BY_CODES,
  int64: BY_CODES,
  date: BY_CODES,
};

/**
 * How an array says that it was not sent. `items`: how its elements are. Only for elements that
 * are sent as their kind is.
 */
export function placeholderOfArray(
  items: ConnectSchema | undefined,
  element: ColumnType | undefined,
): Availability {
  if (element === undefined || bareTypeName(element) === 'citext') return ONLY_NULL;
  const { kind } = element;
  const lost =
    (kind === 'bytes' && items?.type !== 'bytes') || (kind === 'date' && items?.type !== 'int32');
  return lost ? ONLY_NULL : (BY_ELEMENT[kind] ?? ONLY_NULL);
}
