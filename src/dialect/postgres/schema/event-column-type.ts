/**
 * From the types of Debezium's records to PostgreSQL's column types. Sources: Debezium 3.6
 * reference, "Data type mappings" of the PostgreSQL, MySQL and MariaDB connectors, and records
 * of these connectors. Where one record type stands for several column types (`json` and `jsonb`,
 * `bit` and `bit varying`), the one that keeps every value as it is wins.
 */
import type { EventType } from '../../../schema/event-schema.ts';

type Column = Pick<EventType, 'connectType' | 'semanticName' | 'parameters' | 'element'>;

/** Without a semantic name. */
const PLAIN: Readonly<Record<string, string>> = {
  boolean: 'boolean',
  int8: 'smallint',
  int16: 'smallint',
  int32: 'integer',
  int64: 'bigint',
  float: 'real',
  float32: 'real',
  double: 'double precision',
  float64: 'double precision',
  string: 'text',
  bytes: 'bytea',
  map: 'public.hstore',
};

/** By semantic name, where no parameter matters. */
const NAMED: Readonly<Record<string, string>> = {
  'io.debezium.data.Json': 'json',
  'io.debezium.data.Xml': 'xml',
  'io.debezium.data.Uuid': 'uuid',
  'io.debezium.data.Ltree': 'text',
  'io.debezium.data.Tsvector': 'tsvector',
  // `allowed` may be older than the values, so it binds nothing.
  'io.debezium.data.Enum': 'text',
  'io.debezium.data.EnumSet': 'text',
  'io.debezium.data.VariableScaleDecimal': 'numeric',
  'io.debezium.data.FloatVector': 'real[]',
  'io.debezium.data.DoubleVector': 'double precision[]',
  'io.debezium.data.geometry.Point': 'point',
  'io.debezium.time.Date': 'date',
  'io.debezium.time.IsoDate': 'date',
  'org.apache.kafka.connect.data.Date': 'date',
  'io.debezium.time.Time': 'time(3)',
  'io.debezium.time.MicroTime': 'time',
  'io.debezium.time.NanoTime': 'time',
  'io.debezium.time.IsoTime': 'time',
  'org.apache.kafka.connect.data.Time': 'time',
  'io.debezium.time.ZonedTime': 'timetz',
  'io.debezium.time.Timestamp': 'timestamp(3)',
  'io.debezium.time.MicroTimestamp': 'timestamp',
  'io.debezium.time.NanoTimestamp': 'timestamp',
  'io.debezium.time.IsoTimestamp': 'timestamp',
  'org.apache.kafka.connect.data.Timestamp': 'timestamp',
  'io.debezium.time.ZonedTimestamp': 'timestamptz',
  'io.debezium.time.Interval': 'interval',
  'io.debezium.time.MicroDuration': 'interval',
  'io.debezium.time.NanoDuration': 'interval',
  'io.debezium.time.Year': 'integer',
};

/** MySQL's and MariaDB's TIME is a duration of up to 838 hours, of either sign. */
const BINLOG_TIMES = new Set([
  'io.debezium.time.Time',
  'io.debezium.time.MicroTime',
  'io.debezium.time.NanoTime',
  'io.debezium.time.IsoTime',
  'org.apache.kafka.connect.data.Time',
]);
const BINLOG_SOURCE = /^io\.debezium\.connector\.(mysql|mariadb)\./;
const POSTGRES_SOURCE = 'io.debezium.connector.postgresql.';

/** Propagated PostgreSQL types that tell more than the record's type, and need no length. */
const PROPAGATED = new Set([
  ...['JSON', 'JSONB', 'XML', 'UUID', 'INET', 'CIDR', 'MACADDR', 'MACADDR8', 'MONEY', 'OID'],
  ...['NAME', 'BYTEA', 'TSVECTOR', 'INT4RANGE', 'INT8RANGE', 'NUMRANGE', 'TSRANGE', 'TSTZRANGE'],
  ...['DATERANGE', 'DATE', 'BOOL', 'INT2', 'INT4', 'INT8', 'FLOAT4', 'FLOAT8', 'TEXT', 'POINT'],
  ...['INTERVAL'],
]);

