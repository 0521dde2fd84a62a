/**
 * The Connect schema that a connector with the declared modes gives to a column of the catalogue:
 * what records without schema leave out.
 */
import type { ColumnType } from '../schema/table-schema.ts';
import { unreachable } from '../util/assert.ts';
import { bareTypeName, isOpaque } from './column.ts';
import type { ConnectSchema } from './envelope/connect-schema.ts';
import type { ConnectorModes, TimeMode } from './modes.ts';
import { unreadable } from './problem.ts';

/** Throws a Problem where a mode is needed that is not declared. */
export function expectedSchema(type: ColumnType, modes: ConnectorModes): ConnectSchema {
  switch (type.kind) {
    case 'boolean':
      return { type: 'boolean' };
    case 'int16':
    case 'int32':
    case 'int64':
      return { type: type.kind };
    case 'float32':
      return { type: 'float' };
    case 'float64':
      return { type: 'double' };
    case 'numeric':
    case 'money':
      return decimalSchema(type, modes);
    case 'bytes':
      return { type: needed(modes.binary, 'binary') === 'bytes' ? 'bytes' : 'string' };
    case 'bits':
      return type.length === 1
        ? { type: 'boolean' }
        : { type: 'bytes', name: 'io.debezium.data.Bits' };
    case 'date':
      return needed(modes.time, 'time') === 'isostring'
        ? { type: 'string', name: 'io.debezium.time.IsoDate' }
        : { type: 'int32', name: 'io.debezium.time.Date' };
    case 'time':
      return clockSchema(type, needed(modes.time, 'time'), 'Time');
    case 'timestamp':
      return clockSchema(type, needed(modes.time, 'time'), 'Timestamp');
    case 'timetz':
      return { type: 'string', name: 'io.debezium.time.ZonedTime' };
    case 'timestamptz':
      return { type: 'string', name: 'io.debezium.time.ZonedTimestamp' };
    case 'interval':
      return needed(modes.interval, 'interval') === 'string'
        ? { type: 'string', name: 'io.debezium.time.Interval' }
        : { type: 'int64', name: 'io.debezium.time.MicroDuration' };
    case 'hstore':
      return needed(modes.hstore, 'hstore') === 'json'
        ? { type: 'string', name: 'io.debezium.data.Json' }
        : { type: 'map' };
    case 'point':
      return { type: 'struct', name: 'io.debezium.data.geometry.Point' };
    case 'array':
      return type.element === undefined
        ? { type: 'array' }
        : { type: 'array', items: expectedSchema(type.element, modes) };
    case 'char':
    case 'uuid':
    case 'json':
    case 'jsonb':
    case 'xml':
    case 'enum':
    case 'set':
      return { type: 'string' };
    case 'year':
      return { type: 'int32', name: 'io.debezium.time.Year' };
    case 'geometry':
      return { type: 'struct', name: 'io.debezium.data.geometry.Geometry' };
    case 'vector':
      return { type: 'array', name: 'io.debezium.data.FloatVector', items: { type: 'float' } };
    case 'text':
    case 'range':
    case 'composite':
    case 'other':
      if (bareTypeName(type) === 'oid') return { type: 'int64' };
      return isOpaque(type) ? unknownDatatype(modes) : { type: 'string' };
    default:
      return unreachable(type.kind);
  }
}

function needed<Mode>(mode: Mode | undefined, name: keyof ConnectorModes): Mode {
  if (mode !== undefined) return mode;
  throw unreadable(
    `a record without schema: declare the connector's ${name} mode in source.modes.${name}`,
  );
}

/** Money's fraction digits in the connector's default locale setting. */
const MONEY_SCALE = 2;

function decimalSchema(type: ColumnType, modes: ConnectorModes): ConnectSchema {
  const mode = needed(modes.decimal, 'decimal');
  switch (mode) {
    case 'double':
      return { type: 'double' };
    case 'string':
      return { type: 'string' };
    case 'precise': {
      if (type.kind === 'numeric' && type.precision === undefined) {
        return { type: 'struct', name: 'io.debezium.data.VariableScaleDecimal' };
      }
      const declared = type.kind === 'money' ? MONEY_SCALE : (type.scale ?? 0);
      // The connector reads a negative scale as the 11 bits it is stored in.
      const scale = declared < 0 ? declared + 2048 : declared;
      return {
        type: 'bytes',
        name: 'org.apache.kafka.connect.data.Decimal',
        parameters: { scale: String(scale) },
      };
    }
    default:
      return unreachable(mode);
  }
}

/** Precision up to which the adaptive modes count in milliseconds. */
const MILLISECONDS = 3;

function clockSchema(type: ColumnType, mode: TimeMode, name: 'Time' | 'Timestamp'): ConnectSchema {
  const coarse = (type.precision ?? 6) <= MILLISECONDS;
  const millis: ConnectSchema = {
    type: name === 'Time' ? 'int32' : 'int64',
    name: `io.debezium.time.${name}`,
  };
  const micros: ConnectSchema = { type: 'int64', name: `io.debezium.time.Micro${name}` };
  switch (mode) {
    case 'adaptive':
      return coarse ? millis : micros;
    case 'adaptive_time_microseconds':
      return coarse && name === 'Timestamp' ? millis : micros;
    case 'connect':
      return { type: millis.type, name: `org.apache.kafka.connect.data.${name}` };
    case 'isostring':
      return { type: 'string', name: `io.debezium.time.Iso${name}` };
    case 'microseconds':
      return micros;
    case 'nanoseconds':
      return { type: 'int64', name: `io.debezium.time.Nano${name}` };
    default:
      return unreachable(mode);
  }
}

/** include.unknown.datatypes: the value's text as bytes, in the form of the binary mode. */
function unknownDatatype(modes: ConnectorModes): ConnectSchema {
  return { type: needed(modes.binary, 'binary') === 'bytes' ? 'bytes' : 'string' };
}
