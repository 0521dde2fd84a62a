/** The schema registry that the configuration names, between the log and the decoder. */
import path from 'node:path';
import type { PrepareOptions } from '../apply/follower-parts.ts';
import type { LogRecord } from '../change/record.ts';
import type { Config } from '../config/schema.ts';
import type { Decoder } from '../decode/decoder.ts';
import type { SchemaRef, WireFormat } from '../decode/envelope/schema-store.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import type { Logger } from '../observability/logger.ts';
import { RegistryClient } from '../source/registry/registry-client.ts';
import { RegistrySchemas } from '../source/registry/registry-schemas.ts';
import { SchemaFiles } from '../source/registry/schema-files.ts';

export interface Registry {
  readonly wire: WireFormat;
  readonly schemas: RegistrySchemas;
}

/** Null where none is configured. Asks nothing yet. */
export function openRegistry(config: Config, logger: Logger): Registry | null {
  const settings = config.source.schemaRegistry;
  if (settings === undefined) return null;
  const { api, ids, idBytes } = settings;
  const client = new RegistryClient({ url: settings.url.reveal(), api });
  const folder = path.join(config.directory, '.understudy', 'schemas');
  return {
    wire: api === 'confluent' ? { api } : { api, ids, idBytes },
    schemas: new RegistrySchemas({
      client,
      files: new SchemaFiles(folder, client.address),
      logger,
    }),
  };
}

/** A record, and what lies in it: no form has more schemas within schemas than these. */
const ROUNDS = 4;

/**
 * Fetches the schemas that a record needs and the decoder lacks; null if there are none. Asks again
 * when they are here: that of an event's data is known when the event can be read. Rejects with
 * what the decoder or the registry says, at the record's place.
 */
export function fetching(
  decoder: Pick<Decoder, 'missing'>,
  schemas: Pick<RegistrySchemas, 'load'>,
): (record: LogRecord, options: PrepareOptions) => Promise<void> | null {
  return (record, options) => {
    const refs = decoder.missing(record);
    if (refs.length === 0) return null;
    return loadAll(refs, { record, decoder, schemas, options });
  };
}

async function loadAll(
  first: readonly SchemaRef[],
  parts: {
    readonly record: LogRecord;
    readonly decoder: Pick<Decoder, 'missing'>;
    readonly schemas: Pick<RegistrySchemas, 'load'>;
    readonly options: PrepareOptions;
  },
): Promise<void> {
  const { record, decoder, schemas, options } = parts;
  let refs = first;
  // What is lacking after that, decoding says.
  for (let round = 0; refs.length > 0 && round < ROUNDS; round += 1) {
    await load(refs, record, schemas, options);
    refs = decoder.missing(record);
  }
}

async function load(
  refs: readonly SchemaRef[],
  record: LogRecord,
  schemas: Pick<RegistrySchemas, 'load'>,
  options: PrepareOptions,
): Promise<void> {
  try {
    await schemas.load(refs, options);
  } catch (error) {
    if (!isUnderstudyError(error)) throw error;
    const { topic, partition, offset } = record;
    const at = { ...error.context, topic, partition, offset };
    throw new UnderstudyError(error.code, error.message, at, error);
  }
}
