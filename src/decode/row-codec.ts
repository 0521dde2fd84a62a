import { RowShape, UNAVAILABLE, UNSURE, type ColumnValue, type RowImage } from '../change/value.ts';
import { columnNow } from '../schema/former-columns.ts';
import type { ColumnSchema, TableSchema } from '../schema/table-schema.ts';
import { columnReading, expectedSchema, type ValueSource } from './column.ts';
import type { ConnectField } from './envelope/connect-schema.ts';
import { asObject, type Exactness } from './envelope/exact-number.ts';
import { columnNames } from './names.ts';
import { Problem, unreadable } from './problem.ts';
import type { Availability, ValueDecoder } from './types/type-table.ts';

interface CompiledColumn {
  readonly name: string;
  /** The name of its field in the row. */
  readonly sent: string;
  readonly decode: ValueDecoder;
  /** Null for columns that are always sent. */
  readonly availability: Availability | null;
  /** Why a NULL cannot be believed; null for nearly all columns. */
  readonly lostNull: string | null;
}

/** How one row is to be read. */
export interface RowReading {
  readonly exactness: Exactness;
  /** Columns may be missing although their field is there (see types/placeholders.ts). */
  readonly partial: boolean;
  /** Told of every NULL that may stand for a value that was not sent. */
  readonly onDoubtfulNull: (column: string) => void;
}

/** Reads rows of one record schema: an array of column decoders in one loop. */
export class RowCodec {
  readonly shape: RowShape;
  readonly #columns: readonly CompiledColumn[];

  /** `former`: names of fields that are of no column any more. */
  constructor(columns: readonly CompiledColumn[], former: readonly string[]) {
    this.shape = new RowShape(
      columns.map((column) => column.name),
      former,
    );
    this.#columns = columns;
  }

  /** Throws a Problem naming the column, or NeedExact. */
  read(json: unknown, reading: RowReading): RowImage {
    const row = asObject(json, 'the row');
    const { exactness, partial } = reading;
    const columns = this.#columns;
    const values: ColumnValue[] = [];
    let i = 0;
    try {
      for (; i < columns.length; i += 1) {
        const column = columns[i];
        if (column === undefined) break;
        const value = row[column.sent];
        const availability = partial ? column.availability : null;
        if (value === null) {
          if (availability?.nullIsDoubtful === true) {
            reading.onDoubtfulNull(column.name);
            values.push(UNSURE);
          } else {
            if (column.lostNull !== null) throw unreadable(column.lostNull);
            values.push(null);
          }
        } else if (value === undefined) {
          throw new Problem('RECORD_CORRUPT', 'a field of the schema is not in the row');
        } else if (availability?.isPlaceholder(value) === true) {
          values.push(UNAVAILABLE);
        } else {
          values.push(column.decode(value, exactness));
        }
      }
    } catch (error) {
      if (error instanceof Problem) error.column ??= columns[i]?.name ?? null;
      throw error;
    }
    return { shape: this.shape, values };
  }
}

/**
 * The codecs of one table of the catalogue: one per set of fields, shared by key, before and
 * after, and by the schemas of different records that describe the same fields.
 */
export class TableCodecs {
  readonly table: TableSchema;
  readonly #source: ValueSource;
  readonly #columns: ReadonlyMap<string, ColumnSchema>;
  readonly #nameOf: (sent: string) => string;
  readonly #byFields = new WeakMap<readonly ConnectField[], RowCodec>();
  readonly #bySignature = new Map<string, RowCodec>();

  constructor(table: TableSchema, source: ValueSource) {
    this.table = table;
    this.#source = source;
    this.#columns = new Map(table.columns.map((column) => [column.name, column]));
    this.#nameOf = columnNames([...this.#columns.keys()], source.modes.names ?? 'none');
  }

  /** For rows whose record carries a schema. COLUMN_UNKNOWN for a field that is no column. */
  forFields(fields: readonly ConnectField[]): RowCodec {
    const known = this.#byFields.get(fields);
    if (known !== undefined) return known;
    const codec = this.#named(`schema ${JSON.stringify(fields)}`, (former) =>
      fields.flatMap((field) => {
        const column = this.#column(former, field.field, sourceName(field));
        return column === null ? [] : [this.#compile(field, column)];
      }),
    );
    this.#byFields.set(fields, codec);
    return codec;
  }

  /** For rows without schema: by their column names, the catalogue and the declared modes. */
  forRow(row: unknown): RowCodec {
    const names = Object.keys(asObject(row, 'the row'));
    return this.#named(`names ${JSON.stringify(names)}`, (former) =>
      names.flatMap((name) => {
        const column = this.#column(former, name);
        if (column === null) return [];
        try {
          return [this.#compile({ ...expectedSchema(this.#source, column), field: name }, column)];
        } catch (error) {
          if (error instanceof Problem) error.column ??= name;
          throw error;
        }
      }),
    );
  }

  #named(signature: string, compile: (former: string[]) => readonly CompiledColumn[]): RowCodec {
    const known = this.#bySignature.get(signature);
    if (known !== undefined) return known;
    const former: string[] = [];
    const codec = new RowCodec(compile(former), former);
    this.#bySignature.set(signature, codec);
    return codec;
  }

  /**
   * `source`: the column's name where the schema tells it. Null for a column that was dropped; `former`
   * gets the name that is of none any more.
   */
  #column(former: string[], sent: string, source?: string): ColumnSchema | null {
    const name = source ?? this.#nameOf(sent);
    const column = this.#columns.get(name);
    if (column !== undefined) return column;
    const now = columnNow(this.table, name);
    if (now === null || now !== name) former.push(name);
    if (now === null) return null;
    const other = this.#columns.get(now);
    if (other !== undefined) return other;
    throw new Problem('COLUMN_UNKNOWN', 'the record has a column that the shadow lacks', name);
  }

  #compile(field: ConnectField, column: ColumnSchema): CompiledColumn {
    const mayBeMissing = column.toastable && !this.table.key.includes(column.name);
    const { decode, availability, lostNull } = columnReading(this.#source, field, column);
    return {
      name: column.name,
      sent: field.field,
      decode,
      availability: mayBeMissing ? availability : null,
      lostNull,
    };
  }
}

/**
 * column.propagate.source.type tells a column's own name, whatever its field is called. Not of a
 * struct: in Avro all structs of one name share the schema of the first.
 */
function sourceName(field: ConnectField): string | undefined {
  return field.type === 'struct' ? undefined : field.parameters?.['__debezium.source.column.name'];
}
