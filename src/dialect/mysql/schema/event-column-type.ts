/**
 * From the types of Debezium's records to the column types of MySQL and MariaDB. Where the
 * connector propagates the source column's type, that is taken; else the narrowest type that
 * surely holds every value.
 */
import type { EventColumn } from '../../../schema/event-schema.ts';

export interface EventColumnContext {
  readonly mariadb: boolean;
  /** Part of a key: only types of bounded length can be. */
  readonly key: boolean;
}

/** Text compared byte by byte: no two values that production tells apart become one. */
const EXACT = 'CHARACTER SET utf8mb4 COLLATE utf8mb4_bin';
/** The longest an index of utf8mb4 takes whole. */
const KEY_TEXT = `varchar(768) ${EXACT}`;
const KEY_BYTES = 'varbinary(3072)';

const SOURCE_TYPE = '__debezium.source.column.type';
const SOURCE_LENGTH = '__debezium.source.column.length';
const SOURCE_SCALE = '__debezium.source.column.scale';

/** Types that take what Debezium calls a length in parentheses. */
const WITH_LENGTH =
  /^(CHAR|VARCHAR|BINARY|VARBINARY|BIT|TIME|DATETIME|TIMESTAMP|VECTOR|DECIMAL|NUMERIC)\b/;
/** Types whose definition the record carries in whole, or that need none. */
const BARE =
  /^(TINYINT|SMALLINT|MEDIUMINT|INT|INTEGER|BIGINT|FLOAT|DOUBLE|REAL|DATE|YEAR|JSON|UUID|GEOMETRY|POINT|LINESTRING|POLYGON|MULTIPOINT|MULTILINESTRING|MULTIPOLYGON|GEOMETRYCOLLECTION|TINYTEXT|TEXT|MEDIUMTEXT|LONGTEXT|TINYBLOB|BLOB|MEDIUMBLOB|LONGBLOB)\b/;

/** Null if there is no type that surely holds the values. */
export function eventColumnType(column: EventColumn, context: EventColumnContext): string | null {
  return propagated(column, context) ?? fromConnect(column, context);
}

function propagated(column: EventColumn, { mariadb }: EventColumnContext): string | null {
  const source = column.parameters[SOURCE_TYPE]?.toUpperCase();
  if (source === undefined) return null;
  if (source.startsWith('ENUM') || source.startsWith('SET')) return null;
  const name = source.replace(/\s*\([^)]*\)/, '');
  const length = column.parameters[SOURCE_LENGTH];
  const scale = column.parameters[SOURCE_SCALE];
  // MariaDB's JSON is a text with a check.
  const bare = name === 'JSON' && mariadb ? 'LONGTEXT' : name;
  const text = /(CHAR|TEXT)\b/.test(bare) ? ` ${EXACT}` : '';
  if (WITH_LENGTH.test(bare) && length !== undefined) {
    const [first = bare, ...rest] = bare.split(' ');
    const numbers = scale === undefined ? length : `${length},${scale}`;
    return [`${first}(${numbers})`, ...rest].join(' ').toLowerCase() + text;
  }
  return BARE.test(bare) ? bare.toLowerCase() + text : null;
}

/** Without a semantic name. */
const PLAIN: Readonly<Record<string, string>> = {
  boolean: 'tinyint(1)',
  int8: 'smallint',
  int16: 'smallint',
  int32: 'int',
  int64: 'bigint',
  float: 'float',
  float32: 'float',
  double: 'double',
  float64: 'double',
};

/** By semantic name, where no parameter matters. */
const NAMED: Readonly<Record<string, string>> = {
  'io.debezium.time.Date': 'date',
  'io.debezium.time.IsoDate': 'date',
  'org.apache.kafka.connect.data.Date': 'date',
  'io.debezium.time.Time': 'time(3)',
  'io.debezium.time.MicroTime': 'time(6)',
  'io.debezium.time.NanoTime': 'time(6)',
  'io.debezium.time.IsoTime': 'time(6)',
  'org.apache.kafka.connect.data.Time': 'time(3)',
  'io.debezium.time.Timestamp': 'datetime(3)',
  'io.debezium.time.MicroTimestamp': 'datetime(6)',
  'io.debezium.time.NanoTimestamp': 'datetime(6)',
  'io.debezium.time.IsoTimestamp': 'datetime(6)',
  'org.apache.kafka.connect.data.Timestamp': 'datetime(3)',
  'io.debezium.time.ZonedTimestamp': 'timestamp(6)',
  'io.debezium.time.Year': 'year',
};

function fromConnect(column: EventColumn, { mariadb, key }: EventColumnContext): string | null {
  const { connectType, semanticName, parameters } = column;
  switch (semanticName) {
    case null:
      break;
    case 'org.apache.kafka.connect.data.Decimal': {
      const scale = parameters['scale'] ?? '0';
      return `decimal(${parameters['connect.decimal.precision'] ?? '65'},${scale})`;
    }
    case 'io.debezium.data.Bits':
      return parameters['length'] === undefined ? null : `bit(${parameters['length']})`;
    case 'io.debezium.data.Json':
      return mariadb ? `longtext ${EXACT}` : 'json';
    case 'io.debezium.data.Uuid':
      return mariadb ? 'uuid' : `char(36) ${EXACT}`;
    // `allowed` may be older than the values, so it binds nothing.
    case 'io.debezium.data.Enum':
    case 'io.debezium.data.EnumSet':
      return key ? KEY_TEXT : `longtext ${EXACT}`;
    case 'io.debezium.data.geometry.Geometry':
    case 'io.debezium.data.geometry.Point':
      return 'geometry';
    case 'io.debezium.data.FloatVector':
      return mariadb ? null : 'vector(16383)';
    default:
      return NAMED[semanticName] ?? null;
  }
  if (connectType === 'string') return key ? KEY_TEXT : `longtext ${EXACT}`;
  if (connectType === 'bytes') return key ? KEY_BYTES : 'longblob';
  return PLAIN[connectType] ?? null;
}
