import { pollUntil } from '../../src/util/wait.ts';
import type { ConnectorConfig } from '../support/connect-rest.ts';
import { createDatabase, dropDatabase } from '../support/postgres.ts';
import type { AccountsLog } from './accounts-log.ts';
import { assertReached, createAccounts, fillAccounts, onDatabase } from './accounts.ts';

/**
 * Debezium's JDBC sink as its documentation tunes it for throughput: large batches, one statement
 * per batch, and of several changes to a row only the last. Its consumer may fetch whole batches.
 */
function sinkSettings(log: AccountsLog, database: string): ConnectorConfig {
  const at = new URL(log.shadowUrl);
  return {
    'connector.class': 'io.debezium.connector.jdbc.JdbcSinkConnector',
    'tasks.max': '1',
    topics: `${log.topicPrefix}.public.accounts`,
    'connection.url': `jdbc:postgresql://${at.host}/${database}?reWriteBatchedInserts=true`,
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
 * running (which it is before its consumer has its partition) to the last event's row.
 */
export async function runJdbcSink(log: AccountsLog, name: string): Promise<number> {
  const url = await createDatabase(log.shadowUrl, name);
  await createAccounts(url);
  await fillAccounts(url, log.prefilled);
  try {
    const seconds = await onDatabase(url, async (client) => {
      await log.connect.createConnector(name, sinkSettings(log, name));
      const began = performance.now();
      await pollUntil({
        probe: async () => {
          const { rowCount } = await client.query('SELECT 1 FROM public.accounts WHERE aid = $1', [
            log.lastKey,
          ]);
          return rowCount === 1 ? true : undefined;
        },
        everyMs: 10,
        timeoutMs: 120_000,
        timeout: () => new Error('the JDBC sink does not get to the end of its topic'),
      });
      return (performance.now() - began) / 1_000;
    });
    await assertReached('the JDBC sink', url, log.goal);
    return log.events / seconds;
  } finally {
    await log.connect.deleteConnector(name);
    await dropDatabase(log.shadowUrl, name);
  }
}
