/**
 * Opens keys and values, each in the encoding it is in: JSON, or Avro of a schema registry. Which
 * one it is, the record's headers and first byte say; nothing is tried out.
 */
import type { LogRecord } from '../../change/record.ts';
import { Problem } from '../problem.ts';
import { AvroReader } from './avro.ts';
import type { Exactness } from './exact-number.ts';
import { frameOf, nameSchemas, type Frame, type RecordSide } from './framing.ts';
import { endsAsObject, JsonOpener, type Opened } from './json.ts';
import {
  schemaRefName,
  type SchemaRef,
  type SchemaStore,
  type WireFormat,
} from './schema-store.ts';

const NO_HEADERS: LogRecord['headers'] = [];

/** The schema registry that the producers use. */
export interface DecoderRegistry {
  readonly wire: WireFormat;
  readonly schemas: SchemaStore;
}

export class RecordOpener {
  readonly #registry: DecoderRegistry | null;
  readonly #json = { key: new JsonOpener(), value: new JsonOpener() };
  readonly #readers = new Map<string, AvroReader>();
  /** The headers last seen, which neighbours share, and what of them concerns schemas. */
  #headers: LogRecord['headers'] = NO_HEADERS;
  #schemaHeaders: LogRecord['headers'] = NO_HEADERS;

  constructor(registry: DecoderRegistry | null) {
    this.#registry = registry;
  }

  /**
   * Throws a Problem: RECORD_CORRUPT, UNSUPPORTED for a framing the configuration does not name,
   * SCHEMA_UNKNOWN for a schema that was not fetched before.
   */
  open(record: LogRecord, side: RecordSide, bytes: Buffer, exactness: Exactness): Opened {
    const frame = this.#frame(record, side, bytes);
    if (frame === null) return this.#json[side].open(record.topic, bytes, exactness);
    return this.#reader(frame.ref).open(frame.body, exactness);
  }

  /** As `open`, for a value that should be a change in Debezium's envelope (see JsonOpener). */
  openChange(record: LogRecord, bytes: Buffer, exactness: Exactness): Opened {
    const frame = this.#frame(record, 'value', bytes);
    if (frame === null) return this.#json.value.openChange(record.topic, bytes, exactness);
    return this.#reader(frame.ref).open(frame.body, exactness);
  }

  /**
   * For bytes whose content another part of the record tells as well: throws what `open` would
   * throw for an object or a frame that is cut off, without reading what is between.
   */
  check(record: LogRecord, side: RecordSide, bytes: Buffer): void {
    if (this.#frame(record, side, bytes) !== null) return;
    if (!endsAsObject(bytes)) this.#json[side].open(record.topic, bytes, 'native');
  }

  /** Names the schema that the bytes refer to; null where they carry it, or have none. */
  schemaName(record: LogRecord, side: RecordSide, bytes: Buffer): string | null {
    const frame = this.#frame(record, side, bytes);
    return frame === null ? null : schemaRefName(frame.ref);
  }

  get hasRegistry(): boolean {
    return this.#registry !== null;
  }

  /** Opens text that is JSON whatever the record is. `topic` names a place of its own in caches. */
  openJson(topic: string, bytes: Buffer, exactness: Exactness): Opened {
    return this.#json.key.open(topic, bytes, exactness);
  }

  /** Opens bytes inside a record that carry a frame of their own. Throws as `open` does. */
  openFramed(bytes: Buffer, exactness: Exactness): Opened {
    const frame = frameOf(NO_HEADERS, 'value', bytes, this.#registry?.wire ?? null);
    if (frame === null) throw new Problem('RECORD_CORRUPT', 'the data in Avro names no schema');
    return this.#reader(frame.ref).open(frame.body, exactness);
  }

  /** The schema that must be fetched before `openFramed`. Throws as it does. */
  missingOf(bytes: Buffer): readonly SchemaRef[] {
    const frame = frameOf(NO_HEADERS, 'value', bytes, this.#registry?.wire ?? null);
    return frame === null || this.#has(frame.ref) ? [] : [frame.ref];
  }

  /** The schemas that must be fetched before the record can be opened. Throws as `open` does. */
  missing(record: LogRecord): readonly SchemaRef[] {
    if (this.#registry === null) return [];
    const value = record.value === null ? null : this.#missing(record, 'value', record.value);
    const key = record.key === null ? null : this.#missing(record, 'key', record.key);
    if (value === null) return key === null ? [] : [key];
    return key === null ? [value] : [value, key];
  }

  #missing(record: LogRecord, side: RecordSide, bytes: Buffer): SchemaRef | null {
    const ref = this.#frame(record, side, bytes)?.ref;
    return ref === undefined || this.#has(ref) ? null : ref;
  }

  #has(ref: SchemaRef): boolean {
    if (this.#readers.has(schemaRefName(ref))) return true;
    return this.#registry?.schemas.schema(ref) !== undefined;
  }

  #frame(record: LogRecord, side: RecordSide, bytes: Buffer): Frame | null {
    if (record.headers !== this.#headers) {
      this.#headers = record.headers;
      this.#schemaHeaders = nameSchemas(record.headers) ? record.headers : NO_HEADERS;
    }
    return frameOf(this.#schemaHeaders, side, bytes, this.#registry?.wire ?? null);
  }

  #reader(ref: SchemaRef): AvroReader {
    const name = schemaRefName(ref);
    const known = this.#readers.get(name);
    if (known !== undefined) return known;
    const json = this.#registry?.schemas.schema(ref);
    if (json === undefined) {
      throw new Problem('SCHEMA_UNKNOWN', `the record's schema, ${name}, was not fetched`);
    }
    const reader = new AvroReader(json);
    this.#readers.set(name, reader);
    return reader;
  }
}
