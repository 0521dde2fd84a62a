/**
 * The event log on Kafka. Everything that concerns one stream's reading is in kafka-stream.ts.
 */
import type { OffsetMap } from '../../change/position.ts';
import { isUnderstudyError, UnderstudyError } from '../../errors/understudy-error.ts';
import { silentLogger, type Logger } from '../../observability/logger.ts';
import type {
  ChangeSource,
  ChangeStream,
  PartitionFilter,
  StreamOptions,
} from '../change-source.ts';
import {
  describeBrokers,
  KafkaCluster,
  type KafkaClientOptions,
  type TopicPartition,
} from './cluster.ts';
import { KafkaStream } from './kafka-stream.ts';
import { topicsMissing } from './topics-missing.ts';
import { topicSelector, type TopicSelection } from './topics.ts';

export interface KafkaSourceOptions extends TopicSelection {
  /** brokers, ssl, sasl, clientId and further options as kafkajs names them. */
  readonly client: KafkaClientOptions;
  /** Which partitions a stream reads; questions are about all. Default: all. */
  readonly only?: PartitionFilter | undefined;
  readonly logger?: Logger;
  /** How often the cluster is asked for new topics, partitions and leaders. Default 5 s. */
  readonly refreshMs?: number;
  /** How often offsets are committed to the consumer group, at most. Default 1 s. */
  readonly commitMs?: number;
}

/**
 * Opens no connection yet: the first call of `ends`, `starts` or `open` does, and tells
 * KAFKA_UNREACHABLE or KAFKA_TOPICS_MISSING.
 */
export function openKafkaSource(options: KafkaSourceOptions): ChangeSource {
  return new KafkaSource(options);
}

class KafkaSource implements ChangeSource {
  readonly description: string;
  readonly endless = true;
  readonly #options: KafkaSourceOptions;
  readonly #isOurs: (topic: string) => boolean;
  readonly #logger: Logger;
  /** The partitions, as they were when they were last looked up. */
  #listed: { readonly list: readonly TopicPartition[]; readonly atMs: number } | null = null;
  /** For questions beside a stream. */
  #cluster: Promise<KafkaCluster> | null = null;
  #stream: KafkaStream | null = null;

  constructor(options: KafkaSourceOptions) {
    this.#options = options;
    this.#isOurs = topicSelector(options);
    this.#logger = options.logger ?? silentLogger;
    const brokers = describeBrokers(options.client);
    this.description = `kafka ${brokers}, topics ${options.topicPrefix}.*`;
  }

  ends(since = 0): Promise<OffsetMap> {
    return this.#ask(async (cluster) => cluster.ends(await this.#partitions(cluster, since)));
  }

  starts(): Promise<OffsetMap> {
    return this.#ask(async (cluster) => cluster.starts(await this.#partitions(cluster)));
  }

  since(epochMs: number): Promise<OffsetMap> {
    return this.#ask(async (cluster) => cluster.since(await this.#partitions(cluster), epochMs));
  }

  topicIds(): Promise<ReadonlyMap<string, string>> {
    return this.#ask(async (cluster) => cluster.topicIds(await this.#partitions(cluster)));
  }

  async open(from: OffsetMap, options: StreamOptions): Promise<ChangeStream> {
    if (this.#stream !== null && !this.#stream.closed) {
      throw new UnderstudyError('INTERNAL', 'a stream of this source is already open');
    }
    const stream = new KafkaStream({
      client: this.#options.client,
      isOurs: this.#isOurs,
      topicPrefix: this.#options.topicPrefix,
      only: this.#options.only,
      logger: this.#logger,
      refreshMs: this.#options.refreshMs ?? 5_000,
      commitMs: this.#options.commitMs ?? 1_000,
      from,
      options,
    });
    this.#stream = stream;
    await stream.start();
    return stream;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stream?.[Symbol.asyncDispose]();
    if (this.#cluster !== null) await this.#forget(this.#cluster);
  }

  async #partitions(cluster: KafkaCluster, since = 0): Promise<readonly TopicPartition[]> {
    const atMs = performance.now();
    const listed = this.#listed;
    if (listed !== null && atMs - listed.atMs < since) return listed.list;
    const { list } = await cluster.partitions(this.#isOurs);
    if (list.length === 0) throw topicsMissing(this.#options.topicPrefix, cluster);
    this.#listed = { list, atMs };
    return list;
  }

  /**
   * Asks on the connection that is there, and once more on a new one if that one is dead. Questions
   * asked at the same time share a connection: one that is not known here would never be closed.
   */
  async #ask<T>(question: (cluster: KafkaCluster) => Promise<T>): Promise<T> {
    const present = this.#cluster;
    if (present !== null) {
      try {
        return await question(await present);
      } catch (error) {
        if (isUnderstudyError(error, 'KAFKA_TOPICS_MISSING')) throw error;
        this.#logger.debug('asking Kafka again on a new connection', { error });
        await this.#forget(present);
      }
    }
    this.#cluster ??= KafkaCluster.connect(this.#options.client, this.#logger);
    const asked = this.#cluster;
    const cluster = await asked.catch((error: unknown) => {
      if (this.#cluster === asked) this.#cluster = null;
      throw error;
    });
    try {
      return await question(cluster);
    } catch (error) {
      // An answer, and not one to close a connection for on which others may be asking.
      if (isUnderstudyError(error, 'KAFKA_TOPICS_MISSING')) throw error;
      await this.#forget(asked);
      throw cluster.unreachable(error);
    }
  }

  async #forget(cluster: Promise<KafkaCluster>): Promise<void> {
    // Leaders may have changed.
    this.#listed = null;
    if (this.#cluster === cluster) this.#cluster = null;
    await (await cluster.catch(() => null))?.close();
  }
}
