import { UnderstudyError } from '../../errors/understudy-error.ts';
import type { KafkaCluster } from './cluster.ts';

/** KAFKA_TOPICS_MISSING, saying what was looked for and how much there is. */
export function topicsMissing(topicPrefix: string, cluster: KafkaCluster): UnderstudyError {
  return new UnderstudyError(
    'KAFKA_TOPICS_MISSING',
    `no topic of the connector with topic.prefix ${topicPrefix} is on Kafka`,
    { detail: `looked for ${topicPrefix}.* among ${cluster.topicNames.length} topics` },
  );
}
