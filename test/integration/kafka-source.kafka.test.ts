import { CompressionTypes } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { partitionKey } from '../../src/change/position.ts';
import type { LogRecord } from '../../src/change/record.ts';
import type { LogChunk } from '../../src/source/change-source.ts';
import { openRecording } from '../../src/source/recording/recording-source.ts';
import { createRecording } from '../../src/source/recording/recording-writer.ts';
import { record } from '../../src/source/recording/record.ts';
import { startKafka, type KafkaServer } from '../support/kafka.ts';
import { readSource, TEST_HEADER, withRecordingPath } from '../support/recordings.ts';
import { bytesOf, keysBetween, keysOf, TestLog } from '../support/test-log.ts';

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

describe('the Kafka source', () => {
  it('hides aborted records of overlapping transactions, and passes control records', async () => {
    const prefix = log.newPrefix();
    const topic = `${prefix}.public.orders`;
    await log.createTopic(topic);
    const producers = ['a', 'b', 'c'].map((id) =>
      log.kafka.producer({
        transactionalId: `${prefix}-${id}`,
        idempotent: true,
        maxInFlightRequests: 1,
      }),
    );
    await Promise.all(producers.map((each) => each.connect()));
    const [a, b, c] = await Promise.all(producers.map((each) => each.transaction()));
    if (a === undefined || b === undefined || c === undefined) throw new Error('no transaction');
    const put = (to: typeof a, key: Buffer | string): Promise<unknown> =>
      to.send({ topic, messages: [{ partition: 0, key, value: 'v' }] });
    await put(a, 'aborted a1');
    await put(b, 'aborted b1');
    await put(c, 'key c1');
    // Not an abort marker, although its key looks like one.
    await put(a, Buffer.alloc(4));
    await put(a, 'aborted a2');
    await b.abort();
    await put(a, 'aborted a3');
    await a.abort();
    await c.commit();
    const last = await producers[0]?.transaction();
    if (last === undefined) throw new Error('no transaction');
    await put(last, 'aborted tail');
    await last.abort();
    await Promise.all(producers.map((each) => each.disconnect()));

    await using source = log.source(prefix);
    const until = await source.ends();
    expect(until.get(partitionKey(topic, 0))).toBe(11n);
    // Every position within the aborted transactions, too.
    for (let from = 0n; from <= 11n; from += 1n) {
      const read = await readSource(source, {
        from: new Map([[partitionKey(topic, 0), from]]),
        until,
      });
      expect(keysOf(read.records), `from ${from}`).toEqual(from <= 2n ? ['key c1'] : []);
      expect(read.at).toEqual(until);
    }
  });

  it('reads the partitions it is to read, and answers for all', async () => {
    const prefix = log.newPrefix();
    const topic = `${prefix}.public.orders`;
    await log.createTopic(topic, 3);
    for (const partition of [0, 1, 2]) await log.send(topic, partition * 10, 3, { partition });
    await using source = log.source(prefix, { only: (_, partition) => partition !== 1 });
    const all = [0, 1, 2].map((n) => [partitionKey(topic, n), 3n] as const);
    expect(await source.ends()).toEqual(new Map(all));
    const until = new Map(all.filter(([key]) => key !== partitionKey(topic, 1)));
    const from = new Map([[partitionKey(topic, 1), 1n]]);
    const read = await readSource(source, { from, until });
    expect(read.at).toEqual(new Map([...from, ...until]));
    expect(keysOf(read.records).toSorted()).toEqual([...keysBetween(0, 3), ...keysBetween(20, 23)]);
  });

  it('does not hand out an open transaction, and waits for its end', async () => {
    const prefix = log.newPrefix();
    const topic = `${prefix}.public.orders`;
    await log.createTopic(topic);
    const writer = log.kafka.producer({
      transactionalId: prefix,
      idempotent: true,
      maxInFlightRequests: 1,
    });
    await writer.connect();
    await log.send(topic, 0, 3);
    const open = await writer.transaction();
    await open.send({ topic, messages: [{ partition: 0, key: 'open', value: 'v' }] });
    await using source = log.source(prefix);
    const until = await source.ends();
    expect(until.get(partitionKey(topic, 0))).toBe(4n);
    await using following = await log.follow(prefix);
    await expect.poll(() => following.records.length).toBe(3);
    expect(following.chunks.at(-1)?.end).toBe(3n);
    await open.commit();
    await expect.poll(() => following.records.length).toBe(4);
    await expect.poll(() => following.chunks.at(-1)?.next).toBe(5n);
    await writer.disconnect();
  });

  it.each(['uncompressed', 'gzip', 'snappy', 'lz4', 'zstd'])(
    'reads %s batches, from the start and from a position within a batch',
    async (codec) => {
      const prefix = log.newPrefix();
      const topic = `${prefix}.public.orders`;
      await log.createTopic(topic, 1, { 'compression.type': codec });
      await log.send(topic, 0, 500);
      await log.send(topic, 500, 500);
      await using source = log.source(prefix);
      const until = await source.ends();
      expect(until).toEqual(new Map([[partitionKey(topic, 0), 1_000n]]));
      const { records } = await readSource(source, { until });
      expect(keysOf(records)).toEqual(keysBetween(0, 1_000));
      expect(records[7]).toEqual({
        topic,
        partition: 0,
        offset: 7n,
        timestampMs: 1_700_000_000_007,
        key: Buffer.from('key 7'),
        value: Buffer.from('value 7 '.repeat(20)),
        headers: [
          ['one', Buffer.from('a')],
          ['many', Buffer.from('b')],
          ['many', Buffer.from('c')],
        ],
      });
      expect(records[9]?.value).toBeNull();
      const from = new Map([[partitionKey(topic, 0), 123n]]);
      const rest = await readSource(source, { from, until });
      expect(keysOf(rest.records)).toEqual(keysBetween(123, 1_000));
    },
  );

  it('selects topics by prefix, predicate and pattern', async () => {
    const prefix = log.newPrefix();
    const ours = [
      `${prefix}.public.a`,
      `${prefix}.transaction`,
      `${prefix}.message`,
      prefix,
      `__debezium-heartbeat.${prefix}`,
      `routed-${prefix}-x`,
    ];
    const others = [`${prefix}.public.b`, `${prefix}x.public.a`, `x${prefix}.public.a`];
    for (const topic of [...ours, ...others]) await log.createTopic(topic);
    await using source = log.source(prefix, {
      selectTopic: (topic) => !topic.endsWith('.b'),
      extraTopics: [new RegExp(`^routed-${prefix}-`)],
    });
    const found = [...(await source.ends()).keys()].toSorted();
    expect(found).toEqual(ours.map((topic) => partitionKey(topic, 0)).toSorted());
  });

  it('picks up topics and partitions that come later, from their first record', async () => {
    const prefix = log.newPrefix();
    const topic = `${prefix}.public.orders`;
    await log.createTopic(topic);
    await log.send(topic, 0, 10);
    await using following = await log.follow(prefix);
    await expect.poll(() => following.records.length).toBe(10);
    const later = `${prefix}.public.items`;
    await log.createTopic(later);
    await log.send(later, 0, 10);
    await log.admin.createPartitions({ topicPartitions: [{ topic, count: 2 }] });
    await expect
      .poll(async () => (await log.admin.fetchTopicOffsets(topic)).length, { timeout: 10_000 })
      .toBe(2);
    await log.producer.disconnect();
    await log.producer.connect();
    await log.send(topic, 10, 5, { partition: 1 });
    await expect.poll(() => following.records.length, { timeout: 10_000 }).toBe(25);
    expect(keysOf(following.records.filter((each) => each.topic === later))).toEqual(
      keysBetween(0, 10),
    );
    expect(following.failure()).toBeNull();
  });

  it('stops fetching above its budget and goes on when bytes are released', async () => {
    const prefix = log.newPrefix();
    const topic = `${prefix}.public.orders`;
    await log.createTopic(topic);
    for (let i = 0; i < 20; i += 1) await log.send(topic, i * 500, 500);
    await using source = log.source(prefix);
    const states: string[] = [];
    const stream = await source.open(new Map(), {
      budgetBytes: 300_000,
      group: `understudy.${prefix}`,
      signal: new AbortController().signal,
      onState: ({ state }) => states.push(state),
    });
    const chunks = stream.chunks[Symbol.asyncIterator]();
    await expect.poll(() => states.at(-1)).toBe('paused');
    const records: LogRecord[] = [];
    let outstanding = 0;
    let most = 0;
    while (records.length < 10_000) {
      const { value } = (await chunks.next()) as IteratorResult<LogChunk, undefined>;
      if (value === undefined) break;
      records.push(...value.records);
      outstanding += bytesOf(value);
      most = Math.max(most, outstanding);
      if (states.at(-1) === 'paused') {
        stream.released(outstanding);
        outstanding = 0;
      }
    }
    await stream[Symbol.asyncDispose]();
    expect(keysOf(records)).toEqual(keysBetween(0, 10_000));
    // The budget, and what one fetch more may bring (a whole batch at least).
    expect(most).toBeLessThan(700_000);
    expect(states.filter((state) => state === 'paused').length).toBeGreaterThan(3);
  });

  it('is not read on where it is paused, and goes on there afterwards', async () => {
    const prefix = log.newPrefix();
    const topic = `${prefix}.public.orders`;
    await log.createTopic(topic, 2);
    const send = (value: string): Promise<unknown> =>
      log.producer.send({
        topic,
        messages: [0, 1].map((partition) => ({ partition, key: `${partition}`, value })),
      });
    await using source = log.source(prefix);
    const stream = await source.open(new Map(), {
      ...{ budgetBytes: 300_000, group: `understudy.${prefix}` },
      signal: new AbortController().signal,
    });
    const seen: string[] = [];
    const reading = (async () => {
      for await (const { records } of stream.chunks) {
        for (const { partition, value } of records) seen.push(`${partition} ${String(value)}`);
      }
    })();
    stream.pause(new Set([partitionKey(topic, 1)]));
    // What was under way when it was paused still comes.
    await send('a');
    await expect.poll(() => seen).toContain('0 a');
    await send('b');
    await expect.poll(() => seen).toContain('0 b');
    await send('c');
    await expect.poll(() => seen).toContain('0 c');
    expect(seen).not.toContain('1 c');
    stream.pause(new Set());
    await expect.poll(() => seen).toContain('1 c');
    expect(seen.filter((text) => text.startsWith('1'))).toEqual(['1 a', '1 b', '1 c']);
    await stream[Symbol.asyncDispose]();
    await reading;
  });

  it('is recorded from live topics and played back equal', async () => {
    const prefix = log.newPrefix();
    const topics = [`${prefix}.public.orders`, `${prefix}.public.items`];
    for (const topic of topics) await log.createTopic(topic, 2);
    for (let i = 0; i < 5; i += 1) {
      for (const topic of topics) {
        await log.producer.send({
          topic,
          compression: CompressionTypes.GZIP,
          messages: Array.from({ length: 50 }, (_, n) => ({
            key: `key ${n}`,
            value: `value ${i}`,
          })),
        });
      }
    }
    await using source = log.source(prefix);
    const until = await source.ends();
    const live = (await readSource(source, { until })).records;
    await withRecordingPath(async (path) => {
      {
        await using writer = await createRecording(path, TEST_HEADER);
        const signal = new AbortController().signal;
        const recording = record(source, writer, { until: 'ends', signal });
        // What comes after the ends were captured is not in the recording.
        await recording;
        await writer.close();
      }
      await using played = await openRecording(path);
      expect(await played.ends()).toEqual(until);
      const again = (await readSource(played)).records;
      const byPlace = (a: LogRecord, b: LogRecord): number =>
        a.topic.localeCompare(b.topic) || a.partition - b.partition || Number(a.offset - b.offset);
      expect(again.toSorted(byPlace)).toEqual(live.toSorted(byPlace));
    });
  });
});
