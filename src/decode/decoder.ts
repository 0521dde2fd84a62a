/**
 * Records of the event log to what they say. The decoder refuses to guess: every Debezium type
 * has one exact inverse, everything else is an error that names topic, partition, offset, table
 * and column, and never a value.
 *
 * Pure: it keeps caches only. The shadow's catalogue is asked for every record and everything
 * compiled is dropped when another one is given.
 */
import type { SourcePosition } from '../change/position.ts';
import {
  recordBytes,
  type ChangeEvent,
  type DecodedRecord,
  type LogRecord,
  type Op,
  type TransactionMark,
} from '../change/record.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import type { RowImage } from '../change/value.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import type { Connector } from './connectors/connector.ts';
import { connectorNamed } from './connectors/connectors.ts';
import { controlRecord, milliseconds } from './control-records.ts';
import { schemaField, type ConnectSchema } from './envelope/connect-schema.ts';
import { asObject, integer, isObject, NeedExact, type Exactness } from './envelope/exact-number.ts';
import type { Opened } from './envelope/json.ts';
import { RecordOpener, type DecoderRegistry } from './envelope/opener.ts';
import type { SchemaRef } from './envelope/schema-store.ts';
import type { ConnectorModes } from './modes.ts';
import { Problem, unreadable } from './problem.ts';
import { TableCodecs, type RowReading } from './row-codec.ts';

export interface DecoderOptions {
  readonly connector: SourcePosition['connector'];
  /** The connector's topic.prefix. */
  readonly topicPrefix: string;
  readonly modes: ConnectorModes;
  /** The shadow's tables as they are now; cheap to ask. */
  readonly catalogue: () => SchemaCatalogue;
  /** Changes of other tables are `ignored` before their rows are read. Default: all tables. */
  readonly include?: (table: TableId) => boolean;
  /** Where the schemas of Avro records are. Default: nowhere, all records are JSON. */
  readonly registry?: DecoderRegistry | null;
}

export interface Decoder {
  /**
   * What a record says. Errors: RECORD_CORRUPT, RECORD_UNKNOWN, TABLE_UNKNOWN, COLUMN_UNKNOWN,
   * TYPE_UNKNOWN, VALUE_UNREADABLE, UNSUPPORTED, SCHEMA_UNKNOWN, all with the record's place.
   */
  decode(record: LogRecord): DecodedRecord;
  /**
   * The schemas that the registry's store must hold before `decode` can read the record; mostly
   * none. Errors: RECORD_CORRUPT, UNSUPPORTED, with the record's place.
   */
  missing(record: LogRecord): readonly SchemaRef[];
  /**
   * By `schema.table.column`: how many NULLs were read as UNAVAILABLE because the connector sends
   * NULL for an unchanged large value of that type too. Any of them may have been a real NULL.
   */
  readonly doubtfulNulls: ReadonlyMap<string, number>;
}

export function createDecoder(options: DecoderOptions): Decoder {
  return new RecordDecoder(options);
}

const OPS: ReadonlyMap<unknown, Op> = new Map([
  ['c', 'create'],
  ['u', 'update'],
  ['d', 'delete'],
  ['r', 'read'],
  ['t', 'truncate'],
]);

/** An envelope whose table is known. */
interface Change {
  readonly record: LogRecord;
  readonly value: Opened;
  readonly envelope: Readonly<Record<string, unknown>>;
  readonly source: Readonly<Record<string, unknown>>;
  readonly op: Op;
  readonly codecs: TableCodecs;
}

class RecordDecoder implements Decoder {
  readonly doubtfulNulls = new Map<string, number>();
  readonly #options: DecoderOptions;
  readonly #connector: Connector;
  readonly #opener: RecordOpener;
  #catalogue: SchemaCatalogue | null = null;
  #codecs = new Map<string, TableCodecs>();
  /** Table of the record at hand, for errors. */
  #table: string | null = null;

  constructor(options: DecoderOptions) {
    this.#options = options;
    this.#connector = connectorNamed(options.connector);
    this.#opener = new RecordOpener(options.registry ?? null);
  }

