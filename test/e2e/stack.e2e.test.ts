import mysql from 'mysql2/promise';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { ConnectorConfig } from '../support/connect-rest.ts';
import { binlogConnector, postgresConnector } from '../support/connectors.ts';
import { payloadOf, readTopics, type TopicRecord } from '../support/read-topics.ts';
import { avroConverters } from '../support/registry.ts';
import {
  sharedConnect,
  sharedKafka,
  sharedMariaDB,
  sharedMySQL,
  sharedRegistry,
} from '../support/shared-stack.ts';
import { testDatabase } from '../support/test-database.ts';

/** The operations of a table's records, tombstones as null. */
function operations(records: readonly TopicRecord[], topic: string): unknown[] {
  return records
    .filter((record) => record.topic === topic)
    .map(({ value }) => payloadOf(value)?.['op'] ?? null);
}

async function started(name: string, config: ConnectorConfig): Promise<void> {
  const connect = await sharedConnect();
  await connect.createConnector(name, config);
  onTestFinished(() => connect.deleteConnector(name));
}

describe('a PostgreSQL read by Debezium', async () => {
  const database = await testDatabase('stack');
  const production = new pg.Client({ connectionString: database.url });

  beforeAll(async () => {
    await production.connect();
    await production.query(`
      CREATE TABLE orders (
        id bigint PRIMARY KEY, note text DEFAULT 'none', amount numeric(12,2), big numeric,
        at timestamptz, span interval, tags text[], extra jsonb, place point, raw bytea
      );
      ALTER TABLE orders REPLICA IDENTITY FULL;
      INSERT INTO orders VALUES (1, NULL, 9.90, 1e20, now(), '1 day', '{a,b}', '{"k":1}', '(1,2)', 'x');
    `);
  });
  afterAll(() => production.end());

  it('sends its snapshot and its changes, with transaction metadata', async () => {
    const kafka = await sharedKafka();
    const connect = await sharedConnect();
    const config = await postgresConnector(database.url, database.name);
    await started(database.name, config);
    await readTopics(
      kafka.client(),
      [`${database.name}.public.orders`],
      ({ length }) => length > 0,
    );

    await production.query('BEGIN');
    await production.query("INSERT INTO orders (id, note) VALUES (2, 'two')");
    await production.query('UPDATE orders SET note = NULL WHERE id = 2');
    await production.query('COMMIT');
    await production.query('DELETE FROM orders WHERE id = 2');
    await production.query('TRUNCATE orders');
    const topic = `${database.name}.public.orders`;
    const transactions = `${database.name}.transaction`;
    const records = await readTopics(
      kafka.client(),
      [topic, transactions],
      (found) =>
        operations(found, topic).includes('t') &&
        found.filter((record) => record.topic === transactions).length >= 6,
    );

    expect(operations(records, topic)).toEqual(['r', 'c', 'u', 'd', null, 't']);
    const [snapshot, , update] = records.filter((record) => record.topic === topic);
    expect(payloadOf(snapshot?.value ?? null)?.['after']).toMatchObject({ id: 1, note: null });
    expect(payloadOf(update?.value ?? null)?.['transaction']).toMatchObject({ total_order: 2 });
    const states = records
      .filter((record) => record.topic === transactions)
      .map(({ value }) => payloadOf(value)?.['status']);
    expect(states).toEqual(['BEGIN', 'END', 'BEGIN', 'END', 'BEGIN', 'END']);

    await connect.restartConnector(database.name);
    const [committed] = await connect.offsets(database.name);
    expect(committed?.offset).toHaveProperty('lsn');
  });

  it('sends Avro with the schema in the registry', async () => {
    const kafka = await sharedKafka();
    const registry = await sharedRegistry();
    const prefix = `${database.name}_avro`;
    const config = await postgresConnector(database.url, prefix, avroConverters(registry));
    await production.query('INSERT INTO orders (id) VALUES (3)');
    await started(prefix, config);

    const [record] = await readTopics(
      kafka.client(),
      [`${prefix}.public.orders`],
      ({ length }) => length > 0,
    );
    expect(record?.value?.[0]).toBe(0);
    const id = record?.value?.readUInt32BE(1);
    const answer = await fetch(`${registry.url}/schemas/ids/${String(id)}`);
    const { schema } = (await answer.json()) as { schema: string };
    expect(JSON.parse(schema)).toMatchObject({ type: 'record', name: 'Envelope' });
  });
});

describe.each([
  ['mysql', sharedMySQL],
  ['mariadb', sharedMariaDB],
] as const)('a %s server read by Debezium', (name, server) => {
  it('sends its snapshot and a change', async () => {
    const kafka = await sharedKafka();
    const { url, ...login } = await server();
    const database = `stack_${name}`;
    const connection = await mysql.createConnection(url);
    onTestFinished(() => connection.end());
    await connection.query(`CREATE DATABASE ${database}`);
    await connection.query(`CREATE TABLE ${database}.orders (id bigint PRIMARY KEY, note text)`);
    await connection.query(`INSERT INTO ${database}.orders VALUES (1, 'one')`);
    await started(
      database,
      await binlogConnector(name, { server: login, database, broker: kafka.broker }, database),
    );
    const topic = `${database}.${database}.orders`;
    await readTopics(kafka.client(), [topic], ({ length }) => length > 0);
    await connection.query(`UPDATE ${database}.orders SET note = 'two' WHERE id = 1`);

    const records = await readTopics(kafka.client(), [topic], ({ length }) => length > 1);
    expect(operations(records, topic)).toEqual(['r', 'u']);
    expect(payloadOf(records[1]?.value ?? null)?.['after']).toEqual({ id: 1, note: 'two' });
  });
});
