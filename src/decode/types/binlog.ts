/**
 * How the types of MySQL and MariaDB arrive: one entry a type. Their connectors share a converter,
 * so they share the entries; where they differ, a connector simply never sends the other's form.
 *
 * The schema of a table may come from SHOW CREATE TABLE or from the DDL in the binlog, which the
 * connector reads otherwise: a column then has another form although it is the same column. The
 * shadow's catalogue, not the form, says what the column is.
 */
import type { ColumnType, TypeKind } from '../../schema/table-schema.ts';
import type { ConnectSchema } from '../envelope/connect-schema.ts';
import { float32Text, floatText, integerText } from '../envelope/exact-number.ts';
import { unreadable } from '../problem.ts';
import { bitsText, sentBytes } from './binary.ts';
import {
  binlogDateText,
  binlogIsoDateText,
  binlogIsoTimestampText,
  binlogTimestampText,
  binlogTimeText,
  yearText,
} from './binlog-temporal.ts';
import { isoTimeText } from './calendar.ts';
import { CHARSET_LOSSES, textDecoder } from './charsets.ts';
import {
  asSent,
  binarySchema,
  binaryText,
  BITS,
  booleanDigit,
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
} from './forms.ts';
import { padScale, plainDecimal } from './numeric.ts';
import {
  form,
  value,
  type Form,
  type FormLoss,
  type Forms,
  type Sent,
  type TypeEntry,
  type TypeTable,
  type ValueDecoder,
} from './type-table.ts';
import { internalGeometry, vectorBytes } from './vectors.ts';

function entry(
  forms: Forms,
  expected: ConnectSchema | TypeEntry['expected'],
  ...untold: readonly FormLoss[]
): TypeEntry {
  return {
    forms,
    untold,
    expected: typeof expected === 'function' ? expected : () => expected,
    unavailable: null,
  };
}

const STRING: ConnectSchema = { type: 'string' };
const sent: Form = value(asSent);
const decimal = form(connectDecimal);

const INTEGER_BITS: Readonly<Record<string, number>> = { tiny: 8, small: 16, medium: 24, big: 64 };

/** Bits that an integer column stores. */
function integerBits(type: ColumnType): number {
  const word = /^(tiny|small|medium|big)int/i.exec(type.sql)?.[1]?.toLowerCase() ?? '';
  return INTEGER_BITS[word] ?? 32;
}

/**
 * An integer of the column's width. A column that is unsigned but was taken for a signed one, or
 * sent in 64 bits that do not hold it, arrives negative: its two's complement is the value.
 */
function integerDecoder({ type }: Sent): ValueDecoder {
  if (type.unsigned !== true) return integerOf;
  const bits = integerBits(type);
  const least = -(2n ** BigInt(bits - 1));
  return (number) => {
    const digits = integerOf(number);
    if (!digits.startsWith('-')) return digits;
    if (BigInt(digits) < least) throw unreadable('a negative number that is no wrapped one');
    return String(BigInt.asUintN(bits, BigInt(digits)));
  };
}

/** A boolean has its own form where a schema tells; without one, no mode says that there are any. */
function integerOf(number: unknown): string {
  if (typeof number !== 'boolean') return integerText(number);
  throw unreadable(
    'a boolean where the catalogue has an integer: a converter made it, or the connector read BOOL ' +
      'in the binlog’s DDL; set value.converter.schemas.enable=true, which tells',
  );
}

function integers(narrow: 'int16' | 'int32' | 'int64'): TypeEntry {
  return entry(
    {
      ...integerForms(integerDecoder),
      boolean: value(booleanDigit, 'boolean-integer'),
      [DECIMAL]: decimal,
    },
    (type, modes) => {
      const bits = integerBits(type);
      if (type.unsigned !== true) return { type: narrow };
      if (bits === 64) {
        return needed(modes.bigintUnsigned, 'bigintUnsigned') === 'precise'
          ? { type: 'bytes', name: DECIMAL, parameters: { scale: '0' } }
          : { type: 'int64' };
      }
      // The next wider type, except for TINYINT, whose signed form is that wide already.
      return { type: bits === 8 ? 'int16' : bits === 32 ? 'int64' : 'int32' };
    },
  );
}

/** A float's decimal text, with the zeros that the column would add. */
function decimalOf(toText: (number: unknown) => string): Form {
  return form(
    ({ type }) =>
      (number) =>
        padScale(plainDecimal(toText(number)), type.scale ?? 0),
    'decimal-double',
  );
}

const NUMERIC = entry(
  {
    ...integerForms(),
    float: decimalOf(float32Text),
    double: decimalOf(floatText),
    string: value(decimalString),
    [DECIMAL]: decimal,
  },
  (type, modes) => decimalSchema(modes, type.scale ?? 0),
);

