import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { partitionKey } from '../../src/change/position.ts';
import { isUnderstudyError } from '../../src/errors/understudy-error.ts';
import type { LogChunk } from '../../src/source/change-source.ts';
import { startKafka, type KafkaServer } from '../support/kafka.ts';
import { readSource } from '../support/recordings.ts';
import { TestLog } from '../support/test-log.ts';

let server: KafkaServer;
let log: TestLog;

beforeAll(async () => {
  server = await startKafka({ heapMb: 384, settings: SETTINGS });
  log = await TestLog.connect(server);
});

afterAll(async () => {
  await log.disconnect();
  await server.stop();
});

const SETTINGS = { 'auto.create.topics.enable': 'false', 'log.cleaner.backoff.ms': '200' };

async function codeOf(act: () => Promise<unknown>): Promise<string> {
  try {
    await act();
  } catch (error) {
    if (isUnderstudyError(error)) return error.code;
    throw error;
  }
  return 'no error';
}

async function makeAgain(topic: string): Promise<void> {
  await log.admin.deleteTopics({ topics: [topic] });
  await expect
    .poll(
      () =>
        log.createTopic(topic).then(
          () => true,
          () => false,
        ),
      { timeout: 15_000 },
    )
    .toBe(true);
}

describe('the Kafka source, where the log has gaps,', () => {
  it('says LOG_GAP where the log no longer holds the position', async () => {
    const prefix = log.newPrefix();
    const topic = `${prefix}.public.orders`;
    await log.createTopic(topic);
    await log.send(topic, 0, 10);
    await log.deleteRecordsBefore(topic, '4');
    await using source = log.source(prefix);
    const key = partitionKey(topic, 0);
    const from = (offset: bigint): Promise<unknown> =>
      readSource(source, { from: new Map([[key, offset]]), until: new Map([[key, 10n]]) });
    expect(await codeOf(() => from(3n))).toBe('LOG_GAP');
    expect(await codeOf(() => from(4n))).toBe('no error');
    expect(await codeOf(() => from(11n))).toBe('LOG_GAP');
    const gone = new Map([[partitionKey(`${prefix}.public.gone`, 0), 1n]]);
    expect(await codeOf(() => readSource(source, { from: gone }))).toBe('LOG_GAP');
    expect(await source.starts()).toEqual(new Map([[key, 4n]]));
  });

  it('says LOG_GAP of a new topic that has lost its first records, if it is to be whole', async () => {
    const prefix = log.newPrefix();
    const [known, topic] = [`${prefix}.public.items`, `${prefix}.public.orders`];
    await log.createTopic(known);
    await log.createTopic(topic);
    await log.send(known, 0, 2);
    await log.send(topic, 0, 10);
    await using source = log.source(prefix);
    const from = new Map([[partitionKey(known, 0), 1n]]);
    const next = (newOnesWhole: boolean): Promise<string> =>
      codeOf(async () => {
        await using stream = await source.open(from, {
          ...{ budgetBytes: 1_000_000, group: `understudy.${prefix}`, newOnesWhole },
          signal: new AbortController().signal,
        });
        await stream.chunks[Symbol.asyncIterator]().next();
      });
    expect(await next(true)).toBe('no error');
    await log.deleteRecordsBefore(topic, '4');
    expect(await next(false)).toBe('no error');
    expect(await next(true)).toBe('LOG_GAP');
  });

  it('says LOG_GAP when unread records are deleted while it waits', async () => {
    const prefix = log.newPrefix();
    const topic = `${prefix}.public.orders`;
    await log.createTopic(topic);
    await log.send(topic, 0, 10);
    await using source = log.source(prefix);
    const stream = await source.open(new Map(), {
      budgetBytes: 1,
      group: `understudy.${prefix}`,
      signal: new AbortController().signal,
    });
    const chunks = stream.chunks[Symbol.asyncIterator]();
    const first = (await chunks.next()) as IteratorResult<LogChunk, undefined>;
    expect(first.value?.next).toBe(10n);
    await log.send(topic, 10, 10);
    await log.deleteRecordsBefore(topic, '15');
    stream.released(1_000_000);
    expect(await codeOf(() => chunks.next())).toBe('LOG_GAP');
    await stream[Symbol.asyncDispose]();
  });

  it('says LOG_GAP when a topic it reads is deleted', async () => {
    const prefix = log.newPrefix();
    const topic = `${prefix}.public.orders`;
    await log.createTopic(topic);
    await log.createTopic(`${prefix}.public.items`);
    // A producer goes on asking for every topic it ever wrote to.
    const own = log.kafka.producer();
    await own.connect();
    await log.send(topic, 0, 10, { by: own });
    await own.disconnect();
    await using following = await log.follow(prefix);
    await expect.poll(() => following.records.length).toBe(10);
    await log.admin.deleteTopics({ topics: [topic] });
    await expect.poll(() => following.failure(), { timeout: 15_000 }).not.toBeNull();
    expect(isUnderstudyError(following.failure(), 'LOG_GAP')).toBe(true);
  });

  it('says LOG_GAP when a topic was made again, though it reaches beyond the position', async () => {
    const prefix = log.newPrefix();
    const topic = `${prefix}.public.orders`;
    await log.createTopic(topic);
    await log.send(topic, 0, 5);
    await using source = log.source(prefix);
    const ids = (await source.topicIds?.()) ?? new Map<string, string>();
    expect([...ids.keys()]).toEqual([topic]);
    const key = partitionKey(topic, 0);
    const read = (from: bigint, known: ReadonlyMap<string, string> | undefined): Promise<unknown> =>
      readSource(source, {
        from: new Map([[key, from]]),
        until: new Map([[key, 10n]]),
        ids: known,
      });
    await log.send(topic, 5, 5);
    expect(await codeOf(() => read(5n, ids))).toBe('no error');
    await makeAgain(topic);
    await log.send(topic, 0, 10);
    await expect.poll(async () => (await source.topicIds?.())?.get(topic)).not.toBe(ids.get(topic));
    expect(await codeOf(() => read(5n, ids))).toBe('LOG_GAP');
    // Nobody can tell without: so ids are kept beside positions.
    expect(await codeOf(() => read(5n, undefined))).toBe('no error');
    // Of a topic of which nothing was read, nothing is missed.
    expect(await codeOf(() => read(0n, ids))).toBe('no error');
  });

  it('says LOG_GAP when a topic is made again while it is read, to the same end', async () => {
    const prefix = log.newPrefix();
    const topic = `${prefix}.public.orders`;
    await log.createTopic(topic);
    await log.send(topic, 0, 10);
    await using following = await log.follow(prefix);
    await expect.poll(() => following.records.length).toBe(10);
    await makeAgain(topic);
    await log.send(topic, 0, 20);
    await expect.poll(() => following.failure(), { timeout: 15_000 }).not.toBeNull();
    expect(isUnderstudyError(following.failure(), 'LOG_GAP')).toBe(true);
    expect(following.records).toHaveLength(10);
  });

  it('passes what compaction took away, and batches it emptied', { timeout: 60_000 }, async () => {
    const prefix = log.newPrefix();
    const topic = `${prefix}.public.orders`;
    await log.createTopic(topic, 1, {
      'cleanup.policy': 'compact',
      'segment.ms': '100',
      'min.cleanable.dirty.ratio': '0.001',
      'max.compaction.lag.ms': '100',
    });
    const writer = log.kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
    await writer.connect();
    for (let i = 0; i < 20; i += 1) {
      await writer.send({ topic, messages: [{ partition: 0, key: 'same', value: `v${i}` }] });
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    await writer.disconnect();
    const key = partitionKey(topic, 0);
    await using source = log.source(prefix);
    const until = await source.ends();
    await new Promise((resolve) => setTimeout(resolve, 200));
    await log.send(topic, 0, 1);
    const count = async (): Promise<number> => (await readSource(source, { until })).records.length;
    await expect.poll(count, { timeout: 45_000, interval: 500 }).toBeLessThan(20);
    const read = await readSource(source, { until });
    expect(read.at.get(key)).toBeGreaterThanOrEqual(20n);
    expect(read.records.at(-1)?.value?.toString()).toMatch(/^v(19|alue 0)/);
  });
});
