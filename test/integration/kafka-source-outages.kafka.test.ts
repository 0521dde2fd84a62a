import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { partitionKey } from '../../src/change/position.ts';
import { isUnderstudyError } from '../../src/errors/understudy-error.ts';
import { startKafka, type KafkaServer } from '../support/kafka.ts';
import { removeFolder, temporaryFolder } from '../support/process/folders.ts';
import { freePort } from '../support/process/ports.ts';
import { readSource } from '../support/recordings.ts';
import { keysBetween, keysOf, TestLog } from '../support/test-log.ts';

let server: KafkaServer;
let folder: string;
let log: TestLog;

async function start(port: number): Promise<KafkaServer> {
  const settings = { 'auto.create.topics.enable': 'false' };
  return startKafka({ dataDir: join(folder, 'broker'), port, heapMb: 384, settings });
}

beforeAll(async () => {
  folder = await temporaryFolder('kafka-source');
  server = await start(await freePort());
  log = await TestLog.connect(server);
});

afterAll(async () => {
  await log.disconnect();
  await server.stop();
  await removeFolder(folder);
});

async function codeOf(act: () => Promise<unknown>): Promise<string> {
  try {
    await act();
  } catch (error) {
    if (isUnderstudyError(error)) return error.code;
    throw error;
  }
  return 'no error';
}

describe('the Kafka source, when others misbehave,', () => {
  it('reads on after the broker was away, and tells it', { timeout: 90_000 }, async () => {
    const prefix = log.newPrefix();
    const topic = `${prefix}.public.orders`;
    await log.createTopic(topic, 2);
    await log.send(topic, 0, 100);
    await using following = await log.follow(prefix);
    await expect.poll(() => following.records.length).toBe(100);
    await server.stop();
    await expect
      .poll(() => following.states.at(-1)?.state, { timeout: 20_000 })
      .toBe('reconnecting');
    expect(following.states.at(-1)?.detail).toBeTruthy();
    server = await start(server.port);
    await log.send(topic, 100, 100);
    await log.send(topic, 200, 100, { partition: 1 });
    await expect.poll(() => following.records.length, { timeout: 20_000 }).toBe(300);
    expect(keysOf(following.records.filter(({ partition }) => partition === 0))).toEqual(
      keysBetween(0, 200),
    );
    expect(following.states.at(-1)?.state).toBe('reading');
    expect(following.failure()).toBeNull();
  });

  it('commits offsets for lag tools, and reads everything although others are in the group', async () => {
    const prefix = log.newPrefix();
    const topic = `${prefix}.public.orders`;
    const groupId = `understudy.${prefix}`;
    await log.createTopic(topic, 2);
    await log.send(topic, 0, 10);
    await using following = await log.follow(prefix);
    await following.stream.commit(new Map([[partitionKey(topic, 0), 10n]]));
    const committed = async (): Promise<string | undefined> =>
      (await log.admin.fetchOffsets({ groupId, topics: [topic] }))[0]?.partitions.find(
        ({ partition }) => partition === 0,
      )?.offset;
    await expect.poll(committed, { timeout: 10_000 }).toBe('10');

    const foreign = log.kafka.consumer({ groupId });
    await foreign.connect();
    await foreign.subscribe({ topic });
    await foreign.run({ autoCommit: false, eachMessage: () => Promise.resolve() });
    await expect
      .poll(async () => (await log.admin.describeGroups([groupId])).groups[0]?.state)
      .toBe('Stable');
    await following.stream.commit(new Map([[partitionKey(topic, 0), 9n]]));
    await expect
      .poll(() => following.states.at(-1)?.detail, { timeout: 10_000 })
      .toContain('not understudy');
    await log.send(topic, 10, 10);
    await log.send(topic, 20, 10, { partition: 1 });
    await expect.poll(() => following.records.length).toBe(30);
    await foreign.disconnect();
    await expect.poll(committed, { timeout: 10_000 }).toBe('9');
    await expect.poll(() => following.states.at(-1)?.detail, { timeout: 10_000 }).toBeNull();
  });

  it('says which broker it cannot reach, and which topics it misses', async () => {
    await using away = log.source('x', {
      client: { brokers: ['127.0.0.1:1'], retry: { retries: 0 } },
    });
    await expect(away.ends()).rejects.toMatchObject({ code: 'KAFKA_UNREACHABLE' });
    await expect(away.ends()).rejects.toThrow('127.0.0.1:1');
    await using missing = log.source('no-such-prefix');
    await expect(missing.ends()).rejects.toMatchObject({ code: 'KAFKA_TOPICS_MISSING' });
    expect(await codeOf(() => readSource(missing))).toBe('KAFKA_TOPICS_MISSING');
    // Questions asked at the same time share a connection: one's answer is not the other's end.
    const both = await Promise.allSettled([missing.ends(), missing.starts()]);
    const missed = { status: 'rejected', reason: { code: 'KAFKA_TOPICS_MISSING' } };
    expect(both).toMatchObject([missed, missed]);
  });
});
