/** What Debezium's envelope says, wherever its parts stand. */
import type { LogRecord, ChangeEvent, TransactionMark } from '../../change/record.ts';
import type { Connector, SourceBlock } from '../connectors/connector.ts';
import { milliseconds } from '../control-records.ts';
import { asObject, integer } from '../envelope/exact-number.ts';
import { Problem } from '../problem.ts';
import { OPS, other, placeOf, type FormContext, type Sent, type SentRow } from './form.ts';

export interface Envelope {
  readonly op: unknown;
  readonly source: SourceBlock;
  readonly transaction: unknown;
  readonly before: SentRow | null;
  readonly after: SentRow | null;
}

/** Throws a Problem: RECORD_UNKNOWN, RECORD_CORRUPT; or NeedExact. */
export function envelopeChange(context: FormContext, record: LogRecord, envelope: Envelope): Sent {
  const { source } = envelope;
  const eventTimeMs = milliseconds(source['ts_ms']);
  if (isAnotherConnectors(source, record.topic, context)) {
    return other('ignored', placeOf(record), eventTimeMs);
  }
  checkOrigin(source, context);
  if (envelope.op === 'm') return other('message', placeOf(record), eventTimeMs);
  const op = OPS.get(envelope.op);
  if (op === undefined) throw new Problem('RECORD_UNKNOWN', 'the operation is not known');
  return {
    kind: 'sent',
    op,
    table: context.connector.table(source),
    before: envelope.before,
    after: envelope.after,
    moves: false,
    position: context.connector.position(source),
    snapshot: snapshotOf(source['snapshot']),
    eventTimeMs,
    // A mark of a transaction that gets no END (MariaDB) would hold the truncate up for ever.
    transaction:
      op === 'truncate' && !context.connector.truncatesAreMarked
        ? null
        : transactionMark(envelope.transaction, context.connector),
  };
}

/**
 * The record's own connector has a prefix that begins with ours (`prod`, `prod.eu`): its topics
 * look like ours by name, so ours is told by the record.
 */
function isAnotherConnectors(
  source: SourceBlock,
  topic: string,
  { topicPrefix }: FormContext,
): boolean {
  const { name } = source;
  if (typeof name !== 'string' || name === topicPrefix) return false;
  return name.startsWith(`${topicPrefix}.`) && `${topic}.`.startsWith(`${name}.`);
}

/** Events of another connector on our topics would be applied to the wrong tables. */
export function checkOrigin(source: SourceBlock, { connector, topicPrefix }: FormContext): void {
  if (source['connector'] !== connector.name) {
    throw new Problem(
      'RECORD_UNKNOWN',
      `the record was not made by the ${connector.name} connector`,
    );
  }
  if (source['name'] !== topicPrefix) {
    throw new Problem('RECORD_UNKNOWN', `the record's connector is not ${topicPrefix}`);
  }
}

/** `source.snapshot` is a text; null where replace.null.with.default is off, and means no. */
export function snapshotOf(value: unknown): ChangeEvent['snapshot'] {
  switch (value) {
    case null:
    case undefined:
    case false:
    case 'false':
      return 'no';
    case 'incremental':
      return 'incremental';
    case true:
    case 'true':
    case 'first':
    case 'first_in_data_collection':
    case 'last_in_data_collection':
    case 'last':
      return 'initial';
    default:
      throw new Problem('RECORD_UNKNOWN', 'the kind of snapshot is not known');
  }
}

function transactionMark(block: unknown, connector: Connector): TransactionMark | null {
  if (block === null || block === undefined) return null;
  const { id, total_order: totalOrder } = asObject(block, 'the transaction block');
  if (typeof id !== 'string') {
    throw new Problem('RECORD_CORRUPT', 'the transaction block has no id');
  }
  return { id: connector.transactionId(id), totalOrder: integer(totalOrder) };
}
