import { tableName, type TableId } from '../change/table-id.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';

/** A value's type as Kafka Connect describes it in a record's schema. */
export interface EventType {
  /** `int8` … `int64`, `float`, `double`, `boolean`, `string`, `bytes`, `array`, `map`, `struct`. */
  readonly connectType: string;
  /** What it means, e.g. `io.debezium.time.Date`; null for a plain Connect type. */
  readonly semanticName: string | null;
  /** Scale, precision, length, allowed …, and the source column's type where it is propagated. */
  readonly parameters: Readonly<Record<string, string>>;
  /** Of an array. */
  readonly element: EventType | null;
}

export interface EventColumn extends EventType {
  readonly name: string;
  readonly optional: boolean;
}

/** What the events of a table tell about it: less than a catalogue, but enough to hold its rows. */
export interface EventTableSchema {
  readonly table: TableId;
  /** Columns of the record key; empty for a table without one. */
  readonly key: readonly string[];
  readonly columns: readonly EventColumn[];
  /** Name of the envelope's source block, which tells the connector apart; null if unnamed. */
  readonly sourceName: string | null;
}

type Json = Readonly<Record<string, unknown>>;

/**
 * Reads the schema of a change event's value (the `schema` part of JsonConverter's output, parsed)
 * and that of its key. Columns stand in the order of the row's fields.
 * Errors: RECORD_UNKNOWN if the value is not an envelope with a row.
 */
export function eventTableSchema(
  table: TableId,
  envelopeSchema: unknown,
  keySchema: unknown,
): EventTableSchema {
  const envelope = fieldsOf(envelopeSchema);
  const row = envelope?.find((field) => field['field'] === 'after');
  const columns = fieldsOf(row);
  if (columns === null) {
    throw new UnderstudyError('RECORD_UNKNOWN', 'the value’s schema is no change event', {
      table: tableName(table),
    });
  }
  const source = envelope?.find((field) => field['field'] === 'source');
  return {
    table,
    key: (fieldsOf(keySchema) ?? []).map((field) => fieldName(table, field)),
    columns: columns.map((field) => ({
      name: fieldName(table, field),
      optional: field['optional'] === true,
      ...eventType(table, field),
    })),
    sourceName: typeof source?.['name'] === 'string' ? source['name'] : null,
  };
}

function eventType(table: TableId, schema: Json): EventType {
  const { type, name, items } = schema;
  if (typeof type !== 'string') throw malformed(table, 'a field without a type');
  return {
    connectType: type,
    semanticName: typeof name === 'string' ? name : null,
    parameters: parametersOf(schema['parameters']),
    element: isObject(items) ? eventType(table, items) : null,
  };
}

function parametersOf(parameters: unknown): Readonly<Record<string, string>> {
  if (!isObject(parameters)) return {};
  return Object.fromEntries(
    Object.entries(parameters).filter((entry): entry is [string, string] => {
      return typeof entry[1] === 'string';
    }),
  );
}

/** The fields of a struct's schema; null if it is none. */
function fieldsOf(schema: unknown): readonly Json[] | null {
  if (!isObject(schema) || !Array.isArray(schema['fields'])) return null;
  return schema['fields'].filter(isObject);
}

function fieldName(table: TableId, field: Json): string {
  const name = field['field'];
  if (typeof name !== 'string') throw malformed(table, 'a field without a name');
  return name;
}

function malformed(table: TableId, what: string): UnderstudyError {
  const where = { table: tableName(table) };
  return new UnderstudyError('RECORD_UNKNOWN', `the record’s schema holds ${what}`, where);
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
