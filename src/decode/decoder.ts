/**
 * Records of the event log to what they say. The decoder refuses to guess: every Debezium type
 * has one exact inverse, everything else is an error that names topic, partition, offset, table
 * and column, and never a value.
 *
 * Pure: it keeps caches only. The shadow's catalogue is asked for every record and everything
 * compiled is dropped when another one is given.
 */
import type { DeadCause } from '../change/dead-cause.ts';
import type { LogOffset, SourcePosition } from '../change/position.ts';
import {
  recordBytes,
  type ChangeEvent,
  type DecodedRecord,
  type LogRecord,
  type UnreadChange,
} from '../change/record.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import type { RowImage } from '../change/value.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import type { Connector } from './connectors/connector.ts';
import { connectorNamed } from './connectors/connectors.ts';
import type { ConnectSchema } from './envelope/connect-schema.ts';
import { NeedExact, type Exactness } from './envelope/exact-number.ts';
import type { Opened } from './envelope/json.ts';
import { RecordOpener, type DecoderRegistry } from './envelope/opener.ts';
import type { SchemaRef } from './envelope/schema-store.ts';
import {
  headerNamed,
  passedOver,
  placeOf,
  type FormReader,
  type RecordForm,
  type SentChange,
} from './forms/form.ts';
import { formReader } from './forms/form-reader.ts';
import { TopicTables } from './forms/topic-tables.ts';
import { headerKey, namesAnotherKey, NEW_KEY, OLD_KEY } from './header-keys.ts';
import { NO_KEYS, type Images, type Keys } from './images.ts';
import type { ConnectorModes } from './modes.ts';
import { columnNames } from './names.ts';
import { Problem, unreadable } from './problem.ts';
import type { RowReading } from './row-codec.ts';
import { TableNames } from './table-names.ts';
import { sameKey, TableReader } from './table-reader.ts';
import { heldChange, unreadChange } from './unread.ts';

export interface DecoderOptions {
  readonly connector: SourcePosition['connector'];
  /** The connector's topic.prefix. */
  readonly topicPrefix: string;
  readonly modes: ConnectorModes;
  /** In which form the changes are. Default: Debezium's own. */
  readonly form?: RecordForm;
  /** The shadow's tables as they are now; cheap to ask. */
  readonly catalogue: () => SchemaCatalogue;
  /** Changes of other tables are `ignored` before their rows are read. Default: all tables. */
  readonly include?: (table: TableId) => boolean;
  /** Is a record here of before a table's name (`tableName()`) was given up, though it tells no place? */
  readonly isOld?: ((table: string, at: LogOffset) => boolean) | undefined;
  /** Is a record here of a table of before, that is no more, though another one has its name? */
  readonly isGone?: ((table: string, at: LogOffset) => boolean) | undefined;
  /** Where the schemas of Avro records are. Default: nowhere, all records are JSON. */
  readonly registry?: DecoderRegistry | null;
}

export interface Decoder {
  /**
   * What a record says. Errors: RECORD_CORRUPT, RECORD_UNKNOWN, TABLE_UNKNOWN, COLUMN_UNKNOWN,
   * TYPE_UNKNOWN, VALUE_UNREADABLE, UNSUPPORTED, SCHEMA_UNKNOWN, KEY_MISSING, all with the record's
   * place.
   */
  decode(record: LogRecord): DecodedRecord;
  /**
   * What can be set aside of a change that cannot be read; null if topic and message key do not tell
   * which row it is of. The schemas of `missingOfKey` must be here.
   */
  unread(record: LogRecord, cause: DeadCause): UnreadChange | null;
  /** A change of this table that is set aside unread, with all rows of the table. */
  held(record: LogRecord, table: TableId, cause: DeadCause): UnreadChange;
  /**
   * What a record's own schemas tell of its table; null for what is no row of an included table or
   * carries no schema. Needs no catalogue. Errors as of `decode`.
   */
  describe(record: LogRecord): RowDescription | null;
  /**
   * The schemas that the registry's store must hold before `decode` can read the record; mostly
   * none. Errors: RECORD_CORRUPT, UNSUPPORTED, with the record's place.
   */
  missing(record: LogRecord): readonly SchemaRef[];
  /** As `missing`, for the record's key alone. */
  missingOfKey(record: LogRecord): readonly SchemaRef[];
  /**
   * By `schema.table.column`: how many NULLs were read as UNAVAILABLE because the connector sends
   * NULL for an unchanged large value of that type too. Any of them may have been a real NULL.
   */
  readonly doubtfulNulls: ReadonlyMap<string, number>;
}

