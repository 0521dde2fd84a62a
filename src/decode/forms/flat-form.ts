/**
 * Rows without an envelope, as ExtractNewRecordState makes them: the value is the new row, with
 * fields `__…` where the transform adds some. A delete is a value of null (with a key), or the old
 * row with `__deleted`. What the transform leaves alone (boundaries, heartbeats, messages) is as
 * Debezium makes it.
 */
import type { LogOffset } from '../../change/position.ts';
import type { LogRecord, Op } from '../../change/record.ts';
import type { TableId } from '../../change/table-id.ts';
import type { SchemaCatalogue } from '../../schema/table-schema.ts';
import type { SourceBlock } from '../connectors/connector.ts';
import { controlRecord, milliseconds, sideRecord } from '../control-records.ts';
import type { ConnectSchema } from '../envelope/connect-schema.ts';
import { isObject, type Exactness } from '../envelope/exact-number.ts';
import type { Opened } from '../envelope/json.ts';
import type { SchemaRef } from '../envelope/schema-store.ts';
import type { NameMode } from '../names.ts';
import { Problem } from '../problem.ts';
import { isEnvelope } from './debezium-form.ts';
import { checkOrigin, envelopeChange, snapshotOf } from './envelope-change.ts';
import {
  headerNamed,
  OPS,
  other,
  placeOf,
  type FlatDeletes,
  type FormContext,
  type FormReader,
  type Sent,
} from './form.ts';
import { tableOfSchema, TopicTables } from './topic-tables.ts';

export interface FlatOptions {
  readonly catalogue: () => SchemaCatalogue;
  readonly include: (table: TableId) => boolean;
  readonly deletes: FlatDeletes;
  readonly names: NameMode;
}

type Row = Readonly<Record<string, unknown>>;

/** Fields of the source block that may have been added and that we read. */
const SOURCE_FIELDS = [
  ...['connector', 'name', 'snapshot', 'db', 'schema', 'table', 'sequence'],
  ...['lsn', 'txId', 'file', 'pos', 'row', 'gtid'],
];
const INTEGERS: ReadonlySet<string> = new Set(['lsn', 'txId', 'pos', 'row', 'ts_ms']);

export class FlatForm implements FormReader {
  readonly #context: FormContext;
  readonly #options: FlatOptions;
  #catalogue: SchemaCatalogue | null = null;
  #tables: TopicTables | null = null;

  constructor(context: FormContext, options: FlatOptions) {
    this.#context = context;
    this.#options = options;
  }

