import { Problem } from '../problem.ts';
import { isObject } from './exact-number.ts';

/** Kafka Connect's schema types, as JsonConverter spells them. */
export type ConnectType =
  | 'boolean'
  | 'int8'
  | 'int16'
  | 'int32'
  | 'int64'
  | 'float'
  | 'double'
  | 'string'
  | 'bytes'
  | 'array'
  | 'map'
  | 'struct';

/** A Kafka Connect schema, whichever converter carried it. */
export interface ConnectSchema {
  readonly type: ConnectType;
  /** Semantic type name such as `io.debezium.time.Date`, or a struct's name. */
  readonly name?: string;
  readonly parameters?: Readonly<Record<string, string>>;
  /** May it be null? Left out where it may not. */
  readonly optional?: true;
  readonly fields?: readonly ConnectField[];
  /** Elements of an array. */
  readonly items?: ConnectSchema;
}

export interface ConnectField extends ConnectSchema {
  readonly field: string;
}

const TYPES: ReadonlySet<string> = new Set<ConnectType>([
  'boolean',
  'int8',
  'int16',
  'int32',
  'int64',
  'float',
  'double',
  'string',
  'bytes',
  'array',
  'map',
  'struct',
]);

/**
 * Checks a schema in JsonConverter's form (`type`, `name`, `parameters`, `fields`, `items`). A
 * type that Connect does not have is RECORD_CORRUPT.
 */
export function parseConnectSchema(json: unknown): ConnectSchema {
  if (!isObject(json) || typeof json['type'] !== 'string' || !TYPES.has(json['type'])) {
    throw new Problem('RECORD_CORRUPT', 'the schema part is not a Kafka Connect schema');
  }
  const { name, parameters, fields, items, optional } = json;
  return {
    type: json['type'] as ConnectType,
    ...(typeof name === 'string' && { name }),
    ...(isObject(parameters) && { parameters: textParameters(parameters) }),
    ...(optional === true && { optional }),
    ...(Array.isArray(fields) && { fields: fields.map(parseField) }),
    ...(items !== undefined && { items: parseConnectSchema(items) }),
  };
}

function parseField(json: unknown): ConnectField {
  if (!isObject(json) || typeof json['field'] !== 'string') {
    throw new Problem('RECORD_CORRUPT', 'a field of the schema part has no name');
  }
  return { ...parseConnectSchema(json), field: json['field'] };
}

function textParameters(json: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(json).map(([key, value]) => [key, typeof value === 'string' ? value : '']),
  );
}

/** A struct's field, or undefined. */
export function schemaField(schema: ConnectSchema | null, name: string): ConnectField | undefined {
  return schema?.fields?.find((field) => field.field === name);
}
