import { readFileSync } from 'node:fs';
import type { LogRecord } from '../../src/change/record.ts';
import { createDecoder, type Decoder } from '../../src/decode/decoder.ts';
import type { DecoderRegistry } from '../../src/decode/envelope/opener.ts';
import type { RecordForm } from '../../src/decode/forms/form.ts';
import type { ConnectorModes } from '../../src/decode/modes.ts';
import type { SchemaCatalogue, TableSchema } from '../../src/schema/table-schema.ts';

const FOLDER = new URL('../fixtures/debezium/', import.meta.url);

type Payload = string | { readonly b64: string } | null;

/** One line of a capture: a schema, the constant headers, or a record. */
interface Line {
  readonly s?: number;
  readonly text?: string;
  readonly contextHeaders?: readonly (readonly [string, string])[];
  readonly t: string;
  readonly p: number;
  readonly o: number;
  readonly ts: number;
  readonly k: Payload;
  readonly v: Payload;
  readonly ks?: number;
  readonly vs?: number;
  readonly x?: number;
  readonly h?: readonly (readonly [string, string])[];
}

/** The records of a capture (`pg.types.default`), byte for byte, topic by topic. */
export function* capturedRecords(
  name: string,
  encoding: 'json' | 'avro' = 'json',
): Iterable<LogRecord> {
  const schemas = new Map<number, string>();
  let context: readonly (readonly [string, string])[] = [];
  const bytes = (payload: Payload, schema: number | undefined): Buffer | null => {
    if (payload === null) return null;
    if (typeof payload === 'object') return Buffer.from(payload.b64, 'base64');
    if (schema === undefined) return Buffer.from(payload);
    return Buffer.from(`{"schema":${schemas.get(schema) ?? ''},"payload":${payload}}`);
  };
  for (const text of readFileSync(new URL(`${name}.${encoding}.ndjson`, FOLDER), 'utf8').split(
    '\n',
  )) {
    if (text === '') continue;
    const line = JSON.parse(text) as Line;
    if (line.s !== undefined && line.text !== undefined) {
      schemas.set(line.s, line.text);
    } else if (line.contextHeaders !== undefined) {
      context = line.contextHeaders;
    } else {
      const headers = [...(line.x === undefined ? [] : context), ...(line.h ?? [])];
      yield {
        topic: line.t,
        partition: line.p,
        offset: BigInt(line.o),
        timestampMs: line.ts,
        key: bytes(line.k, line.ks),
        value: bytes(line.v, line.vs),
        headers: headers.map(([header, value]) => [header, Buffer.from(value)] as const),
      };
    }
  }
}

/** The registry of the Avro captures: Confluent's framing, ids as they were. */
export function capturedRegistry(): DecoderRegistry {
  const schemas = new Map<string, unknown>();
  for (const text of readFileSync(new URL('avro-schemas.ndjson', FOLDER), 'utf8').split('\n')) {
    if (text === '') continue;
    const { id, schema } = JSON.parse(text) as { readonly id: number; readonly schema: string };
    schemas.set(String(id), JSON.parse(schema));
  }
  return {
    wire: { api: 'confluent' },
    schemas: { schema: (ref) => (ref.kind === 'id' ? schemas.get(ref.id) : undefined) },
  };
}

/** The catalogue of a captured database: `types` or `behaviour`. */
export function capturedCatalogue(name: 'types' | 'behaviour'): SchemaCatalogue {
  const text = readFileSync(new URL(`${name}.catalogue.json`, FOLDER), 'utf8');
  return new Map(JSON.parse(text) as [string, TableSchema][]);
}

/** The rows of the `types` database by table, every column as the database prints it. */
export function capturedRows(): Readonly<Record<string, readonly Record<string, string | null>[]>> {
  const text = readFileSync(new URL('types.rows.json', FOLDER), 'utf8');
  return JSON.parse(text) as Record<string, Record<string, string | null>[]>;
}

/** The modes a connector has when nothing is set. */
export const DEFAULT_MODES: ConnectorModes = {
  time: 'adaptive',
  decimal: 'precise',
  binary: 'bytes',
  hstore: 'json',
  interval: 'numeric',
};

/** A decoder for a capture. */
export function captureDecoder(
  topicPrefix: string,
  catalogue: SchemaCatalogue,
  modes: ConnectorModes = DEFAULT_MODES,
  registry: DecoderRegistry | null = null,
  form: RecordForm = 'debezium',
): Decoder {
  return createDecoder({
    connector: 'postgresql',
    topicPrefix,
    modes,
    form,
    catalogue: () => catalogue,
    registry,
  });
}
