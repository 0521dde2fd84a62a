import { isUnderstudyError } from '../../errors/understudy-error.ts';
import type { Logger } from '../../observability/logger.ts';
import type { TopicSettings, TopicSettingsReader } from '../change-source.ts';
import { KafkaCluster, type KafkaClientOptions } from './cluster.ts';
import { classifyFailure } from './failures.ts';

const NAMES = [
  'cleanup.policy',
  'retention.ms',
  'retention.bytes',
  'unclean.leader.election.enable',
];

/** Opens one connection at its first question. */
export class KafkaTopicSettings implements TopicSettingsReader {
  readonly #client: KafkaClientOptions;
  readonly #logger: Logger;
  #cluster: Promise<KafkaCluster> | null = null;

  constructor(client: KafkaClientOptions, logger: Logger) {
    this.#client = client;
    this.#logger = logger;
  }

  async read(isWanted: (topic: string) => boolean): ReturnType<TopicSettingsReader['read']> {
    this.#cluster ??= KafkaCluster.connect(this.#client, this.#logger);
    const cluster = await this.#cluster;
    try {
      const { list } = await cluster.partitions(isWanted);
      const found = await cluster.settings(list, NAMES);
      return { topics: [...found].map(([topic, of]) => settingsOf(topic, of)), denied: null };
    } catch (error) {
      if (isUnderstudyError(error)) throw error;
      const failure = classifyFailure(error);
      if (failure.kind === 'refused') return { topics: [], denied: failure.detail };
      throw cluster.unreachable(error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.#cluster?.catch(() => null))?.close();
  }
}

function settingsOf(topic: string, of: ReadonlyMap<string, string>): TopicSettings {
  const limit = (name: string): number | null => {
    const value = Number(of.get(name) ?? '-1');
    return value < 0 ? null : value;
  };
  return {
    topic,
    compacted: (of.get('cleanup.policy') ?? '').includes('compact'),
    retentionMs: limit('retention.ms'),
    retentionBytes: limit('retention.bytes'),
    uncleanElection: of.get('unclean.leader.election.enable') === 'true',
  };
}
