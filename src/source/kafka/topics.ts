/** Which topics of the cluster belong to one Debezium connector. */
export interface TopicSelection {
  /** topic.prefix of the connector. */
  readonly topicPrefix: string;
  /**
   * A first cut over row topics (`<prefix>.<schema>.<table>`), by name only: characters that a
   * topic name cannot hold were replaced by `_`, so the table is known for sure only from the
   * record. Default: all.
   */
  readonly selectTopic?: ((topic: string) => boolean) | undefined;
  /** Topics that a routing transform renamed: taken if any pattern matches. */
  readonly extraTopics?: readonly RegExp[] | undefined;
}

/** Debezium's default for `topic.heartbeat.prefix`. */
const HEARTBEAT_PREFIX = '__debezium-heartbeat';

/**
 * The topics a connector always has beside its row topics: transaction boundaries, logical
 * messages, schema changes, heartbeats (names from Debezium's topic naming strategy).
 */
export function controlTopics(topicPrefix: string): readonly string[] {
  return [
    `${topicPrefix}.transaction`,
    `${topicPrefix}.message`,
    topicPrefix,
    `${HEARTBEAT_PREFIX}.${topicPrefix}`,
  ];
}

/** A topic of a connector's signs of life, by Debezium's default name. */
export function isHeartbeat(topic: string): boolean {
  return topic.startsWith(`${HEARTBEAT_PREFIX}.`);
}

/** True for every topic that is ours. */
export function topicSelector(selection: TopicSelection): (topic: string) => boolean {
  const control = new Set(controlTopics(selection.topicPrefix));
  const rows = `${selection.topicPrefix}.`;
  const extra = selection.extraTopics ?? [];
  return (topic) => {
    if (control.has(topic)) return true;
    if (topic.startsWith(rows)) return selection.selectTopic?.(topic) ?? true;
    return extra.some((pattern) => pattern.test(topic));
  };
}
