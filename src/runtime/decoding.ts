import type { PrepareOptions } from '../apply/follower-parts.ts';
import { causeOf, type DeadCause } from '../change/dead-cause.ts';
import {
  recordBytes,
  type ChangeEvent,
  type DecodedRecord,
  type LogRecord,
} from '../change/record.ts';
import type { TableId } from '../change/table-id.ts';
import type { Config } from '../config/schema.ts';
import { createDecoder, type Decoder } from '../decode/decoder.ts';
import { RecordOpener } from '../decode/envelope/opener.ts';
import { MessageKeys } from '../decode/message-key.ts';
import { isUnderstudyError, UnderstudyError } from '../errors/understudy-error.ts';
import { identityMasker } from '../mask/masker.ts';
import type { Logger } from '../observability/logger.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import { fetching, openRegistry, type Registry } from './schema-registry.ts';
import type { RecordWatch, SchemaWatch } from './schema-watch.ts';

/** From records to masked events, as one source writes them for one shadow. */
export interface Decoding {
  /** Null where nothing is ever to be fetched. */
  readonly prepare: ((record: LogRecord, options: PrepareOptions) => Promise<void> | null) | null;
  readonly decode: (record: LogRecord) => DecodedRecord;
  readonly mask: (event: ChangeEvent) => ChangeEvent;
}

/**
 * With `setsAside`, a record that is too large or that is damaged is an unread change where its topic
 * and key tell the row; else, and where they do not, `decode` throws. What is wrong with all records
 * of a kind (a column or type that is not known, a foreign record) is thrown in any case.
 */
export function openDecoding(parts: {
  readonly config: Config;
  readonly catalogue: SchemaCatalogue;
  readonly includes: (table: TableId) => boolean;
  readonly setsAside: boolean;
  readonly logger: Logger;
  /**
   * Why all rows of a table wait from a record on that `catalogue` does not let be read; null if it
   * is to be thrown. Default: it is.
   */
  readonly held?: ((error: UnderstudyError) => DeadCause | null) | undefined;
  /** Whether a record is of a table that was dropped, and is passed over. Default: none is. */
  readonly isGone?: SchemaWatch['isGone'] | undefined;
  /** The table here, by its label, that records of one wait with which is not here. Default: none. */
  readonly heldUnder?: SchemaWatch['heldUnder'] | undefined;
  readonly isOld?: SchemaWatch['isOld'] | undefined;
  /** Told of every record that was read; rejects as decoding does. Default: nobody is. */
  readonly watch?: RecordWatch | undefined;
}): Decoding {
  const { config, catalogue, setsAside, held } = parts;
  const registry = openRegistry(config, parts.logger);
  const wire = registry === null ? null : { wire: registry.wire, schemas: registry.schemas };
  const keys = new MessageKeys(new RecordOpener(wire));
  const decoder = createDecoder({
    connector: config.source.connector,
    topicPrefix: config.source.topicPrefix,
    modes: config.source.modes,
    form: config.source.form,
    catalogue: () => catalogue,
    include: parts.includes,
    ...{ isOld: parts.isOld, isGone: parts.isGone },
    registry: wire,
  });
  const max = config.apply.maxRecordBytes;
  return {
    prepare: registry === null ? null : preparing(decoder, registry, max),
    decode: (record) => {
      try {
        if (recordBytes(record) > max) throw tooLarge(record, max);
        const decoded = decoder.decode(record);
        parts.watch?.(decoded, () => keys.fields(record));
        return decoded;
      } catch (error) {
        if (isUnderstudyError(error, 'TABLE_UNKNOWN')) {
          const { topic, partition, offset } = record;
          const at = { topic, partition, offset };
          if (parts.isGone?.(error.context.table ?? '', at) === true) {
            return { kind: 'ignored', at, eventTimeMs: null };
          }
        }
        if (!setsAside) throw error;
        const label = isOfSchema(error) ? (error.context.table ?? '') : '';
        const table = catalogue.get(label) ?? catalogue.get(parts.heldUnder?.(label) ?? '');
        const waits = isOfSchema(error) && table !== undefined ? (held?.(error) ?? null) : null;
        if (table !== undefined && waits !== null) return decoder.held(record, table.id, waits);
        if (!isDamage(error)) throw error;
        return decoder.unread(record, causeOf(error)) ?? rethrow(error);
      }
    },
    mask: (event) => identityMasker.mask(event),
  };
}

/** Of a record that is not to be parsed, or cannot be, only the key is read. */
function preparing(
  decoder: Decoder,
  { schemas }: Registry,
  max: number,
): NonNullable<Decoding['prepare']> {
  const fetchAll = fetching(decoder, schemas);
  const fetchOfKey = fetching({ missing: (record) => decoder.missingOfKey(record) }, schemas);
  return (record, options) => {
    if (recordBytes(record) > max) return fetchOfKey(record, options);
    try {
      return fetchAll(record, options);
    } catch (error) {
      // Decoding says what is wrong with it.
      if (isDamage(error)) return fetchOfKey(record, options);
      throw error;
    }
  };
}

/** Is it of this one record, so that the next one may well be read? */
function isDamage(error: unknown): error is UnderstudyError {
  return isUnderstudyError(error, 'RECORD_CORRUPT', 'RECORD_TOO_LARGE', 'VALUE_UNREADABLE');
}

/** Is it of the table, as the shadow has it? */
function isOfSchema(error: unknown): error is UnderstudyError {
  return isUnderstudyError(
    error,
    ...(['COLUMN_UNKNOWN', 'TYPE_UNKNOWN', 'TABLE_UNKNOWN'] as const),
    ...(['SCHEMA_CHANGED', 'KEY_MISSING'] as const),
  );
}

function tooLarge(record: LogRecord, max: number): UnderstudyError {
  const what = `the record has ${recordBytes(record)} bytes, and ${max} are allowed`;
  const { topic, partition, offset } = record;
  return new UnderstudyError('RECORD_TOO_LARGE', what, { topic, partition, offset });
}

function rethrow(error: UnderstudyError): never {
  const detail = 'it cannot be set aside: its topic and message key do not tell which row it is of';
  throw new UnderstudyError(error.code, error.message, { ...error.context, detail }, error);
}