  read(record: LogRecord, exactness: Exactness): Sent {
    const at = placeOf(record);
    if (record.value === null) return this.#withoutRow(record, at);
    const opened = this.#context.opener.open(record, 'value', record.value, exactness);
    if (opened.payload === null) return this.#withoutRow(record, at);
    const row = opened.payload;
    const control = controlRecord({ ...this.#context, opened, at });
    // Without a transaction's marks on its rows, its boundaries say nothing.
    if (control?.kind === 'begin' || control?.kind === 'end') return other('ignored', at);
    if (control !== null) return control;
    if (isMessage(row, record.topic, this.#context.topicPrefix)) {
      const rows = { transaction: null, before: null, after: null };
      return envelopeChange(this.#context, record, { op: row['op'], source: row.source, ...rows });
    }
    if (!isObject(row)) throw new Problem('RECORD_UNKNOWN', 'the value is not a row');
    return this.#row(record, at, opened, row);
  }

  missing(record: LogRecord): readonly SchemaRef[] {
    return this.#context.opener.missing(record);
  }

  #row(record: LogRecord, at: LogOffset, opened: Opened, row: Row): Sent {
    const source = this.#sourceOf(record, row);
    const table = this.#tableOf(record.topic, source, opened.schema);
    if (table === 'ignored') return other('ignored', at);
    if (table === null) {
      const side = sideRecord(opened, at);
      if (side !== null) return side;
      throw noTable(record.topic);
    }
    const columns = this.#topicTables().columnsOf(table);
    const added = (name: string): unknown => (columns.has(name) ? undefined : row[name]);
    const sentOp = added('__op') ?? text(headerNamed(record.headers, '__op'));
    const moved = headerNamed(record.headers, '__debezium.oldkey') !== null;
    const fromSnapshot = snapshot(source);
    // A row that nothing is said of may be an update, which may lack large values.
    const unsaid = moved ? 'create' : fromSnapshot === 'no' ? 'update' : 'read';
    const op: Op = String(added('__deleted')) === 'true' ? 'delete' : (OPS.get(sentOp) ?? unsaid);
    const sent = { schema: opened.schema, row, extended: true };
    if (op === 'truncate') throw new Problem('RECORD_CORRUPT', 'a truncate cannot have a row');
    // Where the transform drops the deletes, that of the old key never comes.
    const alone = moved && op === 'create' && this.#options.deletes === 'drop';
    return {
      kind: 'sent',
      op: alone ? 'update' : op,
      table,
      before: op === 'delete' ? sent : null,
      after: op === 'delete' ? null : sent,
      moves: alone,
      position: this.#context.connector.position(source),
      snapshot: op === 'read' && source['snapshot'] === undefined ? 'initial' : fromSnapshot,
      eventTimeMs: milliseconds(source['ts_ms'] ?? null),
      transaction: null,
    };
  }

  /** A value of null: the delete of the row with that key. */
  #withoutRow(record: LogRecord, at: LogOffset): Sent {
    // It follows the delete that says it all.
    if (this.#options.deletes === 'rewrite-with-tombstone') return other('tombstone', at);
    const source = this.#sourceOf(record, {});
    const table = this.#tableOf(record.topic, source, null);
    if (table === 'ignored') return other('ignored', at);
    if (table === null) throw noTable(record.topic);
    return {
      kind: 'sent',
      op: 'delete',
      table,
      before: null,
      after: null,
      moves: false,
      position: this.#context.connector.position(source),
      snapshot: 'no',
      eventTimeMs: milliseconds(source['ts_ms'] ?? null),
      transaction: null,
    };
  }

  /** What was added to the row, or to the headers, as far as it is of the source block. */
  #sourceOf(record: LogRecord, row: Row): SourceBlock {
    const source: Record<string, unknown> = {};
    const tables = this.#topicTables();
    const take = (part: string, ...names: readonly string[]): void => {
      for (const name of names) {
        const field = tables.isColumn(record.topic, name) ? null : row[name];
        const value = field ?? text(headerNamed(record.headers, name));
        if (value === null) continue;
        source[part] = INTEGERS.has(part) ? integerOf(value) : value;
        return;
      }
    };
    for (const field of SOURCE_FIELDS) take(field, `__source_${field}`, `__${field}`);
    // The bare `ts_ms` is the time at which the connector read the change.
    take('ts_ms', '__source_ts_ms');
    return source;
  }

  /** Null: no table is known for it. */
  #tableOf(
    topic: string,
    source: SourceBlock,
    row: ConnectSchema | null,
  ): TableId | 'ignored' | null {
    const { connector, topicPrefix } = this.#context;
    const { connector: made = connector.name, name = topicPrefix } = source;
    checkOrigin({ connector: made, name }, this.#context);
    const tables = this.#topicTables();
    const { table } = source;
    const schema = source[connector.schemaField];
    if (typeof table === 'string' && typeof schema === 'string') return { schema, name: table };
    const known = typeof table === 'string' ? tables.ofName(table, topic) : tables.ofTopic(topic);
    if (known !== null) return known;
    if (this.#isExcluded(topic)) return 'ignored';
    const { names } = this.#options;
    return tableOfSchema(row?.name, { topic, topicPrefix, names });
  }

  /** Is it, by name, the topic of a table that the configuration leaves out? */
  #isExcluded(topic: string): boolean {
    const prefix = `${this.#context.topicPrefix}.`;
    if (!topic.startsWith(prefix)) return false;
    const [schema, name, ...more] = topic.slice(prefix.length).split('.');
    if (schema === undefined || name === undefined || more.length > 0) return false;
    return !this.#options.include({ schema, name });
  }

  #topicTables(): TopicTables {
    const catalogue = this.#options.catalogue();
    if (this.#tables === null || catalogue !== this.#catalogue) {
      this.#tables = new TopicTables(catalogue, this.#context.topicPrefix);
      this.#catalogue = catalogue;
    }
    return this.#tables;
  }
}

/** Messages of pg_logical_emit_message pass the transform unchanged, on a topic of their own. */
function isMessage(
  payload: unknown,
  topic: string,
  topicPrefix: string,
): payload is Row & { source: SourceBlock } {
  return topic === `${topicPrefix}.message` && isEnvelope(payload) && payload['op'] === 'm';
}

function text(header: Buffer | null): string | null {
  return header === null ? null : header.toString('utf8');
}

function integerOf(value: unknown): unknown {
  return typeof value === 'string' && /^-?\d{1,19}$/.test(value) ? BigInt(value) : value;
}

function snapshot(source: SourceBlock): ReturnType<typeof snapshotOf> {
  return snapshotOf(source['snapshot']);
}

function noTable(topic: string): Problem {
  return new Problem(
    'TABLE_UNKNOWN',
    `nothing says of which table ${topic} is; let the transform add the fields table and ` +
      'source.schema (or source.db), or exclude the topic',
  );
}
