/** How the types of PostgreSQL arrive: one entry a type. */
import type { ColumnType, TypeKind } from '../../schema/table-schema.ts';
import type { ConnectSchema } from '../envelope/connect-schema.ts';
import { float32Text, floatText } from '../envelope/exact-number.ts';
import { bitsText, sentBytes } from './binary.ts';
import { isoTimeText } from './calendar.ts';
import {
  asSent,
  binarySchema,
  binaryText,
  BITS,
  booleanDigit,
  booleanValue,
  clockSchema,
  connectDecimal,
  dateSchema,
  DECIMAL,
  decimalSchema,
  decimalString,
  finerThanMillis,
  FLOAT_VECTOR,
  integerForms,
  JSON_TEXT,
  needed,
  temporalForms,
  text,
  VARIABLE_SCALE_DECIMAL,
  variableScaleDecimal,
} from './forms.ts';
import { hstoreFromJson, hstoreFromMap } from './hstore.ts';
import { padScale, plainDecimal } from './numeric.ts';
import {
  ALWAYS_SENT,
  BY_BYTES,
  BY_HSTORE,
  BY_HSTORE_DOMAIN,
  BY_TEXT,
  BY_TEXT_OR_NULL,
  ONLY_NULL,
} from './placeholders.ts';
import { arrayEntry } from './postgresql-array.ts';
import {
  dateText,
  durationText,
  intervalText,
  isoDateText,
  isoTimestampText,
  timestampText,
  timeText,
} from './temporal.ts';
import {
  bareTypeName,
  form,
  refuse,
  value,
  type Availability,
  type Form,
  type Forms,
  type Sending,
  type Sent,
  type TypeEntry,
  type TypeTable,
  type ValueDecoder,
  type FormLoss,
} from './type-table.ts';
import { extendedWkb, pointText, sparseVectorText, vectorText } from './vectors.ts';

type Expected = TypeEntry['expected'];

function entry(
  forms: Forms,
  expected: ConnectSchema | Expected,
  unavailable: Availability | ((sent: Sent) => Availability) = ONLY_NULL,
): TypeEntry {
  return {
    forms,
    expected: typeof expected === 'function' ? expected : () => expected,
    unavailable: typeof unavailable === 'function' ? unavailable : () => unavailable,
  };
}

/** Digits of a numeric that is never moved out of the row. */
const SHORT_NUMERIC = 32;
/** Bits of a value that is never moved out of the row. */
const SHORT_BITS = 96;
/** Fraction digits of a time or timestamp that states none. */
const MICROSECONDS = 6;
/** Money's fraction digits in the connector's default locale setting. */
const MONEY_SCALE = 2;

const STRING: ConnectSchema = { type: 'string' };
const sent: Form = value(asSent);

/** Texts with a semantic name of their own; the column decides what they are. */
const NAMED_TEXTS: Forms = {
  string: sent,
  [JSON_TEXT]: sent,
  'io.debezium.data.Enum': sent,
  'io.debezium.data.Uuid': sent,
  'io.debezium.data.Xml': sent,
  'io.debezium.data.Ltree': sent,
  'io.debezium.data.Tsvector': sent,
};

const DATES: Forms = {
  'io.debezium.time.Date': value(dateText, 'date-calendar'),
  'org.apache.kafka.connect.data.Date': value(dateText, 'date-calendar'),
  'io.debezium.time.IsoDate': value(text(isoDateText), 'date-calendar'),
};

/** What records from before an ALTER TYPE … text may hold. */
const TEXTS: Forms = {
  ...NAMED_TEXTS,
  ...DATES,
  ...integerForms(),
  [DECIMAL]: form(connectDecimal),
  [VARIABLE_SCALE_DECIMAL]: value(variableScaleDecimal),
};

const TEXT = entry(TEXTS, STRING, ({ schema }) => (schema.type === 'string' ? BY_TEXT : ONLY_NULL));
const NAMED_TEXT = entry(NAMED_TEXTS, STRING, BY_TEXT);

