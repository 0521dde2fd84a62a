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

/** A schema as Kafka Connect has it, whichever converter carried it. */
interface SentSchema {
  readonly type: string;
  readonly name?: string;
  readonly parameters?: Readonly<Record<string, string>>;
  readonly optional?: true;
  readonly fields?: readonly (SentSchema & { readonly field: string })[];
  readonly items?: SentSchema;
}

/**
 * What the schemas of a record's row and key tell. Columns stand in the order of the row's fields;
 * `columnOf` gives their names, null for fields that are no columns.
 * Errors: RECORD_UNKNOWN if the row's schema has no fields.
 */
export function eventTableSchema(sent: {
  readonly table: TableId;
  readonly row: SentSchema;
  readonly key: SentSchema | null;
  readonly sourceName: string | null;
  readonly columnOf: (field: string) => string | null;
}): EventTableSchema {
  const { table, row, key, sourceName, columnOf } = sent;
  if (row.fields === undefined) {
    throw new UnderstudyError('RECORD_UNKNOWN', 'the row’s schema has no fields', {
      table: tableName(table),
    });
  }
  const columns = row.fields.flatMap((field) => {
    const name = columnOf(field.field);
    return name === null ? [] : [{ name, optional: field.optional === true, ...eventType(field) }];
  });
  const names = new Set(columns.map(({ name }) => name));
  // A transform may add to the key what is no column (`__dbz__physicalTableIdentifier`).
  const keyColumns = (key?.fields ?? [])
    .map(({ field }) => ({ field, name: columnOf(field) ?? field }))
    .filter(({ field, name }) => names.has(name) || !field.startsWith('__'))
    .map(({ name }) => name);
  return { table, key: keyColumns, columns, sourceName };
}

function eventType({ type, name, parameters, items }: SentSchema): EventType {
  return {
    connectType: type,
    semanticName: name ?? null,
    parameters: parameters ?? {},
    element: items === undefined ? null : eventType(items),
  };
}
