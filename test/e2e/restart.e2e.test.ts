import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { expect, it, onTestFinished } from 'vitest';
import { startConnect } from '../support/connect.ts';
import { postgresConnector } from '../support/connectors.ts';
import { startKafka } from '../support/kafka.ts';
import { removeFolder } from '../support/process/folders.ts';
import { payloadOf, readTopics, type TopicRecord } from '../support/read-topics.ts';
import { testDatabase } from '../support/test-database.ts';

const database = await testDatabase('restart');

function ids(records: readonly TopicRecord[]): unknown[] {
  return records.map(({ value }) => {
    const after = payloadOf(value)?.['after'] as { id?: number } | undefined;
    return after?.id;
  });
}

it('goes on exactly once when the broker is killed and comes back at its address', async () => {
  const production = new pg.Client(database.url);
  await production.connect();
  onTestFinished(() => production.end());
  await production.query('CREATE TABLE numbers (id int PRIMARY KEY)');
  const dataDir = join(tmpdir(), `understudy-restart-${randomBytes(4).toString('hex')}`);
  onTestFinished(() => removeFolder(dataDir));
  const first = await startKafka({ dataDir });
  const connect = await startConnect(first, { exactlyOnce: true });
  onTestFinished(() => connect.stop());
  const config = await postgresConnector(database.url, database.name, {
    'exactly.once.support': 'required',
  });
  await connect.createConnector(database.name, config);
  const topic = `${database.name}.public.numbers`;
  await production.query('INSERT INTO numbers SELECT generate_series(1, 10)');
  await readTopics(first.client(), [topic], ({ length }) => length === 10);

  await first.process.kill();
  await production.query('INSERT INTO numbers SELECT generate_series(11, 20)');
  const second = await startKafka({ dataDir, port: first.port });
  // A worker that has lost its broker takes long to stop: it goes first.
  onTestFinished(async () => {
    await connect.stop();
    await second.stop();
  });
  // How soon the worker finds its broker again is up to it, and a loaded machine makes that long.
  const records = await readTopics(second.client(), [topic], ({ length }) => length >= 20, 150_000);
  expect(ids(records)).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
});