function integers(type: 'int16' | 'int32' | 'int64'): TypeEntry {
  return entry({ ...integerForms(), [DECIMAL]: form(connectDecimal) }, { type });
}

function floats(type: 'float' | 'double'): TypeEntry {
  const forms = {
    ...integerForms(),
    float: value(float32Text),
    double: value(floatText),
    [DECIMAL]: form(connectDecimal),
  };
  return entry(forms, { type });
}

/** A float's decimal text, with the zeros that the column would add. */
function decimalOf(toText: ValueDecoder): Form {
  return form(
    ({ type }) =>
      (number, exactness) =>
        padScale(plainDecimal(String(toText(number, exactness))), type.scale),
    'decimal-double',
  );
}

const NUMERIC = entry(
  {
    ...integerForms(),
    float: decimalOf(float32Text),
    double: decimalOf(floatText),
    string: value(decimalString),
    [DECIMAL]: form(connectDecimal, 'numeric-nan'),
    [VARIABLE_SCALE_DECIMAL]: value(variableScaleDecimal, 'numeric-nan', 'numeric-scale'),
  },
  (type, modes) => {
    const { precision, scale = 0 } = type;
    // The connector reads a negative scale as the 11 bits it is stored in.
    const declared = scale < 0 ? scale + 2048 : scale;
    return decimalSchema(modes, precision === undefined ? undefined : declared);
  },
  ({ schema, type }) => {
    if (schema.type === 'string') return BY_TEXT;
    return (type.precision ?? Infinity) <= SHORT_NUMERIC ? ALWAYS_SENT : ONLY_NULL;
  },
);

const MONEY = entry(
  {
    float: decimalOf(float32Text),
    double: decimalOf(floatText),
    string: value(decimalString),
    [DECIMAL]: form(connectDecimal),
    [VARIABLE_SCALE_DECIMAL]: value(variableScaleDecimal),
  },
  (_type, modes) => decimalSchema(modes, MONEY_SCALE),
);

const BYTES = entry(
  { bytes: value(sentBytes), string: form((column) => binaryText(column)) },
  binarySchema,
  ({ schema, modes }) => {
    if (schema.type === 'bytes') return BY_BYTES;
    return modes.binary === 'hex' ? BY_TEXT : BY_TEXT_OR_NULL;
  },
);

/**
 * Types the connector does not know. With include.unknown.datatypes it sends their text as bytes,
 * in the form of the binary mode; otherwise it leaves the column out.
 */
const UNKNOWN = entry(
  {
    bytes: value((bytes) => sentBytes(bytes).toString('utf8')),
    string: form((column) =>
      column.modes.binary === 'bytes'
        ? asSent
        : binaryText(column, (bytes) => bytes.toString('utf8')),
    ),
  },
  binarySchema,
  BYTES.unavailable ?? ONLY_NULL,
);

/** Its bytes, with include.unknown.datatypes, are its text. */
const NAME = entry(
  {
    ...TEXTS,
    string: value(asSent, 'name-null'),
    bytes: value((bytes) => sentBytes(bytes).toString('utf8')),
  },
  STRING,
  BY_TEXT,
);

const BIT = entry(
  {
    boolean: value(booleanDigit),
    [BITS]: form(({ type }) => {
      const { length } = type;
      return length === undefined
        ? refuse(`${type.sql} without length`)
        : (bits) => bitsText(sentBytes(bits), length);
    }),
  },
  (type) => (type.length === 1 ? { type: 'boolean' } : { type: 'bytes', name: BITS }),
  ({ type }) => ((type.length ?? 1) <= SHORT_BITS ? ALWAYS_SENT : ONLY_NULL),
);

const noLength = form(
  ({ type }) => refuse(`${type.sql}: the connector does not send how many bits a value has`),
  'varbit-length',
);
const BIT_VARYING = entry({ boolean: noLength, [BITS]: noLength }, { type: 'bytes', name: BITS });

function clock(name: 'Time' | 'Timestamp'): Expected {
  return (type, modes) =>
    clockSchema(name, type.precision ?? MICROSECONDS, needed(modes.time, 'time'));
}

