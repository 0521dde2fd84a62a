import type { LogRecord } from '../../change/record.ts';
import { controlRecord, sideRecord } from '../control-records.ts';
import { schemaField } from '../envelope/connect-schema.ts';
import { isObject, type Exactness } from '../envelope/exact-number.ts';
import type { Opened } from '../envelope/json.ts';
import type { SchemaRef } from '../envelope/schema-store.ts';
import { Problem } from '../problem.ts';
import { envelopeChange } from './envelope-change.ts';
import {
  other,
  placeOf,
  type FormContext,
  type FormReader,
  type Sent,
  type SentRow,
} from './form.ts';

/** Debezium's envelope as the connector makes it, whatever topic it was routed to. */
export class DebeziumForm implements FormReader {
  readonly #context: FormContext;

  constructor(context: FormContext) {
    this.#context = context;
  }

  read(record: LogRecord, exactness: Exactness): Sent {
    if (record.value === null) return other('tombstone', placeOf(record));
    const opened = this.#context.opener.openChange(record, record.value, exactness);
    const envelope = opened.payload;
    if (isEnvelope(envelope)) {
      return envelopeChange(this.#context, record, {
        op: envelope['op'],
        source: envelope.source,
        transaction: envelope['transaction'],
        before: rowOf(opened, envelope, 'before'),
        after: rowOf(opened, envelope, 'after'),
      });
    }
    const at = placeOf(record);
    const control = controlRecord({ ...this.#context, opened, at }) ?? sideRecord(opened, at);
    if (control !== null) return control;
    throw new Problem(
      'RECORD_UNKNOWN',
      "not a record in Debezium's own form; source.form says what a transform or converter made",
    );
  }

  missing(record: LogRecord): readonly SchemaRef[] {
    return record.value === null ? [] : this.#context.opener.missing(record);
  }
}

/** A change's value, as the connector makes it. */
export function isEnvelope(
  payload: unknown,
): payload is Readonly<Record<string, unknown>> & { source: Readonly<Record<string, unknown>> } {
  return isObject(payload) && 'op' in payload && isObject(payload['source']);
}

function rowOf(
  opened: Opened,
  envelope: Readonly<Record<string, unknown>>,
  side: 'before' | 'after',
): SentRow | null {
  const row = envelope[side];
  if (row === null || row === undefined) return null;
  return { schema: schemaField(opened.schema, side) ?? null, row, extended: false };
}
