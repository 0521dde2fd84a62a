/** `trunk.schema: events`: what the records themselves tell about the tables. */
import type { TableId } from '../change/table-id.ts';
import { tableName } from '../change/table-id.ts';
import { recordBytes, type LogRecord } from '../change/record.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import { eventTableSchema, type EventTableSchema } from '../schema/event-schema.ts';
import type { RuntimeContext } from './context.ts';

/**
 * Reads the log from its start to its present end and takes the newest schema of every table.
 * Only JSON with schemas tells one. Errors: CONFIG_INVALID if no record does.
 */
export async function collectEventSchemas(
  context: RuntimeContext,
): Promise<readonly EventTableSchema[]> {
  await using source = await context.openSource();
  const found = new Map<string, EventTableSchema>();
  const [ends, starts] = await Promise.all([source.ends(), source.starts()]);
  const missing = new Set(
    [...ends].filter(([key, end]) => end > (starts.get(key) ?? 0n)).map(([key]) => key),
  );
  const stop = new AbortController();
  await using stream = await source.open(new Map(), {
    budgetBytes: context.config.apply.budgetBytes,
    group: `understudy.${context.config.trunk.name}`,
    signal: stop.signal,
  });
  if (missing.size > 0) {
    for await (const chunk of stream.chunks) {
      for (const record of chunk.records) {
        const schema = schemaOf(record, context.includes);
        if (schema !== null) found.set(tableName(schema.table), schema);
        stream.released(recordBytes(record));
      }
      const partition = `${chunk.topic}/${chunk.partition}`;
      if (chunk.next >= (ends.get(partition) ?? 0n)) missing.delete(partition);
      if (missing.size === 0) break;
    }
  }
  if (found.size === 0) {
    throw new UnderstudyError(
      'CONFIG_INVALID',
      'trunk.schema is `events`, but no record in the log carries a schema',
      {
        detail:
          'only JSON with schemas in Debezium’s own form tells them: set ' +
          'value.converter.schemas.enable=true, or use trunk.schema: production or an SQL file',
      },
    );
  }
  return [...found.values()];
}

interface Envelope {
  readonly schema?: unknown;
  readonly payload?: {
    readonly source?: {
      readonly schema?: unknown;
      readonly db?: unknown;
      readonly table?: unknown;
    };
  };
}

/** Null for records that are no row of an included table, or carry no schema. */
function schemaOf(
  record: LogRecord,
  includes: (table: TableId) => boolean,
): EventTableSchema | null {
  const value = parse(record.value);
  const source = value?.payload?.source;
  const schema = source?.schema ?? source?.db;
  const name = source?.table;
  if (typeof schema !== 'string' || typeof name !== 'string' || name === '') return null;
  const table = { schema, name };
  if (value?.schema === undefined || !includes(table)) return null;
  return eventTableSchema(table, value.schema, parse(record.key)?.schema);
}

/** Null for what is no JSON object: whether that is an error is for the decoder to say. */
function parse(bytes: Buffer | null): Envelope | null {
  if (bytes?.[0] !== 0x7b) return null;
  try {
    return JSON.parse(bytes.toString('utf8')) as Envelope;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