/** A table as the schemas of one record tell it. */
export interface RowDescription {
  readonly table: TableId;
  /** Of the row: a struct. The same object for records of the same schema, mostly. */
  readonly row: ConnectSchema;
  /** Of the record's key; null if it has none. */
  readonly key: ConnectSchema | null;
  /** From the name of a field to that of its column; null for what the form added. */
  readonly columnOf: (field: string) => string | null;
}

export function createDecoder(options: DecoderOptions): Decoder {
  return new RecordDecoder(options);
}

/** A change whose table is known. */
interface Change {
  readonly record: LogRecord;
  readonly sent: SentChange;
  readonly reader: TableReader;
  readonly exactness: Exactness;
}

/** Records of a topic that are read exactly before the fast way is tried again. */
const READ_EXACTLY = 16;

class RecordDecoder implements Decoder {
  readonly doubtfulNulls = new Map<string, number>();
  readonly #options: DecoderOptions;
  readonly #connector: Connector;
  readonly #opener: RecordOpener;
  readonly #form: FormReader;
  #catalogue: SchemaCatalogue | null = null;
  #readers = new Map<string, TableReader>();
  #last: { readonly topic: string; readonly table: TableId; readonly reader: TableReader } | null =
    null;
  #topics: TopicTables | null = null;
  #names: TableNames | null = null;
  /** By topic, the table that it is of as far as was seen; null if it is of several. */
  readonly #tableOn = new Map<string, TableId | null>();
  /**
   * By topic, of how many more records every number is kept at once: after one that had to be read
   * a second time, for an integer that JSON.parse rounds. Such integers seldom stand alone.
   */
  readonly #exact = new Map<string, number>();
  #table: TableId | null = null;

