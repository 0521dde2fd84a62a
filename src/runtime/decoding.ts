import type { PrepareOptions } from '../apply/follower.ts';
import type { ChangeEvent, DecodedRecord, LogRecord } from '../change/record.ts';
import type { TableId } from '../change/table-id.ts';
import type { Config } from '../config/schema.ts';
import { createDecoder } from '../decode/decoder.ts';
import { identityMasker } from '../mask/masker.ts';
import type { Logger } from '../observability/logger.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import { fetching, openRegistry } from './schema-registry.ts';

/** From records to masked events, as one source writes them for one shadow. */
export interface Decoding {
  /** Null where nothing is ever to be fetched. */
  readonly prepare: ((record: LogRecord, options: PrepareOptions) => Promise<void> | null) | null;
  readonly decode: (record: LogRecord) => DecodedRecord;
  readonly mask: (event: ChangeEvent) => ChangeEvent;
}

export function openDecoding(parts: {
  readonly config: Config;
  readonly catalogue: SchemaCatalogue;
  readonly includes: (table: TableId) => boolean;
  readonly logger: Logger;
}): Decoding {
  const { config, catalogue } = parts;
  const registry = openRegistry(config, parts.logger);
  const decoder = createDecoder({
    connector: config.source.connector,
    topicPrefix: config.source.topicPrefix,
    modes: config.source.modes,
    form: config.source.form,
    catalogue: () => catalogue,
    include: parts.includes,
    registry: registry === null ? null : { wire: registry.wire, schemas: registry.schemas },
  });
  return {
    prepare: registry === null ? null : fetching(decoder, registry.schemas),
    decode: (record) => decoder.decode(record),
    mask: (event) => identityMasker.mask(event),
  };
}
