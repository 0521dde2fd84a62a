/**
 * Whose record it is: ours, another connector's on the same broker, or one that Debezium makes
 * beside the rows. Names of topics decide nothing that the record itself says.
 */
import { describe, expect, test } from 'vitest';
import type { DecodedRecord, LogRecord } from '../../../src/change/record.ts';
import { isUnderstudyError } from '../../../src/errors/understudy-error.ts';
import { topicSelector } from '../../../src/source/kafka/topics.ts';
import { captureDecoder, DEFAULT_MODES } from '../../support/debezium-records.ts';
import { FORMS_CATALOGUE } from '../../support/form-captures.ts';

function recordOf(topic: string, value: unknown, key: unknown = { id: 1 }): LogRecord {
  const bytes = (json: unknown): Buffer | null =>
    json === null ? null : Buffer.from(JSON.stringify(json));
  return {
    ...{ topic, partition: 0, offset: 4n, timestampMs: 0, headers: [] },
    key: bytes(key),
    value: bytes(value),
  };
}

function decode(record: LogRecord, form: 'debezium' | 'flat' = 'debezium'): DecodedRecord {
  return captureDecoder('prod', FORMS_CATALOGUE, DEFAULT_MODES, null, form).decode(record);
}

function code(record: LogRecord, form: 'debezium' | 'flat' = 'debezium'): string {
  try {
    return decode(record, form).kind;
  } catch (error) {
    if (!isUnderstudyError(error)) throw error;
    const { topic, offset } = error.context;
    return topic === record.topic && offset === 4n ? error.code : `${error.code} without its place`;
  }
}

const source = (name: string): object => ({
  ...{ connector: 'postgresql', name, snapshot: 'false', db: 'd', schema: 'public' },
  ...{ table: 'full_t', txId: 5, lsn: 99, ts_ms: 1_700_000_000_000 },
});
const change = (name: string, op = 'c'): object => ({
  ...{ before: null, after: { id: 1, v: 'a' }, source: source(name), op, ts_ms: 1 },
  transaction: null,
});

describe('two connectors on one broker', () => {
  test('have topics of their own by prefix, where a dot ends it', () => {
    const topics = [
      ...['prod.public.t', 'prod.transaction', 'prod.eu.public.t', 'prod.eu.transaction'],
      ...['prod2.public.t', 'prod2.transaction', 'production.public.t', 'xprod.public.t'],
      ...[
        '__debezium-heartbeat.prod',
        '__debezium-heartbeat.prod.eu',
        '__debezium-heartbeat.prod2',
      ],
    ];
    const ownTopics = (topicPrefix: string): readonly string[] =>
      topics.filter(topicSelector({ topicPrefix }));
    expect(ownTopics('prod2')).toEqual([
      ...['prod2.public.t', 'prod2.transaction', '__debezium-heartbeat.prod2'],
    ]);
    const ours = ownTopics('prod');
    expect(ours).toEqual(expect.arrayContaining(['prod.public.t', 'prod.transaction']));
    expect(ours.filter((topic) => /prod2|production|xprod/.test(topic))).toEqual([]);
  });

  test.each([
    ['change', 'prod', 'prod.public.full_t'],
    ['ignored', 'prod.eu', 'prod.eu.public.full_t'],
    // Ours by its topic, and not made by ours: applied, it would be in the wrong table.
    ['RECORD_UNKNOWN', 'prod.eu', 'prod.public.full_t'],
    ['RECORD_UNKNOWN', 'prod2', 'prod.public.full_t'],
    ['RECORD_UNKNOWN', 'prod2', 'prod2.public.full_t'],
    ['RECORD_UNKNOWN', 'eu', 'prod.eu.public.full_t'],
    // Routed by hand into another's names, but ours.
    ['change', 'prod', 'prod.eu.public.full_t'],
  ])('%s: what %s made, on %s', (expected, name, topic) => {
    expect(code(recordOf(topic, change(name)))).toBe(expected);
  });

  test('have boundaries of their own', () => {
    const boundary = { status: 'BEGIN', id: '5:99', event_count: null, data_collections: null };
    expect(code(recordOf('prod.transaction', boundary))).toBe('begin');
    expect(code(recordOf('prod.eu.transaction', boundary))).toBe('RECORD_UNKNOWN');
    const schema = {
      ...{ type: 'struct', fields: [], optional: false },
      name: 'io.debezium.connector.common.TransactionMetadataValue',
    };
    const payload = boundary;
    expect(code(recordOf('prod.transaction', { schema, payload }))).toBe('begin');
    expect(code(recordOf('prod.eu.transaction', { schema, payload }))).toBe('ignored');
  });
});

const notification = {
  ...{ id: 'n', aggregate_type: 'Initial Snapshot', type: 'STARTED' },
  ...{ additional_data: null, timestamp: 1 },
};
const signal = { id: 's', type: 'execute-snapshot', data: '{}' };
const heartbeat = { ts_ms: 5 };
const schemaChange = { source: {}, databaseName: 'd', ddl: 'x', tableChanges: [], ts_ms: 5 };

describe('records beside the rows', () => {
  test.each([
    ['heartbeat', '__debezium-heartbeat.prod', heartbeat],
    ['schema-change', 'prod', schemaChange],
    ['message', 'prod.message', { ...change('prod', 'm'), message: { prefix: 'p', content: '' } }],
    ['ignored', 'notes', notification],
    ['ignored', 'signals', signal],
    ['tombstone', 'prod.public.full_t', null],
  ])('are a %s by what they hold, without schema: %s', (expected, topic, value) => {
    expect(code(recordOf(topic, value))).toBe(expected);
  });

  const named = (name: string, payload: object): object => ({
    schema: { type: 'struct', name, optional: false, fields: [] },
    payload,
  });
  const COMMON = 'io.debezium.connector.common.';

  test.each([
    ['heartbeat', named(`${COMMON}Heartbeat`, heartbeat)],
    ['schema-change', named('io.debezium.connector.mysql.SchemaChangeValue', schemaChange)],
    ['ignored', named(`${COMMON}Notification`, notification)],
  ])('are a %s by their schema, on whatever topic', (expected, value) => {
    expect(code(recordOf('elsewhere', value))).toBe(expected);
  });

  test.each([
    ['a heartbeat', 'prod.public.full_t', heartbeat],
    ['a schema change', 'prod.public.full_t', schemaChange],
    ['a signal with more fields', 'signals', { ...signal, more: 1 }],
    ['a notification with less', 'notes', { id: 'n', type: 'STARTED' }],
    ['a schema of another name', 'prod', named('my.Heartbeat', heartbeat)],
  ])('are not told by half: %s', (_, topic, value) => {
    expect(code(recordOf(topic, value))).toBe('RECORD_UNKNOWN');
  });

  test('a flattened row that looks like one of them is a row on its table’s topic', () => {
    const value = { id: 1, v: 'signal' };
    expect(code(recordOf('prod.public.full_t', value), 'flat')).toBe('change');
    expect(code(recordOf('signals', signal, null), 'flat')).toBe('ignored');
    expect(code(recordOf('rows', value), 'flat')).toBe('TABLE_UNKNOWN');
  });
});
