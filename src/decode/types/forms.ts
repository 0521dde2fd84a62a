/** Forms that several types share, and what decides between forms where there is no schema. */
import type { KnownValue } from '../../change/value.ts';
import type { ColumnType } from '../../schema/table-schema.ts';
import { unreachable } from '../../util/assert.ts';
import type { ConnectSchema } from '../envelope/connect-schema.ts';
import {
  decimalText,
  ExactNumber,
  integerText,
  isObject,
  jsonType,
} from '../envelope/exact-number.ts';
import type { LossId } from '../losses/losses.ts';
import type { ConnectorModes, TimeMode } from '../modes.ts';
import { unreadable } from '../problem.ts';
import { bytesFromText, sentBytes } from './binary.ts';
import { decimalFromBytes, decimalFromText, plainDecimal } from './numeric.ts';
import {
  form,
  refuse,
  value,
  type Form,
  type FormLoss,
  type Forms,
  type Sent,
  type ValueDecoder,
} from './type-table.ts';

export const DECIMAL = 'org.apache.kafka.connect.data.Decimal';
export const VARIABLE_SCALE_DECIMAL = 'io.debezium.data.VariableScaleDecimal';
export const BITS = 'io.debezium.data.Bits';
export const JSON_TEXT = 'io.debezium.data.Json';
export const FLOAT_VECTOR = 'io.debezium.data.FloatVector';

/** A decoder of texts. */
export function text(decode: (sent: string) => KnownValue): ValueDecoder {
  return (sent) => {
    if (typeof sent === 'string') return decode(sent);
    throw unreadable(`expected a text, found ${jsonType(sent)}`);
  };
}

export const asSent = text((sent) => sent);

export function booleanValue(sent: unknown): boolean {
  if (typeof sent === 'boolean') return sent;
  throw unreadable(`expected a boolean, found ${jsonType(sent)}`);
}

/** A boolean as a digit: of one bit, or of a small integer. */
export const booleanDigit: ValueDecoder = (sent) => (booleanValue(sent) ? '1' : '0');

/** Integers of any width, which older records of a column may have that has been widened since. */
export function integerForms(decoder: Form['decoder'] = () => integerText): Forms {
  const each = form(decoder);
  return { int8: each, int16: each, int32: each, int64: each };
}

/** `org.apache.kafka.connect.data.Decimal`, or a bare number with decimal.format=NUMERIC. */
export function connectDecimal({ schema }: Sent): ValueDecoder {
  const scale = Number(schema.parameters?.['scale'] ?? Number.NaN);
  if (!Number.isInteger(scale)) return refuse('a Decimal without scale');
  return (sent, exactness) => {
    if (typeof sent === 'number' || sent instanceof ExactNumber) {
      return plainDecimal(decimalText(sent, exactness));
    }
    return decimalFromBytes(sentBytes(sent), scale);
  };
}

/** `io.debezium.data.VariableScaleDecimal`: every value has a scale of its own. */
export const variableScaleDecimal: ValueDecoder = (sent) => {
  if (!isObject(sent)) throw unreadable(`expected a decimal, found ${jsonType(sent)}`);
  const { scale, value: unscaled } = sent;
  if (typeof scale !== 'number') throw unreadable('a decimal without scale');
  return decimalFromBytes(sentBytes(unscaled), scale);
};

/** decimal.handling.mode=string. */
export const decimalString = text(decimalFromText);

/** Bytes as text in the form of binary.handling.mode, which the schema does not tell. */
export function binaryText(
  { type, modes }: Sent,
  make: (bytes: Buffer) => KnownValue = (bytes) => bytes,
): ValueDecoder {
  const mode = modes.binary;
  if (mode === undefined || mode === 'bytes') {
    return refuse(
      `${type.sql} sent as text: declare binary.handling.mode in source.modes.binary` +
        (mode === undefined ? '' : ' (it says bytes)'),
    );
  }
  return text((sent) => make(bytesFromText(sent, mode)));
}

