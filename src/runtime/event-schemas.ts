/** `trunk.schema: events`: what the records themselves tell about the tables. */
import { recordBytes, type LogRecord } from '../change/record.ts';
import { tableName } from '../change/table-id.ts';
import { createDecoder, type RowDescription } from '../decode/decoder.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import { eventTableSchema, type EventTableSchema } from '../schema/event-schema.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import type { RuntimeContext } from './context.ts';
import { fetching, openRegistry } from './schema-registry.ts';

/**
 * Reads the log from its start to its present end and takes the newest schema of every table.
 * JSON with schemas and Avro tell one, in every form. Errors: CONFIG_INVALID if no record does,
 * TABLE_UNKNOWN if rows do not say of which table they are, UNSUPPORTED for Avro without a registry.
 */
export async function collectEventSchemas(
  context: RuntimeContext,
): Promise<readonly EventTableSchema[]> {
  await using source = await context.openSource();
  const found = new Map<string, EventTableSchema>();
  const describe = describer(context, found);
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
        await describe(record, stop.signal);
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
          'only JSON with schemas and Avro tell them: set value.converter.schemas.enable=true, ' +
          'or use trunk.schema: production or an SQL file',
      },
    );
  }
  return [...found.values()];
}

/** Takes what a record tells of its table into `found`. */
function describer(
  context: RuntimeContext,
  found: Map<string, EventTableSchema>,
): (record: LogRecord, signal: AbortSignal) => Promise<void> {
  const { source } = context.config;
  const registry = openRegistry(context.config, context.logger);
  const decoder = createDecoder({
    connector: source.connector,
    topicPrefix: source.topicPrefix,
    modes: source.modes,
    form: source.form,
    catalogue: () => NO_TABLES,
    include: context.includes,
    registry: registry === null ? null : { wire: registry.wire, schemas: registry.schemas },
  });
  const prepare = registry === null ? () => null : fetching(decoder, registry.schemas);
  const sourceName = `io.debezium.connector.${source.connector}.Source`;
  const last = new Map<string, RowDescription['row']>();
  return async (record, signal) => {
    try {
      await prepare(record, { signal, onState: () => undefined });
      const told = decoder.describe(record);
      if (told === null) return;
      const name = tableName(told.table);
      // Most records have the schema of the one before.
      if (last.get(name) === told.row) return;
      last.set(name, told.row);
      found.set(name, eventTableSchema({ ...told, sourceName }));
    } catch (error) {
      // Whether that is an error is for the decoder to say, when the record is applied.
      if (!isUnderstudyError(error, 'RECORD_CORRUPT', 'RECORD_UNKNOWN')) throw error;
    }
  };
}

const NO_TABLES: SchemaCatalogue = new Map();