const TIME = entry(
  temporalForms({
    name: 'Time',
    number: timeText,
    iso: (time) => isoTimeText(time, ''),
    losses: { connect: finerThanMillis('time-connect', MICROSECONDS), iso: 'time-midnight' },
  }),
  clock('Time'),
);

const TIMESTAMP = entry(
  temporalForms({
    name: 'Timestamp',
    number: timestampText,
    iso: (timestamp) => isoTimestampText(timestamp, ''),
    losses: {
      connect: finerThanMillis('time-connect', MICROSECONDS),
      micros: 'timestamp-range',
      nanos: 'timestamp-nanoseconds',
    },
  }),
  clock('Timestamp'),
);

const TIME_ZONED = entry(
  {
    'io.debezium.time.ZonedTime': value(
      text((time) => isoTimeText(time, '+00')),
      'timetz-offset',
    ),
  },
  { type: 'string', name: 'io.debezium.time.ZonedTime' },
  BY_TEXT,
);

const TIMESTAMP_ZONED = entry(
  {
    'io.debezium.time.ZonedTimestamp': value(
      text((timestamp) => isoTimestampText(timestamp, '+00')),
    ),
  },
  { type: 'string', name: 'io.debezium.time.ZonedTimestamp' },
  BY_TEXT,
);

const INTERVAL = entry(
  {
    'io.debezium.time.MicroDuration': value(durationText, 'interval-numeric', 'interval-infinity'),
    'io.debezium.time.Interval': value(text(intervalText), 'interval-infinity'),
  },
  (_type, modes) =>
    needed(modes.interval, 'interval') === 'string'
      ? { type: 'string', name: 'io.debezium.time.Interval' }
      : { type: 'int64', name: 'io.debezium.time.MicroDuration' },
);

const HSTORE = entry(
  { [JSON_TEXT]: value(text(hstoreFromJson)), map: value(hstoreFromMap) },
  (_type, modes) =>
    needed(modes.hstore, 'hstore') === 'json'
      ? { type: 'string', name: JSON_TEXT }
      : { type: 'map' },
  ({ type }) => (type.domainOf === undefined ? BY_HSTORE : BY_HSTORE_DOMAIN),
);

const GEOMETRY = entry(
  {
    'io.debezium.data.geometry.Geometry': value(extendedWkb),
    'io.debezium.data.geometry.Geography': value(extendedWkb),
    'io.debezium.data.geometry.Point': value(extendedWkb),
  },
  { type: 'struct', name: 'io.debezium.data.geometry.Geometry' },
);

const DOUBLE_VECTOR = 'io.debezium.data.DoubleVector';
const VECTOR = entry(
  { [DOUBLE_VECTOR]: value(vectorText), [FLOAT_VECTOR]: value(vectorText) },
  (type) =>
    bareTypeName(type) === 'halfvec'
      ? { type: 'array', name: FLOAT_VECTOR, items: { type: 'float' } }
      : { type: 'array', name: DOUBLE_VECTOR, items: { type: 'double' } },
);

const LONG_SPARSE_VECTOR: FormLoss = {
  id: 'sparsevec-size',
  // One without dimensions may have any.
  applies: ({ sql }) => Number(/\((\d+)\)$/.exec(sql)?.[1] ?? Infinity) > 32_767,
};
const SPARSE_VECTOR = entry(
  {
    'io.debezium.data.SparseDoubleVector': value(sparseVectorText, LONG_SPARSE_VECTOR),
    'io.debezium.data.SparseVector': value(sparseVectorText, LONG_SPARSE_VECTOR),
  },
  { type: 'struct', name: 'io.debezium.data.SparseDoubleVector' },
);

const ARRAY = arrayEntry({
  entryOf: elementEntry,
  isUnknown: (element) => elementEntry(element) === UNKNOWN,
});

