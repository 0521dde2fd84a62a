import { randomBytes } from 'node:crypto';
import type { Kafka } from 'kafkajs';
import { pollUntil } from '../../src/util/wait.ts';

/** A record as it lies in Kafka. */
export interface TopicRecord {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly timestampMs: number;
  /** A header that occurs twice shows its last value. */
  readonly headers: Readonly<Record<string, string>>;
}

/** A JSON record's payload (of its `schema`/`payload` pair, where it has one). */
export function payloadOf(bytes: Buffer | null): Record<string, unknown> | null {
  if (bytes === null) return null;
  const parsed = JSON.parse(bytes.toString()) as Record<string, unknown>;
  return ('payload' in parsed ? parsed['payload'] : parsed) as Record<string, unknown> | null;
}

/**
 * Reads topics from their beginning until `enough` says so, asked whenever records have arrived.
 * Topics need not exist yet: a pattern is asked for again until one matches. Throws when
 * `withinMs` (default 60 s) have passed, saying what was read.
 */
export async function readTopics(
  kafka: Kafka,
  topics: readonly (string | RegExp)[],
  enough: (records: readonly TopicRecord[]) => boolean,
  withinMs = 60_000,
): Promise<readonly TopicRecord[]> {
  const deadline = performance.now() + withinMs;
  const admin = kafka.admin();
  await admin.connect();
  try {
    await pollUntil({
      probe: async () => {
        const names = await admin.listTopics();
        const there = (topic: string | RegExp): boolean =>
          names.some((name) => (typeof topic === 'string' ? name === topic : topic.test(name)));
        return topics.every(there) ? true : undefined;
      },
      everyMs: 100,
      timeoutMs: withinMs,
      timeout: () => new Error(`not all topics came to be: ${topics.join(', ')}`),
    });
  } finally {
    await admin.disconnect();
  }
  const records: TopicRecord[] = [];
  const consumer = kafka.consumer({
    groupId: `read-${randomBytes(6).toString('hex')}`,
    // A disconnecting consumer waits for its last fetch.
    maxWaitTimeInMs: 200,
  });
  await consumer.connect();
  try {
    await consumer.subscribe({ topics: [...topics], fromBeginning: true });
    await consumer.run({
      autoCommit: false,
      eachMessage: async ({ topic, partition, message }) => {
        const headers = Object.entries(message.headers ?? {}).map(([name, value]) => {
          const last = Array.isArray(value) ? value.at(-1) : value;
          return [name, last?.toString() ?? ''] as const;
        });
        records.push({
          topic,
          partition,
          offset: BigInt(message.offset),
          key: message.key,
          value: message.value,
          timestampMs: Number(message.timestamp),
          headers: Object.fromEntries(headers),
        });
        return Promise.resolve();
      },
    });
    await pollUntil({
      probe: () => Promise.resolve(enough(records) ? true : undefined),
      everyMs: 50,
      timeoutMs: deadline - performance.now(),
      timeout: () => {
        const counts = Object.entries(Object.groupBy(records, ({ topic }) => topic)).map(
          ([topic, found]) => `${topic}: ${String(found?.length)}`,
        );
        return new Error(`not enough records in ${String(withinMs)} ms; ${counts.join(', ')}`);
      },
    });
  } finally {
    await consumer.disconnect();
  }
  return records;
}