  constructor(options: DecoderOptions) {
    this.#options = options;
    this.#connector = connectorNamed(options.connector);
    this.#opener = new RecordOpener(options.registry ?? null);
    this.#form = formReader(options, {
      connector: this.#connector,
      topicPrefix: options.topicPrefix,
      opener: this.#opener,
    });
  }

  decode(record: LogRecord): DecodedRecord {
    this.#table = null;
    try {
      return this.#decodeFast(record);
    } catch (error) {
      throw this.#locatedError(error, record);
    }
  }

  /** By the fast reading where that will do, else by the exact one. */
  #decodeFast(record: LogRecord): DecodedRecord {
    const exactly = this.#exact.size === 0 ? 0 : (this.#exact.get(record.topic) ?? 0);
    if (exactly > 0) {
      if (exactly === 1) this.#exact.delete(record.topic);
      else this.#exact.set(record.topic, exactly - 1);
      return this.#decode(record, 'exact');
    }
    try {
      return this.#decode(record, 'native');
    } catch (error) {
      if (!(error instanceof NeedExact)) throw error;
      this.#exact.set(record.topic, READ_EXACTLY);
      return this.#decode(record, 'exact');
    }
  }

  describe(record: LogRecord): RowDescription | null {
    this.#table = null;
    return this.#locating(record, () => {
      try {
        return this.#describe(record, 'native');
      } catch (error) {
        if (error instanceof NeedExact) return this.#describe(record, 'exact');
        throw error;
      }
    });
  }

  #describe(record: LogRecord, exactness: Exactness): RowDescription | null {
    if (record.value === null) return null;
    const sent = this.#form.read(record, exactness);
    if (sent.kind !== 'sent' || this.#options.include?.(sent.table) === false) return null;
    const { schema: row = null, extended = false } = sent.after ?? sent.before ?? {};
    if (row === null) return null;
    const key = record.key && this.#opener.open(record, 'key', record.key, exactness).schema;
    const nameOf = columnNames([], this.#options.modes.names ?? 'none');
    const columnOf = (field: string): string | null =>
      extended && field.startsWith('__') ? null : nameOf(field);
    return { table: sent.table, row, key, columnOf };
  }

  missing(record: LogRecord): readonly SchemaRef[] {
    this.#table = null;
    return this.#locating(record, () => this.#form.missing(record));
  }

  missingOfKey(record: LogRecord): readonly SchemaRef[] {
    return this.#locating(record, () => this.#opener.missing({ ...record, value: null }));
  }

  unread(record: LogRecord, cause: DeadCause): UnreadChange | null {
    // Of others not even what surrounds the rows is known.
    const sent = cause.code === 'VALUE_UNREADABLE' ? this.#changeIn(record) : null;
    const table = this.#tableNamedBy(record, sent);
    if (table === null) return null;
    const reader = this.#locating(record, () => this.#readerOf(table, record.topic));
    const change = unreadChange(record, {
      ...{ cause, sent, reader, connector: this.#connector, opener: this.#opener },
    });
    return change && this.#named(sent?.table ?? this.#table ?? table, change);
  }

  held(record: LogRecord, table: TableId, cause: DeadCause): UnreadChange {
    const sent = this.#changeIn(record);
    const change = heldChange(record, { table, cause, sent, connector: this.#connector });
    return sent === null ? change : this.#named(sent.table, change);
  }

  /** With the name that it was sent under, where its table gave that up. */
  #named<C extends ChangeEvent>(sent: TableId, change: C): C {
    const { name, schema } = change.table;
    const isNow = sent.name === name && sent.schema === schema;
    if (isNow && this.#names?.isFormer(sent, change.source) !== true) return change;
    return { ...change, formerly: sent };
  }

  /** What surrounds the rows; null if not even that can be read. */
  #changeIn(record: LogRecord): SentChange | null {
    try {
      const sent = this.#form.read(record, 'exact');
      return sent.kind === 'sent' ? sent : null;
    } catch (error) {
      if (error instanceof Problem || error instanceof NeedExact) return null;
      throw error;
    }
  }

  /** Null too where records of another table were seen on the topic. */
  #tableNamedBy(record: LogRecord, sent: SentChange | null): TableId | null {
    this.#topics ??= new TopicTables(this.#refresh(), this.#options.topicPrefix);
    this.#table = sent?.table ?? this.#topics.onlyTableOf(record.topic);
    const place = sent?.position ?? this.#connector.position({});
    const table = this.#table && this.#tableNow(this.#table, place, record);
    const seen = this.#tableOn.get(record.topic);
    if (table === null || seen === undefined) return table;
    return seen !== null && tableName(seen) === tableName(table) ? table : null;
  }

  #locating<T>(record: LogRecord, act: () => T): T {
    try {
      return act();
    } catch (error) {
      throw this.#locatedError(error, record);
    }
  }

  /** What to throw for an error that reading the record gave. */
  #locatedError(error: unknown, record: LogRecord): unknown {
    if (error instanceof Problem) return this.#located(error, record);
    // A number that even the exact reading does not tell: no encoder writes one.
    if (error instanceof NeedExact) return this.#located(unreadable('a number too large'), record);
    // The stack is used up by values within values; a real record has a handful of levels.
    if (error instanceof RangeError) {
      const problem = new Problem('RECORD_CORRUPT', 'the record is nested too deep, or too large');
      return this.#located(problem, record);
    }
    return error;
  }

  #located(problem: Problem, record: LogRecord): UnderstudyError {
    return new UnderstudyError(problem.code, problem.message, {
      topic: record.topic,
      partition: record.partition,
      offset: record.offset,
      ...(this.#table !== null && { table: tableName(this.#table) }),
      ...(problem.column !== null && { column: problem.column }),
    });
  }

  #decode(record: LogRecord, exactness: Exactness): DecodedRecord {
    const sent = this.#form.read(record, exactness);
    if (sent.kind !== 'sent') return sent;
    const named = this.#shared(sent.table);
    this.#table = named;
    const table = this.#tableNow(named, sent.position, record);
    if (table === null) {
      return passedOver(record, sent, this.#options.include?.(named) !== false);
    }
    return this.#change({ record, sent, reader: this.#readerOf(table, record.topic), exactness });
  }

  /** One object for neighbours of one table: what is known by it is found at once. */
  #shared(table: TableId): TableId {
    const before = this.#last?.table;
    return before?.name === table.name && before.schema === table.schema ? before : table;
  }

  /** The table that this name means here; null if it is none that is followed. */
  #tableNow(named: TableId, place: SourcePosition, record: LogRecord): TableId | null {
    const { include, isOld, isGone } = this.#options;
    const catalogue = this.#refresh();
    const names = (this.#names ??= new TableNames(catalogue, this.#connector));
    const now = names.of(named, place, (label) => isOld?.(label, placeOf(record)) === true);
    if (now === null && include?.(named) !== false) {
      if (isGone?.(tableName(named), placeOf(record)) === true) return null;
      throw new Problem('TABLE_UNKNOWN', 'the record is of a table of before, which is not here');
    }
    if (now === null || include?.(now) !== false) return now;
    return now === named || !include(named) ? null : now;
  }

  #refresh(): SchemaCatalogue {
    const catalogue = this.#options.catalogue();
    if (catalogue === this.#catalogue) return catalogue;
    this.#catalogue = catalogue;
    this.#readers = new Map();
    this.#last = null;
    this.#topics = null;
    this.#names = null;
    return catalogue;
  }

  #readerOf(table: TableId, topic: string): TableReader {
    const catalogue = this.#refresh();
    // Neighbours are mostly of one table; two names are compared sooner than joined.
    const last = this.#last;
    if (
      last?.topic === topic &&
      last.table.name === table.name &&
      last.table.schema === table.schema
    ) {
      return last.reader;
    }
    const name = tableName(table);
    const reader = this.#readers.get(name) ?? this.#newReader(catalogue, name);
    this.#readers.set(name, reader);
    this.#last = { topic, table, reader };
    const seen = this.#tableOn.get(topic);
    if (seen === undefined) this.#tableOn.set(topic, table);
    else if (seen !== null && tableName(seen) !== name) this.#tableOn.set(topic, null);
    return reader;
  }

  #newReader(catalogue: SchemaCatalogue, name: string): TableReader {
    const schema = catalogue.get(name);
    if (schema === undefined) {
      throw new Problem('TABLE_UNKNOWN', 'the record is of a table that the shadow lacks');
    }
    return new TableReader(schema, this.#options, (column) => {
      const place = `${name}.${column}`;
      this.doubtfulNulls.set(place, (this.doubtfulNulls.get(place) ?? 0) + 1);
    });
  }

  #change(change: Change): ChangeEvent {
    const { record, sent, reader } = change;
    const images = this.#keptKey(change) ?? this.#images(change);
    const { before, after } = images;
    if (after === null && sent.op !== 'delete' && sent.op !== 'truncate') {
      throw new Problem('RECORD_CORRUPT', 'the event has no new row');
    }
    if (sent.op === 'delete' && images.key === null && before === null) {
      throw new Problem('KEY_MISSING', 'a delete says neither a key nor the old row');
    }
    return this.#named(sent.table, {
      kind: 'change',
      op: sent.op,
      table: reader.table.id,
      at: placeOf(record),
      key: images.key,
      before,
      after,
      oldKey: images.oldKey,
      newKey: images.newKey,
      source: sent.position,
      snapshot: sent.snapshot,
      eventTimeMs: sent.eventTimeMs,
      transaction: sent.transaction,
      bytes: recordBytes(record),
    });
  }

  /**
   * The images where the rows alone tell the key, and the message key need not be read: of a new
   * row, and of one that is known to have kept its key. Else null: a change of a key is a delete
   * and a create, unless the message key lacks the table's.
   */
  #keptKey(change: Change): Images | null {
    const { record, sent, reader, exactness } = change;
    const { op, before: sentBefore, after: sentAfter } = sent;
    if (op === 'truncate' || namesAnotherKey(record.headers)) return null;
    if (op === 'delete') return this.#deletedRow(change);
    if (sentAfter === null) return null;
    const isUpdate = op === 'update';
    if (isUpdate && sentBefore !== null && !this.#connector.deletedRowIsReal) return null;
    const after = reader.row(sentAfter, reader.reading(exactness, isUpdate && sentBefore === null));
    const key = reader.keyIn(after);
    if (key === null) return null;
    const before = sentBefore && reader.row(sentBefore, reader.reading(exactness, false));
    if (isUpdate && before !== null) {
      const old = reader.keyIn(before);
      if (old === null || !sameKey(reader.table, old, key)) return null;
    }
    if (record.key !== null) this.#opener.check(record, 'key', record.key);
    return { key, oldKey: null, newKey: null, before, after };
  }

  /** Of a delete whose old row is real: the row tells its key better than a message key could. */
  #deletedRow({ record, sent, reader, exactness }: Change): Images | null {
    if (sent.before === null || !this.#connector.deletedRowIsReal) return null;
    const before = reader.row(sent.before, reader.reading(exactness, false));
    const key = reader.keyIn(before);
    if (key === null) return null;
    if (record.key !== null) this.#opener.check(record, 'key', record.key);
    return { key, oldKey: null, newKey: null, before, after: null };
  }

  #images(change: Change): Images {
    const { sent, reader } = change;
    const { op } = sent;
    const whole = reader.reading(change.exactness, false);
    const keys = op === 'truncate' ? NO_KEYS : this.#keys(change, whole);
    const before =
      sent.before === null || keys.onlyKeyIsReal ? null : reader.row(sent.before, whole);
    // Without the old row an update, or the new half of a key change, may lack large values.
    const partial = (op === 'update' && before === null) || (op === 'create' && keys.moved);
    const after =
      sent.after === null || op === 'delete' || op === 'truncate'
        ? null
        : reader.row(sent.after, partial ? reader.reading(change.exactness, true) : whole);
    return { key: keys.key, oldKey: keys.oldKey, newKey: keys.newKey, before, after };
  }

  /** The keys of rows, by the catalogue's key. A table without one has none. */
  #keys(change: Change, reading: RowReading): Keys {
    const { sent, reader, record } = change;
    if (reader.table.key.length === 0) return NO_KEYS;
    const message = this.#openKey(change);
    const sentKey = message && reader.key(message.schema, message.payload, reading);
    const onlyKeyIsReal = sent.op === 'delete' && !this.#connector.deletedRowIsReal;
    const row = sent.op === 'delete' ? sent.before : sent.after;
    const key = sentKey ?? (row && reader.key(row.schema, row.row, reading));
    if (key === null) {
      throw new Problem('KEY_MISSING', 'neither the message key nor the row has the whole key');
    }
    if (sentKey === null && sent.op === 'update' && sent.before !== null) {
      // Of a message key without the table's key the connector does not see that it changed.
      const old = reader.key(sent.before.schema, sent.before.row, reading);
      if (old !== null && !sameKey(reader.table, old, key)) {
        const unsure = !this.#connector.deletedRowIsReal;
        return { key, oldKey: old, newKey: null, moved: true, onlyKeyIsReal: unsure };
      }
    }
    const oldKey = this.#headerKey(change, message, OLD_KEY, reading);
    return {
      key,
      oldKey: sent.op === 'update' && !sent.moves ? null : oldKey,
      newKey: this.#headerKey(change, message, NEW_KEY, reading),
      moved: headerNamed(record.headers, OLD_KEY) !== null,
      onlyKeyIsReal,
    };
  }

  #openKey({ record, exactness }: Change): Opened | null {
    if (record.key === null) return null;
    const opened = this.#opener.open(record, 'key', record.key, exactness);
    return opened.payload === null ? null : opened;
  }

  #headerKey(
    { record, reader }: Change,
    key: Opened | null,
    name: typeof OLD_KEY | typeof NEW_KEY,
    reading: RowReading,
  ): RowImage | null {
    if (key === null) return null;
    return headerKey(record, name, { opener: this.#opener, reader, reading, key });
  }
}
