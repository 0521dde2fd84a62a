/**
 * Records that are not changes of rows, told by what they are: by their schema's name where they
 * carry one, else by the topic Debezium gives them and the fields they must have.
 */
import type { LogOffset } from '../change/position.ts';
import type { OtherRecord, TransactionBoundary } from '../change/record.ts';
import type { SchemaChangeRecord } from '../change/table-change.ts';
import type { Connector } from './connectors/connector.ts';
import type { Opened } from './envelope/json.ts';
import { integer, isObject, optionalInteger } from './envelope/exact-number.ts';
import { Problem } from './problem.ts';
import { schemaChange } from './schema-changes.ts';

type Payload = Readonly<Record<string, unknown>>;

/** Where Debezium's names of schemas that stand for no table begin. */
const COMMON = 'io.debezium.connector.common.';

/** A boundary or another record without rows; null if it is none that Debezium makes. */
export function controlRecord(options: {
  readonly opened: Opened;
  readonly at: LogOffset;
  readonly topicPrefix: string;
  readonly connector: Connector;
}): TransactionBoundary | SchemaChangeRecord | OtherRecord | null {
  const { opened, at, topicPrefix, connector } = options;
  const { payload } = opened;
  if (!isObject(payload)) return null;
  const name = opened.schema?.name ?? null;
  const is = (known: boolean, byTopic: boolean, ...fields: readonly string[]): boolean =>
    (name === null ? byTopic : known) && fields.every((field) => field in payload);
  const boundaries = name === `${COMMON}TransactionMetadataValue`;
  if (is(boundaries, at.topic === `${topicPrefix}.transaction`, 'status', 'id')) {
    // Another connector whose prefix begins with ours (`prod`, `prod.eu`) has such a topic too.
    if (isBelow(at.topic, topicPrefix)) return { kind: 'ignored', at, eventTimeMs: null };
    return boundary(payload, at, connector);
  }
  const heartbeat = at.topic.endsWith(`.${topicPrefix}`) && Object.keys(payload).length === 1;
  if (is(name === `${COMMON}Heartbeat`, heartbeat, 'ts_ms')) {
    return { kind: 'heartbeat', at, eventTimeMs: milliseconds(payload['ts_ms']) };
  }
  const changesTables = name?.endsWith('.SchemaChangeValue') === true;
  if (is(changesTables, at.topic === topicPrefix, 'tableChanges', 'databaseName')) {
    return schemaChange(payload, { at, connector }, milliseconds(payload['ts_ms']));
  }
  const message = name?.endsWith('.MessageValue') === true;
  if (is(message, at.topic === `${topicPrefix}.message`, 'op', 'message', 'source')) {
    return { kind: 'message', at, eventTimeMs: milliseconds(payload['ts_ms']) };
  }
  return null;
}

/**
 * A notification, a signal sent over Kafka, or an entry of the connector's schema history; null if
 * it is none. Their topics have any name, so without a schema their fields tell; ask only where no
 * row of a table can stand.
 */
export function sideRecord(opened: Opened, at: LogOffset): OtherRecord | null {
  const { payload } = opened;
  if (!isObject(payload)) return null;
  const name = opened.schema?.name ?? null;
  const known =
    name === null
      ? isNotification(payload) || isSignal(payload) || isHistory(payload)
      : name === `${COMMON}Notification` && isNotification(payload);
  return known ? { kind: 'ignored', at, eventTimeMs: null } : null;
}

/** `prod.eu.transaction` seen from `prod`: the names of our own control topics have no dot. */
function isBelow(topic: string, prefix: string): boolean {
  return topic.startsWith(`${prefix}.`) && topic.includes('.', prefix.length + 1);
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

/**
 * What a connector remembers of its source's tables, for itself alone: JSON without a schema,
 * whatever the converters are. Its topic is mostly named below the connector's prefix.
 */
function isHistory(payload: Payload): boolean {
  const { source, position } = payload;
  const told = 'ddl' in payload || 'tableChanges' in payload;
  return isObject(source) && isObject(position) && 'databaseName' in payload && told;
}

function boundary(payload: Payload, at: LogOffset, connector: Connector): TransactionBoundary {
  const { status, id } = payload;
  if (typeof id !== 'string' || (status !== 'BEGIN' && status !== 'END')) {
    throw new Problem('RECORD_CORRUPT', 'the transaction record has no id or status');
  }
  const told = {
    ...{ at, id: connector.transactionId(id) },
    eventTimeMs: milliseconds(payload['ts_ms']),
  };
  if (status === 'BEGIN') return { kind: 'begin', ...told, counts: null };
  const committedAt = connector.committedAt(id);
  return {
    ...{ kind: 'end', ...told, counts: counts(payload['data_collections'], connector) },
    ...(committedAt !== null && { committedAt }),
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
