import type { Admin, Kafka, Producer } from 'kafkajs';
import { recordBytes, type LogRecord } from '../../src/change/record.ts';
import type {
  ChangeSource,
  ChangeStream,
  LogChunk,
  SourceState,
} from '../../src/source/change-source.ts';
import { openKafkaSource, type KafkaSourceOptions } from '../../src/source/kafka/kafka-source.ts';
import type { KafkaServer } from './kafka.ts';

/** What `follow` read so far, and how it goes. Disposing stops it. */
export interface Followed extends AsyncDisposable {
  readonly stream: ChangeStream;
  readonly states: readonly SourceState[];
  readonly records: readonly LogRecord[];
  readonly chunks: readonly LogChunk[];
  readonly failure: () => unknown;
}

/** Topics of numbered records (`key N`) on a test's broker, and sources that read them. */
export class TestLog {
  readonly kafka: Kafka;
  readonly admin: Admin;
  readonly producer: Producer;
  readonly #brokers: string[];
  #prefixes = 0;

  private constructor(server: KafkaServer) {
    this.kafka = server.client();
    this.admin = this.kafka.admin();
    this.producer = this.kafka.producer();
    this.#brokers = server.brokers;
  }

  static async connect(server: KafkaServer): Promise<TestLog> {
    const log = new TestLog(server);
    await Promise.all([log.admin.connect(), log.producer.connect()]);
    return log;
  }

  async disconnect(): Promise<void> {
    await Promise.all([this.admin.disconnect(), this.producer.disconnect()]);
  }

  newPrefix(): string {
    this.#prefixes += 1;
    return `shop${this.#prefixes}`;
  }

  source(topicPrefix: string, more: Partial<KafkaSourceOptions> = {}): ChangeSource {
    return openKafkaSource({
      client: { brokers: this.#brokers },
      topicPrefix,
      refreshMs: 300,
      commitMs: 100,
      ...more,
    });
  }

  async createTopic(
    topic: string,
    numPartitions = 1,
    config: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }));
    await this.admin.createTopics({ topics: [{ topic, numPartitions, configEntries }] });
  }

  /** Records `key FROM` to `key FROM + COUNT - 1`; every tenth is a tombstone. */
  async send(
    topic: string,
    from: number,
    count: number,
    more: { readonly partition?: number; readonly by?: Producer } = {},
  ): Promise<void> {
    const messages = Array.from({ length: count }, (_, i) => ({
      partition: more.partition ?? 0,
      key: `key ${from + i}`,
      value: (from + i) % 10 === 9 ? null : `value ${from + i} `.repeat(20),
      headers: { one: 'a', many: ['b', 'c'] },
      timestamp: String(1_700_000_000_000 + from + i),
    }));
    await (more.by ?? this.producer).send({ topic, messages });
  }

  async deleteRecordsBefore(topic: string, offset: string): Promise<void> {
    // It looks up the leader only among topics that it was asked about before.
    await this.admin.fetchTopicOffsets(topic);
    await this.admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset }] });
  }

  /** Reads in the background until disposed, releasing everything at once. */
  async follow(prefix: string): Promise<Followed> {
    const source = this.source(prefix);
    const states: SourceState[] = [];
    const records: LogRecord[] = [];
    const chunks: LogChunk[] = [];
    const stop = new AbortController();
    let failure: unknown = null;
    const stream = await source.open(new Map(), {
      budgetBytes: 1 << 24,
      group: `understudy.${prefix}`,
      signal: stop.signal,
      onState: (state) => states.push(state),
    });
    const reading = (async () => {
      for await (const chunk of stream.chunks) {
        chunks.push(chunk);
        records.push(...chunk.records);
        stream.released(bytesOf(chunk));
      }
    })().catch((error: unknown) => {
      failure = error;
    });
    return {
      stream,
      states,
      records,
      chunks,
      failure: () => failure,
      async [Symbol.asyncDispose]() {
        stop.abort();
        await reading;
        await source[Symbol.asyncDispose]();
      },
    };
  }
}

export function bytesOf(chunk: LogChunk): number {
  return chunk.records.reduce((sum, record) => sum + recordBytes(record), 0);
}

export function keysOf(records: readonly LogRecord[]): string[] {
  return records.map(({ key }) => key?.toString() ?? '');
}

/** `key FROM` to before `key TO`. */
export function keysBetween(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, i) => `key ${from + i}`);
}
