import type { TableId } from '../change/table-id.ts';
import type { Config } from '../config/schema.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { Logger } from '../observability/logger.ts';
import type {
  ChangeSource,
  PartitionFilter,
  TopicSettingsReader,
} from '../source/change-source.ts';
import type { StoredOffsets } from '../source/committed-offsets.ts';
import { ConnectClient } from '../source/connect/connect-client.ts';
import { kafkaClientOptions } from '../source/kafka/client-options.ts';
import { openKafkaSource } from '../source/kafka/kafka-source.ts';
import { KafkaCluster } from '../source/kafka/cluster.ts';
import { OffsetsTopic } from '../source/kafka/offsets-topic.ts';
import { KafkaTopicSettings } from '../source/kafka/topic-settings.ts';
import type { TopicSelection } from '../source/kafka/topics.ts';
import { openRecording } from '../source/recording/recording-source.ts';

/**
 * The event log that the configuration names: Kafka's topics or a recording. `only`: the partitions
 * that its stream reads; a recording's is always of all.
 */
export async function openConfiguredSource(
  config: Config,
  includes: (table: TableId) => boolean,
  logger: Logger,
  only?: PartitionFilter,
): Promise<ChangeSource> {
  const { kafka, pace, recording, topicPrefix } = config.source;
  if (recording !== undefined) {
    const source = await openRecording(recording, { pace });
    if (source.header.topicPrefix !== topicPrefix) {
      await source[Symbol.asyncDispose]();
      throw new UnderstudyError(
        'CONFIG_INVALID',
        `source.topicPrefix is '${topicPrefix}', but the recording holds '${source.header.topicPrefix}'`,
      );
    }
    return source;
  }
  if (kafka === undefined) throw new UnderstudyError('CONFIG_INVALID', 'no source is configured');
  const selection = topicSelection(config, includes);
  return openKafkaSource({ ...selection, client: kafkaClientOptions(kafka), only, logger });
}

/** Which topics are read. */
export function topicSelection(
  config: Config,
  includes: (table: TableId) => boolean,
): TopicSelection {
  const { extraTopics, topicPrefix } = config.source;
  return {
    topicPrefix,
    extraTopics: extraTopics.map(toPattern),
    selectTopic: (topic) => mayHoldIncluded(topic, topicPrefix, includes),
  };
}

function toPattern(text: string): RegExp {
  try {
    return new RegExp(`^(?:${text})$`);
  } catch (error) {
    throw new UnderstudyError(
      'CONFIG_INVALID',
      `source.extraTopics: '${text}' is no regular expression`,
      {},
      error,
    );
  }
}

/**
 * False for topics that surely hold an excluded table only. Characters that a topic name cannot
 * hold arrive as `_`, so a name with one says nothing; the decoder decides by the record.
 */
export function mayHoldIncluded(
  topic: string,
  topicPrefix: string,
  includes: (table: TableId) => boolean,
): boolean {
  const parts = topic.slice(topicPrefix.length + 1).split('.');
  const [schema, name] = parts;
  if (parts.length !== 2 || schema === undefined || name === undefined) return true;
  if (schema.includes('_') || name.includes('_')) return true;
  return includes({ schema, name });
}

/** The interval at which the connector's offset is committed; null where no topic tells. */
export async function readFlushInterval(config: Config, logger: Logger): Promise<number | null> {
  const { kafka, offsetsTopic: topic, topicPrefix: server } = config.source;
  if (kafka === undefined || topic === undefined) return null;
  const cluster = await KafkaCluster.connect(kafkaClientOptions(kafka), logger);
  try {
    return await new OffsetsTopic({ cluster, topic, server, connector: null }).flushIntervalMs();
  } finally {
    await cluster.close();
  }
}

/** Null for a recording. */
export function openTopicSettings(config: Config, logger: Logger): TopicSettingsReader | null {
  const { kafka } = config.source;
  return kafka === undefined ? null : new KafkaTopicSettings(kafkaClientOptions(kafka), logger);
}

/** Where the connector's committed offset is read: Connect's REST address, else its topic. */
export async function openCommittedOffsets(
  config: Config,
  logger: Logger,
): Promise<AsyncDisposable & { readonly reader: StoredOffsets | null }> {
  const { connect, kafka, offsetsTopic, topicPrefix } = config.source;
  if (connect !== undefined) {
    return { reader: new ConnectClient(connect), [Symbol.asyncDispose]: () => Promise.resolve() };
  }
  if (kafka === undefined || offsetsTopic === undefined) {
    return { reader: null, [Symbol.asyncDispose]: () => Promise.resolve() };
  }
  const cluster = await KafkaCluster.connect(kafkaClientOptions(kafka), logger);
  const reader = new OffsetsTopic({
    cluster,
    topic: offsetsTopic,
    server: topicPrefix,
    connector: null,
  });
  return { reader, [Symbol.asyncDispose]: () => cluster.close() };
}
