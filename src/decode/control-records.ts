/**
 * Records that are not changes of rows, told by what they are: by their schema's name where they
 * carry one, else by the topic Debezium gives them and the fields they must have.
 */
import type { LogOffset } from '../change/position.ts';
import type { OtherRecord, TransactionBoundary } from '../change/record.ts';
import type { Connector } from './connectors/connector.ts';
import type { Opened } from './envelope/json.ts';
import { integer, isObject, optionalInteger } from './envelope/exact-number.ts';
import { Problem } from './problem.ts';

type Payload = Readonly<Record<string, unknown>>;

/** A boundary or another record without rows; null if it is none that Debezium makes. */
export function controlRecord(options: {
  readonly opened: Opened;
  readonly at: LogOffset;
  readonly topicPrefix: string;
  readonly connector: Connector;
}): TransactionBoundary | OtherRecord | null {
  const { opened, at, topicPrefix, connector } = options;
  const { payload } = opened;
  if (!isObject(payload)) return null;
  const name = opened.schema?.name ?? null;
  const is = (suffix: string, byTopic: boolean, ...fields: readonly string[]): boolean =>
    (name === null ? byTopic : name.endsWith(suffix)) && fields.every((field) => field in payload);
  if (is('TransactionMetadataValue', at.topic === `${topicPrefix}.transaction`, 'status', 'id')) {
    return boundary(payload, at, connector);
  }
  if (is('.Heartbeat', at.topic.endsWith(`.${topicPrefix}`), 'ts_ms')) {
    return { kind: 'heartbeat', at, eventTimeMs: milliseconds(payload['ts_ms']) };
  }
  if (is('SchemaChangeValue', at.topic === topicPrefix, 'tableChanges', 'databaseName')) {
    return { kind: 'schema-change', at, eventTimeMs: milliseconds(payload['ts_ms']) };
  }
  if (isNotification(payload) || isSignal(payload)) {
    return { kind: 'ignored', at, eventTimeMs: null };
  }
  return null;
}

function isNotification(payload: Payload): boolean {
  return ['id', 'aggregate_type', 'type', 'additional_data'].every((field) => field in payload);
}

/** A signal on Kafka: nothing but `type` and `data`, and perhaps an id. */
function isSignal(payload: Payload): boolean {
  return (
    typeof payload['type'] === 'string' &&
    'data' in payload &&
    Object.keys(payload).every((field) => ['id', 'type', 'data'].includes(field))
  );
}

function boundary(payload: Payload, at: LogOffset, connector: Connector): TransactionBoundary {
  const { status, id } = payload;
  if (typeof id !== 'string' || (status !== 'BEGIN' && status !== 'END')) {
    throw new Problem('RECORD_CORRUPT', 'the transaction record has no id or status');
  }
  return {
    kind: status === 'BEGIN' ? 'begin' : 'end',
    at,
    id: connector.transactionId(id),
    counts: status === 'END' ? counts(payload['data_collections'], connector) : null,
    eventTimeMs: milliseconds(payload['ts_ms']),
  };
}

function counts(collections: unknown, connector: Connector): ReadonlyMap<string, bigint> {
  const result = new Map<string, bigint>();
  if (collections === null) return result;
  if (!Array.isArray(collections)) {
    throw new Problem('RECORD_CORRUPT', 'the transaction record has no data_collections');
  }
  for (const item of collections as readonly unknown[]) {
    if (!isObject(item) || typeof item['data_collection'] !== 'string') {
      throw new Problem('RECORD_CORRUPT', 'a data_collection of the transaction has no name');
    }
    const collection = item['data_collection'];
    if (connector.countsRows(collection)) result.set(collection, integer(item['event_count']));
  }
  return result;
}

/** Epoch milliseconds, or null where the connector sent none. */
export function milliseconds(value: unknown): number | null {
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
  const sent = optionalInteger(value);
  return sent === null ? null : Number(sent);
}
