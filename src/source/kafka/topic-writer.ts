import kafkajs, { type Producer } from 'kafkajs';
import type { Logger } from '../../observability/logger.ts';
import { describeBrokers, kafkaUnreachable, type KafkaClientOptions } from './cluster.ts';

interface TopicMessage {
  readonly key: string;
  readonly value: string;
}

/** Writes to one topic, which is there or which the brokers make by themselves. */
export class KafkaTopicWriter implements AsyncDisposable {
  readonly #client: KafkaClientOptions;
  readonly #producer: Producer;
  readonly #topic: string;

  constructor(client: KafkaClientOptions, topic: string, logger: Logger) {
    this.#client = client;
    this.#topic = topic;
    const kafka = new kafkajs.Kafka({
      ...{ clientId: 'understudy', connectionTimeout: 5_000, ...client },
      logCreator: () => (entry) => {
        logger.debug(entry.log.message, { part: `kafkajs ${entry.namespace}` });
      },
    });
    this.#producer = kafka.producer({
      createPartitioner: kafkajs.Partitioners.DefaultPartitioner,
      retry: { retries: 3 },
    });
  }

  /** Resolves when all replicas in sync have them. KAFKA_UNREACHABLE; then some may be there. */
  async send(messages: readonly TopicMessage[]): Promise<void> {
    try {
      await this.#producer.connect();
      await this.#producer.send({ topic: this.#topic, acks: -1, messages: [...messages] });
    } catch (error) {
      throw kafkaUnreachable(error, describeBrokers(this.#client));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#producer.disconnect();
  }
}
