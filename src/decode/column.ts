/**
 * One column's decoder, made once per record schema from the field's Connect schema and the
 * shadow's column type. Every pair has one exact inverse or is TYPE_UNKNOWN; nothing is decided
 * by how a value looks.
 */
import type { KnownValue } from '../change/value.ts';
import type { ColumnType, TypeKind } from '../schema/table-schema.ts';
import type { ConnectSchema } from './envelope/connect-schema.ts';
import {
  decimalText,
  ExactNumber,
  float32Text,
  floatText,
  integerText,
  isObject,
  jsonType,
  type Exactness,
} from './envelope/exact-number.ts';
import type { ConnectorModes } from './modes.ts';
import { unknownType, unreadable } from './problem.ts';
import { bitsText, bytesFromText, sentBytes } from './types/binary.ts';
import { decimalFromBytes, decimalFromText, plainDecimal } from './types/numeric.ts';
import { hstoreFromJson, hstoreFromMap, pointText } from './types/structured.ts';
import {
  dateText,
  durationText,
  intervalText,
  isoDateText,
  isoTimestampText,
  isoTimeText,
  timestampText,
  timeText,
} from './types/temporal.ts';

/** Decodes a value that is not null. Throws a Problem, or NeedExact. */
export type ValueDecoder = (value: unknown, exactness: Exactness) => KnownValue;

const INTEGERS: readonly TypeKind[] = ['int16', 'int32', 'int64'];
const FLOATS: readonly TypeKind[] = ['float32', 'float64'];
const DECIMALS: readonly TypeKind[] = ['numeric', 'money'];
const TEXTS: readonly TypeKind[] = ['text', 'char', 'other'];
const NAMED_TEXTS: readonly TypeKind[] = [...TEXTS, 'uuid', 'json', 'jsonb', 'xml', 'enum'];
const PLAIN_TEXTS: readonly TypeKind[] = [...NAMED_TEXTS, 'range'];

/** Types without a kind of their own that the connector sends as their text, in every mode. */
const TEXT_TYPES: ReadonlySet<string> = new Set([
  'inet',
  'cidr',
  'macaddr',
  'macaddr8',
  'tsvector',
  '"char"',
  'ltree',
  'isbn',
]);