  decode(record: LogRecord): DecodedRecord {
    this.#table = null;
    return this.#locating(record, () => {
      try {
        return this.#decode(record, 'native');
      } catch (error) {
        if (error instanceof NeedExact) return this.#decode(record, 'exact');
        throw error;
      }
    });
  }

  missing(record: LogRecord): readonly SchemaRef[] {
    this.#table = null;
    return this.#locating(record, () => this.#opener.missing(record));
  }

  #locating<T>(record: LogRecord, act: () => T): T {
    try {
      return act();
    } catch (error) {
      if (error instanceof Problem) throw this.#located(error, record);
      // A number that even the exact reading does not tell: no encoder writes one.
      if (error instanceof NeedExact) throw this.#located(unreadable('a number too large'), record);
      throw error;
    }
  }

  #located(problem: Problem, record: LogRecord): UnderstudyError {
    return new UnderstudyError(problem.code, problem.message, {
      topic: record.topic,
      partition: record.partition,
      offset: record.offset,
      ...(this.#table !== null && { table: this.#table }),
      ...(problem.column !== null && { column: problem.column }),
    });
  }

  #decode(record: LogRecord, exactness: Exactness): DecodedRecord {
    const at = { topic: record.topic, partition: record.partition, offset: record.offset };
    if (record.value === null) return { kind: 'tombstone', at, eventTimeMs: null };
    const value = this.#opener.open(record, 'value', record.value, exactness);
    const envelope = value.payload;
    if (!isObject(envelope) || !('op' in envelope) || !isObject(envelope['source'])) {
      const { topicPrefix } = this.#options;
      const control = controlRecord({
        opened: value,
        at,
        topicPrefix,
        connector: this.#connector,
      });
      if (control !== null) return control;
      throw new Problem('RECORD_UNKNOWN', 'not a record of Debezium, or one that was flattened');
    }
    const source = envelope['source'];
    this.#checkOrigin(source);
    const eventTimeMs = milliseconds(source['ts_ms']);
    if (envelope['op'] === 'm') return { kind: 'message', at, eventTimeMs };
    const op = OPS.get(envelope['op']);
    if (op === undefined) throw new Problem('RECORD_UNKNOWN', 'the operation is not known');
    const table = this.#connector.table(source);
    this.#table = tableName(table);
    if (this.#options.include?.(table) === false) return { kind: 'ignored', at, eventTimeMs };
    const codecs = this.#codecsOf(table);
    return this.#change({ record, value, envelope, source, op, codecs });
  }

  /** Events of another connector on our topics would be applied to the wrong tables. */
  #checkOrigin(source: Readonly<Record<string, unknown>>): void {
    const { connector, topicPrefix } = this.#options;
    if (source['connector'] !== connector) {
      throw new Problem('RECORD_UNKNOWN', `the record was not made by the ${connector} connector`);
    }
    if (source['name'] !== topicPrefix) {
      throw new Problem('RECORD_UNKNOWN', `the record's connector is not ${topicPrefix}`);
    }
  }

  #codecsOf(table: TableId): TableCodecs {
    const catalogue = this.#options.catalogue();
    if (catalogue !== this.#catalogue) {
      this.#catalogue = catalogue;
      this.#codecs = new Map();
    }
    const name = tableName(table);
    const known = this.#codecs.get(name);
    if (known !== undefined) return known;
    const schema = catalogue.get(name);
    if (schema === undefined) {
      throw new Problem('TABLE_UNKNOWN', 'the record is of a table that the shadow lacks');
    }
    const codecs = new TableCodecs(schema, this.#options);
    this.#codecs.set(name, codecs);
    return codecs;
  }

  #change(change: Change): ChangeEvent {
    const { record, envelope, source, op, codecs } = change;
    const keyRecord = this.#openKey(record, change.value.exactness);
    const whole = this.#reading(change, false);
    const key = keyRecord === null ? null : this.#keyImage(keyRecord, codecs, whole);
    const oldKey = this.#headerKey(change, keyRecord, '__debezium.oldkey', whole);
    const newKey = this.#headerKey(change, keyRecord, '__debezium.newkey', whole);
    const before = this.#before(change, key, whole);
    // Without the old row an update, or the new half of a key change, may lack large values.
    const partial = (op === 'update' && before === null) || (op === 'create' && oldKey !== null);
    const after =
      op === 'delete' || op === 'truncate'
        ? null
        : this.#image(change, 'after', partial ? this.#reading(change, true) : whole);
    if (after === null && op !== 'delete' && op !== 'truncate') {
      throw new Problem('RECORD_CORRUPT', 'the event has no new row');
    }
    return {
      kind: 'change',
      op,
      table: codecs.table.id,
      at: { topic: record.topic, partition: record.partition, offset: record.offset },
      key,
      before,
      after,
      oldKey,
      newKey,
      source: this.#connector.position(source),
      snapshot: snapshotOf(source['snapshot']),
      eventTimeMs: milliseconds(source['ts_ms']),
      transaction: this.#transaction(envelope['transaction']),
      bytes: recordBytes(record),
    };
  }

  #reading(change: Change, partial: boolean): RowReading {
    return {
      exactness: change.value.exactness,
      partial,
      onDoubtfulNull: (column) => {
        const name = `${tableName(change.codecs.table.id)}.${column}`;
        this.doubtfulNulls.set(name, (this.doubtfulNulls.get(name) ?? 0) + 1);
      },
    };
  }

  #openKey(record: LogRecord, exactness: Exactness): Opened | null {
    if (record.key === null) return null;
    const opened = this.#opener.open(record, 'key', record.key, exactness);
    return opened.payload === null ? null : opened;
  }

  #keyImage(key: Opened, codecs: TableCodecs, reading: RowReading): RowImage {
    return codecFor(codecs, key.schema, key.payload).read(key.payload, reading);
  }

  /** The other key of a key change: JSON text in a header, of the types of the record's key. */
  #headerKey(
    change: Change,
    key: Opened | null,
    name: string,
    reading: RowReading,
  ): RowImage | null {
    if (key === null || change.record.headers.length === 0) return null;
    const bytes = headerNamed(change.record.headers, name);
    if (bytes === null) return null;
    const topic = `${change.record.topic}#${name}`;
    const opened = this.#opener.openJson(topic, bytes, reading.exactness);
    return codecFor(change.codecs, key.schema, opened.payload).read(opened.payload, reading);
  }

  /**
   * The old row where it is real. Some connectors fill what they do not know of a deleted row
   * with zeros; then only the key is believed, which without a message key is in the old row.
   */
  #before(change: Change, key: RowImage | null, reading: RowReading): RowImage | null {
    const unsure = change.op === 'delete' && !this.#connector.deletedRowIsReal;
    return unsure && key !== null ? null : this.#image(change, 'before', reading);
  }

  #image(change: Change, side: 'before' | 'after', reading: RowReading): RowImage | null {
    const row = change.envelope[side];
    if (row === null || row === undefined) return null;
    const field = schemaField(change.value.schema, side);
    return codecFor(change.codecs, field ?? null, row).read(row, reading);
  }

  #transaction(block: unknown): TransactionMark | null {
    if (block === null || block === undefined) return null;
    const { id, total_order: totalOrder } = asObject(block, 'the transaction block');
    if (typeof id !== 'string') {
      throw new Problem('RECORD_CORRUPT', 'the transaction block has no id');
    }
    return { id: this.#connector.transactionId(id), totalOrder: integer(totalOrder) };
  }
}

/** The first header of that name. A plain loop: this runs twice for every change. */
function headerNamed(headers: LogRecord['headers'], name: string): Buffer | null {
  for (let i = 0; i < headers.length; i += 1) {
    const header = headers[i];
    if (header !== undefined && header[0] === name) return header[1];
  }
  return null;
}

function codecFor(
  codecs: TableCodecs,
  schema: ConnectSchema | null,
  row: unknown,
): ReturnType<TableCodecs['forRow']> {
  return schema?.fields === undefined ? codecs.forRow(row) : codecs.forFields(schema.fields);
}

/** `source.snapshot` is a text; null where replace.null.with.default is off, and means no. */
function snapshotOf(value: unknown): ChangeEvent['snapshot'] {
  switch (value) {
    case null:
    case undefined:
    case false:
    case 'false':
      return 'no';
    case 'incremental':
      return 'incremental';
    case true:
    case 'true':
    case 'first':
    case 'first_in_data_collection':
    case 'last_in_data_collection':
    case 'last':
      return 'initial';
    default:
      throw new Problem('RECORD_UNKNOWN', 'the kind of snapshot is not known');
  }
}
