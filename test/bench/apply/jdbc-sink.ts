import type { ConnectServer } from '../../support/connect.ts';
import type { ConnectorConfig } from '../../support/connect-rest.ts';
import { assertReached, secondsToLast, type BenchLog } from './bench-log.ts';
import { forgetDatabase, makeDatabase, onDatabase } from './door.ts';

/** What its drivers need to send a batch as one statement. */
const ADDRESS = {
  postgresql: { scheme: 'postgresql', topic: 'public', options: 'reWriteBatchedInserts=true' },
  mysql: { scheme: 'mysql', topic: 'bank', options: 'rewriteBatchedStatements=true' },
  mariadb: { scheme: 'mariadb', topic: 'bank', options: 'useBulkStmts=true' },
} as const;

/**
 * Debezium's JDBC sink as its documentation tunes it for throughput: large batches, one statement
 * per batch, and of several changes to a row only the last. Its consumer may fetch whole batches.
 */
function sinkSettings(log: BenchLog, database: string): ConnectorConfig {
  const at = new URL(log.shadowUrl);
  const { scheme, topic, options } = ADDRESS[log.connector];
  return {
    'connector.class': 'io.debezium.connector.jdbc.JdbcSinkConnector',
    'tasks.max': '1',
    topics: `${log.topicPrefix}.${topic}.accounts`,
    'connection.url': `jdbc:${scheme}://${at.host}/${database}?${options}`,
    'connection.username': decodeURIComponent(at.username),
    'connection.password': decodeURIComponent(at.password),
    'collection.name.format': 'accounts',
    'insert.mode': 'upsert',
    'delete.enabled': 'true',
    'primary.key.mode': 'record_key',
    'schema.evolution': 'none',
    'batch.size': '2000',
    'use.reduction.buffer': 'true',
    'consumer.override.max.poll.records': '2000',
    'consumer.override.max.partition.fetch.bytes': String(8 * 1024 * 1024),
  };
}

/**
 * One run of the sink, in a database of its own: the events it applied per second, from its task
 * running (which it is before its consumer has its partition) to the last event's row. The log must
 * be JSON with schemas.
 */
export async function runJdbcSink(
  connect: ConnectServer,
  log: BenchLog,
  name: string,
): Promise<number> {
  const url = await makeDatabase(log.shadowUrl, name);
  try {
    const seconds = await onDatabase(url, async (door) => {
      await log.tables.create(door);
      await log.tables.fill(door);
      await connect.createConnector(name, sinkSettings(log, name));
      return secondsToLast('the JDBC sink', log, door, performance.now());
    });
    await assertReached('the JDBC sink', url, log);
    return log.events / seconds;
  } finally {
    await connect.deleteConnector(name);
    await forgetDatabase(log.shadowUrl, name);
  }
}