const BY_KIND: Readonly<Record<Exclude<TypeKind, 'set' | 'year'>, TypeEntry>> = {
  boolean: entry({ boolean: value(booleanValue) }, { type: 'boolean' }),
  int16: integers('int16'),
  int32: integers('int32'),
  int64: integers('int64'),
  float32: floats('float'),
  float64: floats('double'),
  numeric: NUMERIC,
  money: MONEY,
  text: TEXT,
  char: TEXT,
  bytes: BYTES,
  bits: BIT,
  date: entry(DATES, dateSchema),
  time: TIME,
  timetz: TIME_ZONED,
  timestamp: TIMESTAMP,
  timestamptz: TIMESTAMP_ZONED,
  interval: INTERVAL,
  uuid: NAMED_TEXT,
  json: NAMED_TEXT,
  jsonb: NAMED_TEXT,
  xml: NAMED_TEXT,
  enum: NAMED_TEXT,
  geometry: GEOMETRY,
  vector: VECTOR,
  composite: UNKNOWN,
  range: entry({ string: sent }, STRING, BY_TEXT),
  hstore: HSTORE,
  point: entry(
    { 'io.debezium.data.geometry.Point': value(pointText) },
    {
      type: 'struct',
      name: 'io.debezium.data.geometry.Point',
    },
  ),
  array: ARRAY,
  other: UNKNOWN,
};

/** Types that have no kind of their own, or are not sent as others of their kind. */
const BY_NAME: Readonly<Record<string, TypeEntry>> = {
  oid: entry({ ...TEXTS }, { type: 'int64' }),
  name: NAME,
  'bit varying': BIT_VARYING,
  varbit: BIT_VARYING,
  sparsevec: SPARSE_VECTOR,
  inet: TEXT,
  cidr: TEXT,
  macaddr: TEXT,
  macaddr8: TEXT,
  tsvector: TEXT,
  '"char"': TEXT,
  ltree: TEXT,
  isbn: TEXT,
};

const BUILT_IN_RANGES: ReadonlySet<string> = new Set([
  'int4range',
  'int8range',
  'numrange',
  'tsrange',
  'tstzrange',
  'daterange',
]);

function entryOf(type: ColumnType): TypeEntry {
  const { kind } = type;
  const name = bareTypeName(type);
  if (kind === 'range') return BUILT_IN_RANGES.has(name) ? BY_KIND.range : UNKNOWN;
  if (kind === 'set' || kind === 'year') return UNKNOWN;
  const special = kind === 'array' || kind === 'composite' || kind === 'enum' ? undefined : name;
  return special !== undefined && Object.hasOwn(BY_NAME, special)
    ? (BY_NAME[special] ?? UNKNOWN)
    : BY_KIND[kind];
}

/** Kinds of extensions and of users, whose names have a schema without being domains. */
const WITH_SCHEMA: ReadonlySet<TypeKind> = new Set<TypeKind>([
  ...(['enum', 'composite', 'range', 'hstore', 'other', 'geometry', 'vector'] as const),
]);

/** An array's element that is a domain: unlike a column of one, the connector knows none. */
function isDomain(element: ColumnType): boolean {
  if (WITH_SCHEMA.has(element.kind)) return false;
  return element.sql.includes('.') && bareTypeName(element) !== 'citext';
}

function elementEntry(element: ColumnType): TypeEntry {
  return isDomain(element) ? UNKNOWN : entryOf(element);
}

/** Elements whose arrays the connector never sends, whatever its settings. */
const UNSENT_ELEMENTS: ReadonlySet<TypeKind> = new Set<TypeKind>([
  ...(['money', 'interval', 'xml', 'point'] as const),
]);

function sending(type: ColumnType): Sending {
  const { element } = type;
  if (element === undefined) return entryOf(type) === UNKNOWN ? 'opt-in' : 'always';
  if (bareTypeName(element) === 'refcursor') return 'never';
  const entryOfElement = elementEntry(element);
  if (entryOfElement === UNKNOWN) return 'opt-in';
  const unsent = entryOfElement === NAME || entryOfElement === BIT_VARYING;
  return unsent || UNSENT_ELEMENTS.has(element.kind) ? 'never' : 'always';
}

export const POSTGRESQL: TypeTable = {
  entries: { ...BY_KIND, ...BY_NAME },
  entryOf,
  elementOf: elementEntry,
  sending,
};