/** FLOAT(m,d), which is sent as a double; any other FLOAT that is, is a FLOAT4 of the binlog. */
function hasDigits(type: ColumnType): boolean {
  return /^float\s*\(\s*\d+\s*,/i.test(type.sql);
}

const FLOAT4 =
  'the connector read FLOAT4 in the binlog’s DDL and cannot convert it; ' +
  'ALTER TABLE … MODIFY … FLOAT in production, then write the rows again';

const FLOAT = entry(
  {
    ...integerForms(),
    float: {
      ...value(float32Text, 'float-snapshot'),
      // Without schema this is also how FLOAT4 comes.
      lostNull: ({ nullable, type }) =>
        nullable ? null : `NULL in a ${type.sql} that takes none: ${FLOAT4}`,
    },
    double: {
      ...value(
        float32Text,
        { id: 'float4-null', applies: (type) => !hasDigits(type) },
        { id: 'float-snapshot', applies: hasDigits },
      ),
      lostNull: ({ type }) =>
        hasDigits(type) ? null : `every value of this ${type.sql} arrives as NULL: ${FLOAT4}`,
    },
  },
  (type) => ({ type: hasDigits(type) ? 'double' : 'float' }),
  { id: 'float4-untold', applies: (type) => !hasDigits(type) },
);

const DOUBLE = entry(
  {
    ...integerForms(),
    double: value(floatText),
    // The digits that were left, not the longer ones of the float that they were cut to.
    float: value(float32Text, 'real-as-float'),
  },
  { type: 'double' },
  { id: 'real-as-float-untold', applies: () => true },
);

const BIT = entry(
  {
    boolean: value(booleanDigit),
    [BITS]: form(({ type }) => {
      const { length = 1 } = type;
      return (bits) => bitsText(sentBytes(bits), length);
    }),
  },
  (type) => (type.length === 1 ? { type: 'boolean' } : { type: 'bytes', name: BITS }),
);

const TEXTS: Forms = {
  string: form(textDecoder, ...CHARSET_LOSSES),
  [JSON_TEXT]: sent,
  'io.debezium.data.Enum': sent,
  'io.debezium.data.EnumSet': sent,
  'io.debezium.data.Uuid': sent,
  ...integerForms(),
  [DECIMAL]: decimal,
};

/** The length of a type that is padded to it: BINARY(n). */
function paddedLength(type: ColumnType): number {
  return /^binary\b/i.test(type.sql) ? (type.length ?? 1) : 0;
}

function padder(type: ColumnType): (bytes: Buffer) => Buffer {
  const length = paddedLength(type);
  return (bytes) => {
    if (bytes.length >= length) return bytes;
    const padded = Buffer.alloc(length);
    bytes.copy(padded);
    return padded;
  };
}

/** What column.propagate.source.type says of a CHAR that holds bytes. */
const SOURCE_TYPE = '__debezium.source.column.type';

/**
 * Bytes as text. Where the connector read CHAR … CHARACTER SET binary in the binlog's DDL, the text
 * is that of the CHAR and not of the binary mode; the propagated source type tells, or that the mode
 * sends no bytes as text.
 */
function bytesAsText(column: Sent): ValueDecoder {
  const { schema, type, modes } = column;
  const pad = padder(type);
  const source = schema.parameters?.[SOURCE_TYPE];
  const isChar =
    paddedLength(type) > 0 &&
    (source === undefined ? modes.binary === 'bytes' : /^(national )?char/i.test(source));
  if (!isChar) return binaryText(column, pad);
  return text((chars) => {
    const bytes = Buffer.from(chars, 'utf8');
    if (bytes.length !== chars.length) throw unreadable('bytes that were sent as text');
    return pad(bytes);
  });
}

const BYTES = entry(
  {
    bytes: form(({ type }) => {
      const pad = padder(type);
      return (bytes) => pad(sentBytes(bytes));
    }),
    string: form(bytesAsText, { id: 'char-binary', applies: (type) => paddedLength(type) > 0 }),
  },
  binarySchema,
  { id: 'char-binary-untold', applies: (type) => paddedLength(type) > 0 },
);

/** Calendar dates; the modes with texts have the same traps. */
const DATES: Forms = {
  'io.debezium.time.Date': value(binlogDateText, 'zero-date', 'time-adjuster'),
  'org.apache.kafka.connect.data.Date': value(binlogDateText, 'zero-date', 'time-adjuster'),
  'io.debezium.time.IsoDate': value(text(binlogIsoDateText), 'zero-date', 'time-adjuster'),
};

function clock(name: 'Time' | 'Timestamp'): TypeEntry['expected'] {
  return (type, modes) => {
    const mode = needed(modes.time, 'time');
    // The connector has no other TIME than microseconds in its adaptive mode.
    const micros = name === 'Time' && mode === 'adaptive';
    return clockSchema(name, type.precision ?? 0, micros ? 'microseconds' : mode);
  };
}

const TIME_FORMS = temporalForms({
  name: 'Time',
  number: binlogTimeText,
  iso: (time) => isoTimeText(time, ''),
  losses: { connect: finerThanMillis('time-connect', 0), iso: 'time-midnight' },
});

/** The forms that know times of a day only. */
const OF_A_DAY = ['org.apache.kafka.connect.data.Time', 'io.debezium.time.IsoTime'];

const TIME = entry(
  Object.fromEntries(
    Object.entries(TIME_FORMS).map(([name, { decoder, losses }]) => [
      name,
      OF_A_DAY.includes(name)
        ? form(decoder, ...losses, 'time-beyond-day')
        : form(decoder, ...losses),
    ]),
  ),
  clock('Time'),
);

const DATETIME_FORMS = temporalForms({
  name: 'Timestamp',
  number: binlogTimestampText,
  iso: (timestamp) => binlogIsoTimestampText(timestamp, ''),
  losses: {
    connect: finerThanMillis('time-connect', 0),
    nanos: 'timestamp-nanoseconds',
    any: 'datetime-calendar',
  },
});

const DATETIME = entry(
  Object.fromEntries(
    Object.entries(DATETIME_FORMS).map(([name, { decoder, losses }]) => [
      name,
      form(decoder, ...losses, 'zero-date', 'time-adjuster'),
    ]),
  ),
  clock('Timestamp'),
);

/** No TIMESTAMP is that early: it is what the connector makes of a zero one. */
const EPOCH = '1970-01-01 00:00:00+00';
const ZERO = '0000-00-00 00:00:00+00';

const zonedTimestamp = text((sentText) => {
  const timestamp = binlogIsoTimestampText(sentText, '+00');
  return timestamp === EPOCH ? ZERO : timestamp;
});

const TIMESTAMP = entry(
  { 'io.debezium.time.ZonedTimestamp': value(zonedTimestamp, 'zero-date') },
  { type: 'string', name: 'io.debezium.time.ZonedTimestamp' },
);

/**
 * The label. The stream escapes a comma in it by a backslash, the snapshot does not; the column's
 * labels tell which of both it is. An empty text is the value of an invalid label.
 */
function enumDecoder({ type }: Sent): ValueDecoder {
  const labels: ReadonlySet<string> = new Set(type.labels);
  return text((label) => {
    if (!label.includes(String.raw`\,`)) return label;
    const plain = label.replaceAll(String.raw`\,`, ',');
    if (!labels.has(plain)) return label;
    if (labels.has(label)) throw unreadable('two labels differ only in how a comma is written');
    return plain;
  });
}

const ENUM = form(enumDecoder);

const GEOMETRY = entry(
  {
    'io.debezium.data.geometry.Geometry': value(internalGeometry),
    'io.debezium.data.geometry.Point': value(internalGeometry),
  },
  { type: 'struct', name: 'io.debezium.data.geometry.Geometry' },
);

/** Kinds that the catalogues of these databases may give a column: each has its entry below. */
export type BinlogKind = Exclude<
  TypeKind,
  | 'boolean'
  | 'money'
  | 'timetz'
  | 'interval'
  | 'jsonb'
  | 'xml'
  | 'composite'
  | 'range'
  | 'hstore'
  | 'point'
  | 'array'
>;

const BY_KIND: Readonly<Record<BinlogKind, TypeEntry>> = {
  int16: integers('int16'),
  int32: integers('int32'),
  int64: integers('int64'),
  float32: FLOAT,
  float64: DOUBLE,
  numeric: NUMERIC,
  bits: BIT,
  text: entry(TEXTS, STRING),
  char: entry(TEXTS, STRING),
  bytes: BYTES,
  date: entry(DATES, dateSchema),
  time: TIME,
  timestamp: DATETIME,
  timestamptz: TIMESTAMP,
  year: entry(
    { 'io.debezium.time.Year': value(yearText, 'year-zero') },
    {
      type: 'int32',
      name: 'io.debezium.time.Year',
    },
  ),
  enum: entry({ 'io.debezium.data.Enum': ENUM, string: ENUM }, STRING),
  set: entry({ 'io.debezium.data.EnumSet': sent, string: sent }, STRING),
  json: entry(
    { [JSON_TEXT]: value(asSent, 'json-rewritten'), string: value(asSent, 'json-rewritten') },
    STRING,
  ),
  geometry: GEOMETRY,
  vector: entry(
    { [FLOAT_VECTOR]: value(vectorBytes) },
    {
      type: 'array',
      name: FLOAT_VECTOR,
      items: { type: 'float' },
    },
  ),
  uuid: entry({ 'io.debezium.data.Uuid': sent, string: sent }, STRING),
  other: entry({ string: sent }, STRING),
};

/** For kinds that these engines do not have. */
const NONE: TypeEntry = {
  forms: {},
  expected: ({ sql }) => {
    throw unreadable(`${sql} is no type of this database`);
  },
  unavailable: null,
};

function entryOf({ kind }: ColumnType): TypeEntry {
  return Object.hasOwn(BY_KIND, kind) ? BY_KIND[kind as BinlogKind] : NONE;
}

export const BINLOG: TypeTable = {
  entries: BY_KIND,
  entryOf,
  elementOf: entryOf,
  sending: () => 'always',
};