/** Propagated types whose length or scale belongs to the type. */
const WITH_LENGTH: Readonly<Record<string, string>> = {
  VARCHAR: 'varchar',
  BPCHAR: 'bpchar',
  BIT: 'bit',
  VARBIT: 'varbit',
};
const WITH_SCALE: Readonly<Record<string, string>> = {
  TIME: 'time',
  TIMETZ: 'timetz',
  TIMESTAMP: 'timestamp',
  TIMESTAMPTZ: 'timestamptz',
};

const UNLIMITED = 2_147_483_647;

/**
 * The column type in DDL; null if no type is known to hold these values. `sourceName` is the name
 * of the envelope's source block.
 */
export function eventColumnType(column: Column, sourceName: string | null): string | null {
  const binlog = sourceName !== null && BINLOG_SOURCE.test(sourceName);
  if (sourceName?.startsWith(POSTGRES_SOURCE) === true) {
    const propagated = propagatedType(column);
    if (propagated !== null) return propagated;
  }
  if (column.connectType === 'array' && column.semanticName === null) {
    const element = column.element === null ? null : typeOf(column.element, binlog);
    return element === null || element.endsWith('[]') ? null : `${element}[]`;
  }
  return typeOf(column, binlog);
}

function typeOf(column: Column, binlog: boolean): string | null {
  const name = column.semanticName;
  if (name === null) return PLAIN[column.connectType] ?? null;
  if (name === 'org.apache.kafka.connect.data.Decimal') {
    const { scale, 'connect.decimal.precision': precision } = column.parameters;
    return numericType(precision, scale);
  }
  if (name === 'io.debezium.data.Bits') {
    const length = wholeNumber(column.parameters['length']);
    if (length === null || length === UNLIMITED) return 'bit varying';
    return binlog ? `bit(${length})` : `bit varying(${length})`;
  }
  if (binlog && BINLOG_TIMES.has(name)) return 'interval';
  // MySQL's points and other geometries carry a reference system, which `point` cannot hold.
  if (binlog && name.startsWith('io.debezium.data.geometry.')) return null;
  return NAMED[name] ?? null;
}

/** From `column.propagate.source.type`; null where it is not set or says no more. */
function propagatedType(column: Column): string | null {
  const full = column.parameters['__debezium.source.column.type'];
  if (full === undefined) return null;
  const array = full.startsWith('_');
  const type = array ? full.slice(1) : full;
  // Arrays of bits arrive as bytes that are always null.
  if (array !== (column.connectType === 'array')) return null;
  const length = column.parameters['__debezium.source.column.length'];
  const scale = column.parameters['__debezium.source.column.scale'];
  const base = baseType(type, length, scale);
  return base === null || !array ? base : `${base}[]`;
}

function baseType(
  type: string,
  length: string | undefined,
  scale: string | undefined,
): string | null {
  if (PROPAGATED.has(type)) return type.toLowerCase();
  if (type === 'NUMERIC') {
    // Length 0 or 131089 stands for a numeric without limits.
    return length === undefined || length === '0' || length === '131089'
      ? 'numeric'
      : numericType(length, scale);
  }
  const withLength = WITH_LENGTH[type];
  if (withLength !== undefined) {
    const limit = wholeNumber(length);
    return limit === null || limit === UNLIMITED ? withLength : `${withLength}(${limit})`;
  }
  const withScale = WITH_SCALE[type];
  const digits = wholeNumber(scale);
  if (withScale === undefined) return null;
  return digits === null || digits > 6 ? withScale : `${withScale}(${digits})`;
}

/** A negative scale arrives in eleven bits: -2 as 2046. */
function numericType(precision: string | undefined, scale: string | undefined): string {
  const digits = wholeNumber(precision);
  const raw = wholeNumber(scale);
  if (digits === null || raw === null || digits < 1 || digits > 1000) return 'numeric';
  return `numeric(${digits},${raw > 1000 ? raw - 2048 : raw})`;
}

function wholeNumber(text: string | undefined): number | null {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : null;
}