/** The temporal forms that exist in three units and as text. */
export interface TemporalForms {
  readonly name: 'Time' | 'Timestamp';
  readonly number: (sent: unknown, unit: 'ms' | 'us' | 'ns') => KnownValue;
  readonly iso: (sent: string) => KnownValue;
  /** By mode, what it loses. */
  readonly losses: {
    readonly connect: LossId | FormLoss;
    readonly iso?: LossId;
    readonly micros?: LossId;
    readonly nanos?: LossId;
    readonly any?: LossId;
  };
}

/** Forms of the adaptive modes and of `connect`, `microseconds`, `nanoseconds`, `isostring`. */
export function temporalForms({ name, number, iso, losses }: TemporalForms): Forms {
  const any = losses.any === undefined ? [] : [losses.any];
  const also = (loss: LossId | undefined): readonly LossId[] =>
    loss === undefined ? any : [loss, ...any];
  return {
    [`io.debezium.time.${name}`]: value((sent) => number(sent, 'ms'), ...any),
    [`io.debezium.time.Micro${name}`]: value((sent) => number(sent, 'us'), ...also(losses.micros)),
    [`io.debezium.time.Nano${name}`]: value((sent) => number(sent, 'ns'), ...also(losses.nanos)),
    [`io.debezium.time.Iso${name}`]: value(text(iso), ...also(losses.iso)),
    [`org.apache.kafka.connect.data.${name}`]: value(
      (sent) => number(sent, 'ms'),
      losses.connect,
      ...any,
    ),
  };
}

/** A mode that records without schema cannot do without. */
export function needed<Mode>(mode: Mode | undefined, name: keyof ConnectorModes): Mode {
  if (mode !== undefined) return mode;
  throw unreadable(
    `a record without schema: declare the connector's ${name} mode in source.modes.${name}`,
  );
}

/** `scale`: the column's, undefined where every value has its own. */
export function decimalSchema(modes: ConnectorModes, scale: number | undefined): ConnectSchema {
  const mode = needed(modes.decimal, 'decimal');
  switch (mode) {
    case 'double':
      return { type: 'double' };
    case 'string':
      return { type: 'string' };
    case 'precise':
      return scale === undefined
        ? { type: 'struct', name: VARIABLE_SCALE_DECIMAL }
        : { type: 'bytes', name: DECIMAL, parameters: { scale: String(scale) } };
    default:
      return unreachable(mode);
  }
}

export function dateSchema(_type: ColumnType, modes: ConnectorModes): ConnectSchema {
  const mode = needed(modes.time, 'time');
  if (mode === 'isostring') return { type: 'string', name: 'io.debezium.time.IsoDate' };
  return mode === 'connect'
    ? { type: 'int32', name: 'org.apache.kafka.connect.data.Date' }
    : { type: 'int32', name: 'io.debezium.time.Date' };
}

/** Precision up to which the adaptive modes count in milliseconds. */
const MILLISECONDS = 3;

/** `precision`: fraction digits of the column. */
export function clockSchema(
  name: 'Time' | 'Timestamp',
  precision: number,
  mode: TimeMode,
): ConnectSchema {
  const coarse = precision <= MILLISECONDS;
  const type = name === 'Time' ? 'int32' : 'int64';
  const millis: ConnectSchema = { type, name: `io.debezium.time.${name}` };
  const micros: ConnectSchema = { type: 'int64', name: `io.debezium.time.Micro${name}` };
  switch (mode) {
    case 'adaptive':
      return coarse ? millis : micros;
    case 'adaptive_time_microseconds':
      return coarse && name === 'Timestamp' ? millis : micros;
    case 'connect':
      return { type, name: `org.apache.kafka.connect.data.${name}` };
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

/** Of bytes in the declared binary mode, and of what is sent as they are. */
export function binarySchema(_type: ColumnType, modes: ConnectorModes): ConnectSchema {
  return { type: needed(modes.binary, 'binary') === 'bytes' ? 'bytes' : 'string' };
}

/** The column has fraction digits beyond milliseconds. */
export function finerThanMillis(id: LossId, unstated: number): FormLoss {
  return { id, applies: (type) => (type.precision ?? unstated) > MILLISECONDS };
}