/** A type's name without schema and modifier: `inet`, `ltree`. */
export function bareTypeName(type: ColumnType): string {
  return (type.domainOf ?? type.sql).replace(/\(.*$/, '').replace(/^.*\./, '');
}

/**
 * The decoder for a field. A type that cannot be decoded gives a decoder that throws
 * TYPE_UNKNOWN: NULL in such a column is still NULL.
 */
export function columnDecoder(
  schema: ConnectSchema,
  type: ColumnType,
  modes: ConnectorModes,
): ValueDecoder {
  return schema.name === undefined
    ? plainDecoder(schema, type, modes)
    : namedDecoder(schema, schema.name, type, modes);
}

function namedDecoder(
  schema: ConnectSchema,
  name: string,
  type: ColumnType,
  modes: ConnectorModes,
): ValueDecoder {
  const into = (kinds: readonly TypeKind[], decoder: ValueDecoder): ValueDecoder =>
    kinds.includes(type.kind) ? decoder : mismatch(schema, type);
  switch (name) {
    case 'org.apache.kafka.connect.data.Decimal':
      return into([...DECIMALS, ...INTEGERS, ...FLOATS, ...TEXTS], connectDecimal(schema));
    case 'io.debezium.data.VariableScaleDecimal':
      return into([...DECIMALS, ...TEXTS], variableScaleDecimal);
    case 'io.debezium.data.Bits':
      return into(['bits'], bitsDecoder(type));
    case 'io.debezium.data.Json':
      return type.kind === 'hstore' ? text(hstoreFromJson) : into(NAMED_TEXTS, text(same));
    case 'io.debezium.data.Enum':
    case 'io.debezium.data.Uuid':
    case 'io.debezium.data.Xml':
    case 'io.debezium.data.Ltree':
    case 'io.debezium.data.Tsvector':
      return into(NAMED_TEXTS, text(same));
    case 'io.debezium.data.geometry.Point':
      return into(['point'], pointText);
    case 'io.debezium.time.Date':
    case 'org.apache.kafka.connect.data.Date':
      return into(['date', 'text'], dateText);
    case 'io.debezium.time.IsoDate':
      return into(['date', 'text'], text(isoDateText));
    case 'io.debezium.time.Time':
    case 'org.apache.kafka.connect.data.Time':
      return into(['time'], (value) => timeText(value, 'ms'));
    case 'io.debezium.time.MicroTime':
      return into(['time'], (value) => timeText(value, 'us'));
    case 'io.debezium.time.NanoTime':
      return into(['time'], (value) => timeText(value, 'ns'));
    case 'io.debezium.time.IsoTime':
      return into(
        ['time'],
        text((value) => isoTimeText(value, '')),
      );
    case 'io.debezium.time.ZonedTime':
      return into(
        ['timetz'],
        text((value) => isoTimeText(value, '+00')),
      );
    case 'io.debezium.time.Timestamp':
    case 'org.apache.kafka.connect.data.Timestamp':
      return into(['timestamp'], (value) => timestampText(value, 'ms'));
    case 'io.debezium.time.MicroTimestamp':
      return into(['timestamp'], (value) => timestampText(value, 'us'));
    case 'io.debezium.time.NanoTimestamp':
      return into(['timestamp'], (value) => timestampText(value, 'ns'));
    case 'io.debezium.time.IsoTimestamp':
      return into(
        ['timestamp'],
        text((value) => isoTimestampText(value, '')),
      );
    case 'io.debezium.time.ZonedTimestamp':
      return into(
        ['timestamptz'],
        text((value) => isoTimestampText(value, '+00')),
      );
    case 'io.debezium.time.MicroDuration':
      return into(['interval'], durationText);
    case 'io.debezium.time.Interval':
      return into(['interval'], text(intervalText));
    default:
      // A struct's or map's own name; a semantic type that is not listed above has no inverse.
      return schema.type === 'map' || schema.type === 'array'
        ? plainDecoder(schema, type, modes)
        : mismatch(schema, type);
  }
}

function plainDecoder(
  schema: ConnectSchema,
  type: ColumnType,
  modes: ConnectorModes,
): ValueDecoder {
  const { kind } = type;
  switch (schema.type) {
    case 'boolean':
      if (kind === 'boolean') return booleanValue;
      if (kind === 'bits' && !isVarying(type)) return (value) => (booleanValue(value) ? '1' : '0');
      return mismatch(schema, type);
    case 'int8':
    case 'int16':
    case 'int32':
    case 'int64':
      return [...INTEGERS, ...FLOATS, 'numeric', ...TEXTS].includes(kind)
        ? integerText
        : mismatch(schema, type);
    case 'float':
    case 'double': {
      const toText = schema.type === 'float' ? float32Text : floatText;
      if (FLOATS.includes(kind)) return toText;
      return DECIMALS.includes(kind)
        ? (value) => plainDecimal(toText(value))
        : mismatch(schema, type);
    }
    case 'string':
      return stringDecoder(schema, type, modes);
    case 'bytes':
      if (kind === 'bytes') return sentBytes;
      // include.unknown.datatypes: the bytes are the value's text.
      return isOpaque(type) || bareTypeName(type) === 'name'
        ? (value) => sentBytes(value).toString('utf8')
        : mismatch(schema, type);
    case 'array':
      return arrayDecoder(schema, type, modes);
    case 'map':
      return kind === 'hstore' ? hstoreFromMap : mismatch(schema, type);
    case 'struct':
      return mismatch(schema, type);
  }
}

function stringDecoder(
  schema: ConnectSchema,
  type: ColumnType,
  modes: ConnectorModes,
): ValueDecoder {
  const { kind } = type;
  if (DECIMALS.includes(kind)) return text(decimalFromText);
  const opaque = isOpaque(type);
  if (kind !== 'bytes' && !opaque) {
    return PLAIN_TEXTS.includes(kind) ? text(same) : mismatch(schema, type);
  }
  const mode = modes.binary;
  if (mode === undefined || mode === 'bytes') {
    return opaque && mode === 'bytes'
      ? text(same)
      : refuse(
          `${type.sql} sent as text: declare binary.handling.mode in source.modes.binary` +
            (mode === undefined ? '' : ' (it says bytes)'),
        );
  }
  return opaque
    ? text((value) => bytesFromText(value, mode).toString('utf8'))
    : text((value) => bytesFromText(value, mode));
}

const BUILT_IN_RANGES: ReadonlySet<string> = new Set([
  'int4range',
  'int8range',
  'numrange',
  'tsrange',
  'tstzrange',
  'daterange',
]);

/**
 * Types the connector does not know. With include.unknown.datatypes it sends their text as bytes,
 * in the form of the binary mode; otherwise it leaves the column out.
 */
export function isOpaque(type: ColumnType): boolean {
  const name = bareTypeName(type);
  if (type.kind === 'range') return !BUILT_IN_RANGES.has(name);
  if (type.kind === 'other') return !TEXT_TYPES.has(name);
  return type.kind === 'composite';
}

/** An array's element that is a domain: unlike a column of one, the connector knows none. */
function isDomain(element: ColumnType): boolean {
  if (['enum', 'composite', 'range', 'hstore', 'other'].includes(element.kind)) return false;
  return element.sql.includes('.') && bareTypeName(element) !== 'citext';
}

/** What Java prints for an array that the connector could not convert. */
const JAVA_ARRAY = /^\[L?[\w.]+;?@[0-9a-f]+$/;

function arrayDecoder(
  schema: ConnectSchema,
  type: ColumnType,
  modes: ConnectorModes,
): ValueDecoder {
  const { element } = type;
  if (schema.items === undefined || element === undefined) return mismatch(schema, type);
  // Read as what it is for the connector: something unknown, sent as text in the binary mode.
  const sent: ColumnType = isDomain(element) ? { ...element, kind: 'composite' } : element;
  const decode = columnDecoder(schema.items, sent, modes);
  return (value, exactness) => {
    if (!Array.isArray(value)) throw unreadable(`expected an array, found ${jsonType(value)}`);
    return value.map((item: unknown) => {
      if (item === null) return null;
      if (typeof item === 'string' && item.startsWith('[L') && JAVA_ARRAY.test(item)) {
        throw unreadable('an array of more than one dimension, which the connector cannot send');
      }
      return decode(item, exactness);
    });
  };
}

function connectDecimal(schema: ConnectSchema): ValueDecoder {
  const scale = Number(schema.parameters?.['scale'] ?? Number.NaN);
  if (!Number.isInteger(scale)) return refuse('a Decimal without scale');
  return (value, exactness) => {
    // decimal.format=NUMERIC
    if (typeof value === 'number' || value instanceof ExactNumber) {
      return plainDecimal(decimalText(value, exactness));
    }
    return decimalFromBytes(sentBytes(value), scale);
  };
}

function variableScaleDecimal(value: unknown): string {
  if (!isObject(value)) throw unreadable(`expected a decimal, found ${jsonType(value)}`);
  const { scale, value: unscaled } = value;
  if (typeof scale !== 'number') throw unreadable('a decimal without scale');
  return decimalFromBytes(sentBytes(unscaled), scale);
}

function bitsDecoder(type: ColumnType): ValueDecoder {
  const { length } = type;
  if (isVarying(type) || length === undefined) {
    return refuse(`${type.sql}: the connector does not send how many bits a value has`);
  }
  return (value) => bitsText(sentBytes(value), length);
}

function isVarying(type: ColumnType): boolean {
  return /^(bit varying|varbit)/.test(type.domainOf ?? type.sql);
}

function booleanValue(value: unknown): boolean {
  if (typeof value === 'boolean') return value;
  throw unreadable(`expected a boolean, found ${jsonType(value)}`);
}

function text(decode: (value: string) => KnownValue): ValueDecoder {
  return (value) => {
    if (typeof value === 'string') return decode(value);
    throw unreadable(`expected a text, found ${jsonType(value)}`);
  };
}

function same(value: string): string {
  return value;
}

function refuse(what: string): ValueDecoder {
  return () => {
    throw unknownType(what);
  };
}

function mismatch(schema: ConnectSchema, type: ColumnType): ValueDecoder {
  return refuse(`cannot read ${schema.name ?? schema.type} into ${type.sql}`);
}
