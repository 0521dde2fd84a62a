/**
 * Who wrote a record, and where in the source's log it stands: what a record says of itself in any
 * encoding, before any table is known. Of what a form has taken out of the envelope nothing is told.
 */
import type { SourcePosition } from '../change/position.ts';
import type { ChangeEvent, LogRecord } from '../change/record.ts';
import type { TableId } from '../change/table-id.ts';
import {
  order,
  type Connector,
  type PositionOrder,
  type SourceBlock,
} from './connectors/connector.ts';
import { connectorNamed } from './connectors/connectors.ts';
import { milliseconds } from './control-records.ts';
import { parseConnectSchema, schemaField, type ConnectSchema } from './envelope/connect-schema.ts';
import { isObject, NeedExact } from './envelope/exact-number.ts';
import { RecordOpener, type DecoderRegistry } from './envelope/opener.ts';
import type { SchemaRef } from './envelope/schema-store.ts';
import { attributesOf } from './forms/cloudevents-form.ts';
import { snapshotOf } from './forms/envelope-change.ts';
import { Problem } from './problem.ts';

export interface RecordOrigin {
  /** topic.prefix; null where the source block lacks it. */
  readonly name: string | null;
  readonly connector: string | null;
  readonly database: string | null;
  /** The rest is told of records of the expected connector only. */
  readonly own: {
    readonly table: TableId;
    readonly snapshot: ChangeEvent['snapshot'];
    readonly position: SourcePosition;
    /** When production committed it, or the snapshot read it: `source.ts_ms`. */
    readonly timeMs: number | null;
    /** The schema of its new row, else of its old one; null where the record carries none. */
    readonly row: ConnectSchema | null;
  } | null;
}

type Json = Readonly<Record<string, unknown>>;

export class OriginReader {
  readonly #connector: Connector;
  readonly #opener: RecordOpener;

  constructor(connector: SourcePosition['connector'], registry: DecoderRegistry | null) {
    this.#connector = connectorNamed(connector);
    this.#opener = new RecordOpener(registry);
  }

  /** The schemas to fetch before `read`; none of a record that cannot be read. */
  missing(record: LogRecord): readonly SchemaRef[] {
    return readable(() => this.#opener.missing({ ...record, key: null })) ?? [];
  }

  /** Null for what is no change of a row, and for what cannot be read: that the decoder says. */
  read(record: LogRecord): RecordOrigin | null {
    const { value } = record;
    return value === null ? null : readable(() => this.#read(record, value));
  }

  /** Where `a` stands seen from `b` in production's log; `incomparable` where they do not tell. */
  compare(a: SourcePosition, b: SourcePosition): PositionOrder {
    // A connector that starts anew has seen no commit yet, and a snapshot none at all: what such a
    // record says of its place is its own LSN, which all that comes later has passed somehow.
    if ('lastCommitLsn' in a && 'lastCommitLsn' in b) {
      if ((a.lastCommitLsn === null) !== (b.lastCommitLsn === null)) {
        return order(latest(a), latest(b));
      }
    }
    return this.#connector.compare(a, b);
  }

  #read(record: LogRecord, value: Buffer): RecordOrigin | null {
    const { payload, schema } = this.#opener.open(record, 'value', value, 'exact');
    if (!isObject(payload)) return null;
    const source = rowSource(payload);
    if (source === null) return null;
    const connector = textOf(source, 'connector');
    const rows = rowsSchema(payload, schema);
    const rowSchema = schemaField(rows, 'after') ?? schemaField(rows, 'before') ?? null;
    const own = (): RecordOrigin['own'] => ({
      table: this.#connector.table(source),
      snapshot: snapshotOf(source['snapshot']),
      position: this.#connector.position(source),
      timeMs: milliseconds(source['ts_ms']),
      row: rowSchema,
    });
    return {
      name: textOf(source, 'name'),
      connector,
      database: textOf(source, 'db'),
      own: connector === this.#connector.name ? readable(own) : null,
    };
  }
}

function latest(of: {
  readonly lsn: bigint | null;
  readonly lastCommitLsn: bigint | null;
}): bigint {
  const { lsn, lastCommitLsn } = of;
  return (lsn ?? 0n) > (lastCommitLsn ?? 0n) ? (lsn ?? 0n) : (lastCommitLsn ?? 0n);
}

function rowSource(payload: Json): SourceBlock | null {
  const { op, source } = payload;
  const event = payload['iodebeziumop'];
  if (typeof event === 'string' && event !== 'm') return attributesOf(payload);
  return typeof op === 'string' && op !== 'm' && isObject(source) ? source : null;
}

/** The schema of what has the rows: the record's own, or that of a CloudEvent's data. */
function rowsSchema(payload: Json, schema: ConnectSchema | null): ConnectSchema | null {
  const { data, specversion } = payload;
  if (specversion === undefined) return schema;
  if (isObject(data) && 'schema' in data) return parseConnectSchema(data['schema']);
  return schemaField(schema, 'data') ?? null;
}

function textOf(source: SourceBlock, field: string): string | null {
  const value = source[field];
  return typeof value === 'string' ? value : null;
}

function readable<T>(act: () => T): T | null {
  try {
    return act();
  } catch (error) {
    const unreadable = error instanceof Problem || error instanceof NeedExact;
    if (unreadable || error instanceof RangeError) return null;
    throw error;
  }
}
