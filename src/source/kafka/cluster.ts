/**
 * One connection to a Kafka cluster, as far as a reader needs it: topics and leaders, offsets,
 * fetches, simple offset commits.
 *
 * It uses kafkajs' connections, authentication and protocol, but not its consumer: that one only
 * reads through group membership, and then another member of the group takes partitions away,
 * offsets out of range are silently reset, a topic that appears needs a restart, and the last
 * stable offset is not shown. kafkajs hands its cluster object to partition assigners, which is
 * how we get it; the version is pinned because a part of what we call has no public type.
 */
import kafkajs, { type Cluster, type KafkaConfig } from 'kafkajs';
import { parsePartitionKey, partitionKey, type OffsetMap } from '../../change/position.ts';
import { UnderstudyError } from '../../errors/understudy-error.ts';
import type { Logger } from '../../observability/logger.ts';
import { sleep } from '../../util/wait.ts';
import { classifyFailure } from './failures.ts';
import { readFetchResponse, type FetchResponse } from './fetch-response.ts';
import { METADATA_API, METADATA_VERSION, readTopicIds, writeTopicIdsRequest } from './topic-ids.ts';
import { Sockets } from './sockets.ts';

/** Connection options as kafkajs names them: brokers, ssl, sasl, clientId, timeouts … */
export type KafkaClientOptions = Omit<KafkaConfig, 'logLevel' | 'logCreator'>;

export interface TopicPartition {
  readonly topic: string;
  readonly partition: number;
  /** Node id of the leader. */
  readonly leader: number;
}

export interface FetchRequest {
  readonly topic: string;
  readonly partition: number;
  readonly from: bigint;
  /** Its share of the answer; the first partition that has anything may exceed it by one batch. */
  readonly maxBytes: number;
}

/** A request on its way through kafkajs: how it is sent, and how its answer is read. */
interface WireRequest {
  readonly request: {
    readonly apiKey: number;
    readonly apiVersion: number;
    readonly apiName?: string;
    readonly encode?: () => Promise<unknown>;
  };
  readonly response: {
    readonly decode: (payload: Buffer) => Promise<unknown>;
    readonly parse: (decoded: unknown) => Promise<unknown>;
  };
}

interface WirePool {
  send: (request: WireRequest) => Promise<unknown>;
}

interface WireBroker {
  /** By API number; null before they were asked for. */
  readonly versions: Readonly<Record<number, { readonly maxVersion: number }>> | null;
  readonly connectionPool: WirePool;
  /** Answers with what `readOwnFetches` made of the response. */
  fetch(request: object): Promise<FetchResponse>;
  listOffsets(request: object): Promise<{
    responses: readonly {
      topic: string;
      partitions: readonly { partition: number; offset: string }[];
    }[];
  }>;
  offsetCommit(request: object): Promise<unknown>;
  describeConfigs(request: object): Promise<{
    resources: readonly {
      resourceName: string;
      configEntries: readonly { configName: string; configValue: string | null }[];
    }[];
  }>;
  describeGroups(request: { groupIds: string[] }): Promise<{
    groups: readonly { state: string; members: readonly { clientId: string }[] }[];
  }>;
}

interface WireCluster {
  connect(): Promise<void>;
  disconnect(): Promise<void>;
  findBroker(node: { nodeId: number }): Promise<WireBroker>;
  findGroupCoordinator(group: { groupId: string }): Promise<WireBroker>;
  readonly brokerPool: {
    /** An empty list asks for all topics. */
    refreshMetadata(topics: readonly string[]): Promise<void>;
    readonly metadata: {
      readonly topicMetadata: readonly {
        readonly topic: string;
        readonly partitionMetadata: readonly {
          readonly partitionId: number;
          readonly leader: number;
        }[];
      }[];
    } | null;
  };
}

/** DescribeConfigs' number for topics. */
const TOPIC_RESOURCE = 2;
/** Fetch's number in the Kafka protocol. */
const FETCH_API = 1;
const READ_UNCOMMITTED = 0;
const READ_COMMITTED = 1;
/** ListOffsets' special timestamps. */
const LATEST = -1;
const EARLIEST = -2;
/** Offset commits from outside a group's membership. */
const NO_GENERATION = -1;
const CLOSE_TIMEOUT_MS = 1_000;

/** ListOffsets answers -1 where no record is as late. */
function atOr(found: bigint | undefined, end: bigint): bigint {
  return found === undefined || found < 0n ? end : found;
}

export class KafkaCluster {
  readonly #cluster: WireCluster;
  readonly #sockets: Sockets;
  readonly #brokers: string;
  readonly #ownReading = new WeakSet<WirePool>();

  private constructor(cluster: WireCluster, sockets: Sockets, brokers: string) {
    this.#cluster = cluster;
    this.#sockets = sockets;
    this.#brokers = brokers;
  }

  /** Connects to one of the brokers. KAFKA_UNREACHABLE names them if none answers. */
  static async connect(client: KafkaClientOptions, logger: Logger): Promise<KafkaCluster> {
    const sockets = new Sockets(client.socketFactory);
    const brokers = describeBrokers(client);
    const cluster = clusterOf(client, sockets, logger);
    const connection = new KafkaCluster(cluster, sockets, brokers);
    try {
      await cluster.connect();
    } catch (error) {
      await connection.close();
      throw connection.unreachable(error);
    }
    return connection;
  }

  /**
   * Every partition of the topics for which `isOurs` holds; none if there are none. An offline
   * partition of any topic makes kafkajs reject the list of all topics: then only the `known`
   * topics are looked up, and `incomplete` says why no new ones were looked for.
   */
  async partitions(
    isOurs: (topic: string) => boolean,
    known: readonly string[] = [],
  ): Promise<{ readonly list: readonly TopicPartition[]; readonly incomplete: string | null }> {
    const pool = this.#cluster.brokerPool;
    let incomplete: string | null = null;
    try {
      await pool.refreshMetadata([]);
    } catch (error) {
      const failure = classifyFailure(error);
      if (known.length === 0 || failure.kind !== 'unreachable') throw error;
      incomplete = failure.detail;
      await pool.refreshMetadata(known);
    }
    const list = (pool.metadata?.topicMetadata ?? [])
      .filter(({ topic }) => isOurs(topic))
      .flatMap(({ topic, partitionMetadata }) =>
        partitionMetadata.map(({ partitionId, leader }) => ({
          topic,
          partition: partitionId,
          leader,
        })),
      );
    return { list, incomplete };
  }

  /** Names of all topics seen by the last call of `partitions`. */
  get topicNames(): readonly string[] {
    return (this.#cluster.brokerPool.metadata?.topicMetadata ?? []).map(({ topic }) => topic);
  }

  /** The first offset still held in each partition. */
  starts(partitions: readonly TopicPartition[]): Promise<OffsetMap> {
    return this.#listOffsets(partitions, EARLIEST);
  }

  /**
   * The high watermark of each partition, not the last stable offset: a transaction may be
   * committed before its markers reach all partitions, and until then its records lie above the
   * last stable offset. Whoever has read up to the high watermark has seen all of it.
   */
  ends(partitions: readonly TopicPartition[]): Promise<OffsetMap> {
    return this.#listOffsets(partitions, LATEST);
  }

  /** Of each partition the first record with that timestamp or a later one; its end without one. */
  async since(partitions: readonly TopicPartition[], epochMs: number): Promise<OffsetMap> {
    const ends = await this.ends(partitions);
    const found = await this.#listOffsets(partitions, Math.max(0, Math.floor(epochMs)));
    return new Map([...ends].map(([key, end]) => [key, atOr(found.get(key), end)]));
  }

  async #listOffsets(partitions: readonly TopicPartition[], timestamp: number): Promise<OffsetMap> {
    const byLeader = Map.groupBy(partitions, ({ leader }) => leader);
    const answers = await Promise.all(
      [...byLeader].map(async ([nodeId, ours]) => {
        const broker = await this.#cluster.findBroker({ nodeId });
        const topics = [...Map.groupBy(ours, ({ topic }) => topic)].map(([topic, list]) => ({
          topic,
          partitions: list.map(({ partition }) => ({ partition, timestamp })),
        }));
        return broker.listOffsets({ isolationLevel: READ_UNCOMMITTED, topics });
      }),
    );
    return new Map(
      answers.flatMap(({ responses }) =>
        responses.flatMap(({ topic, partitions: list }) =>
          list.map(({ partition, offset }): [string, bigint] => [
            partitionKey(topic, partition),
            BigInt(offset),
          ]),
        ),
      ),
    );
  }

  /**
   * Committed records from the given offsets on, of partitions led by `nodeId`. Waits up to
   * `maxWaitMs` for the first. At least one whole batch comes if there is one, however large.
   */
  async fetch(
    nodeId: number,
    wanted: readonly FetchRequest[],
    limits: { readonly maxWaitMs: number; readonly maxBytes: number },
  ): Promise<FetchResponse> {
    const broker = await this.#cluster.findBroker({ nodeId });
    this.#readOwnFetches(broker.connectionPool);
    const topics = [...Map.groupBy(wanted, ({ topic }) => topic)].map(([topic, list]) => ({
      topic,
      partitions: list.map(({ partition, from, maxBytes }) => ({
        ...{ partition, fetchOffset: from.toString(), maxBytes },
      })),
    }));
    return broker.fetch({
      isolationLevel: READ_COMMITTED,
      maxWaitTime: limits.maxWaitMs,
      minBytes: 1,
      maxBytes: limits.maxBytes,
      topics,
    });
  }

  /** Makes fetch responses of this connection be read by us, see fetch-response.ts. */
  #readOwnFetches(pool: WirePool): void {
    if (this.#ownReading.has(pool)) return;
    this.#ownReading.add(pool);
    const send = pool.send.bind(pool);
    pool.send = (request) => {
      const { apiKey, apiVersion } = request.request;
      if (apiKey !== FETCH_API) return send(request);
      return send({
        ...request,
        response: {
          // kafkajs slows down by itself when it finds this field.
          decode: (payload) => {
            const response = readFetchResponse(payload, apiVersion);
            return Promise.resolve({ ...response, clientSideThrottleTime: response.throttleMs });
          },
          parse: (decoded) => Promise.resolve(decoded),
        },
      });
    };
  }

  /** Commits offsets without being a member of the group; refused while it has any member. */
  async commit(groupId: string, offsets: OffsetMap): Promise<void> {
    const coordinator = await this.#cluster.findGroupCoordinator({ groupId });
    const places = [...offsets].map(([key, offset]) => ({ ...parsePartitionKey(key), offset }));
    const topics = [...Map.groupBy(places, ({ topic }) => topic)].map(([topic, list]) => ({
      topic,
      partitions: list.map(({ partition, offset }) => ({ partition, offset: offset.toString() })),
    }));
    await coordinator.offsetCommit({
      groupId,
      groupGenerationId: NO_GENERATION,
      memberId: '',
      topics,
    });
  }

  /** Client ids of the members that the consumer group has. We are never among them. */
  async groupMembers(groupId: string): Promise<readonly string[]> {
    const coordinator = await this.#cluster.findGroupCoordinator({ groupId });
    const { groups } = await coordinator.describeGroups({ groupIds: [groupId] });
    return groups.flatMap(({ members }) => members.map(({ clientId }) => clientId));
  }

  /** Settings of topics that exist, by topic and name; any broker knows them. */
  async settings(
    places: readonly TopicPartition[],
    names: readonly string[],
  ): Promise<ReadonlyMap<string, ReadonlyMap<string, string>>> {
    const [first] = places;
    if (first === undefined) return new Map();
    const broker = await this.#cluster.findBroker({ nodeId: first.leader });
    const topics = [...new Set(places.map(({ topic }) => topic))];
    const { resources } = await broker.describeConfigs({
      resources: topics.map((name) => ({ type: TOPIC_RESOURCE, name, configNames: names })),
    });
    return new Map(
      resources.map(({ resourceName, configEntries }) => [
        resourceName,
        new Map(configEntries.map((entry) => [entry.configName, entry.configValue ?? ''])),
      ]),
    );
  }

  /** Ids of these topics, as one broker knows them; none of brokers that know no ids. */
  async topicIds(places: readonly TopicPartition[]): Promise<ReadonlyMap<string, string>> {
    const [first] = places;
    if (first === undefined) return new Map();
    const broker = await this.#cluster.findBroker({ nodeId: first.leader });
    const newest = broker.versions?.[METADATA_API]?.maxVersion ?? 0;
    if (newest < METADATA_VERSION) return new Map();
    const bytes = writeTopicIdsRequest([...new Set(places.map(({ topic }) => topic))]);
    const answer = await broker.connectionPool.send({
      request: {
        ...{ apiKey: METADATA_API, apiVersion: METADATA_VERSION, apiName: 'Metadata' },
        // As kafkajs' own encoder, as far as it looks at it.
        encode: () => Promise.resolve({ buf: bytes, buffer: bytes }),
      },
      response: {
        decode: (payload) => Promise.resolve(readTopicIds(payload)),
        parse: (decoded) => Promise.resolve(decoded),
      },
    });
    return answer as ReadonlyMap<string, string>;
  }

  /** Our error for a failed call, with the brokers it was about. */
  unreachable(error: unknown): UnderstudyError {
    return kafkaUnreachable(error, this.#brokers);
  }

  /**
   * Ends all connections, also those that wait for an answer: a fetch would wait for its whole
   * time, and a broker that is gone much longer. Never rejects.
   */
  async close(): Promise<void> {
    this.#sockets.destroyAll();
    const done = new AbortController();
    await Promise.race([
      // What fails while closing changes nothing: the sockets are gone.
      this.#cluster.disconnect().catch(() => undefined),
      sleep(CLOSE_TIMEOUT_MS, done.signal).catch(() => undefined),
    ]);
    done.abort();
    this.#sockets.destroyAll();
  }
}

export function kafkaUnreachable(error: unknown, brokers: string): UnderstudyError {
  const failure = classifyFailure(error);
  if (failure.kind === 'ours' && failure.error instanceof UnderstudyError) return failure.error;
  const detail = failure.kind === 'ours' ? failure.error.message : failure.detail;
  const what = failure.kind === 'refused' ? 'Kafka refused us' : 'Kafka did not answer';
  return new UnderstudyError('KAFKA_UNREACHABLE', `${what} at ${brokers}`, { detail }, error);
}

/** The broker addresses for people. */
export function describeBrokers(client: KafkaClientOptions): string {
  return Array.isArray(client.brokers) ? client.brokers.join(', ') : 'the configured brokers';
}

function clusterOf(client: KafkaClientOptions, sockets: Sockets, logger: Logger): WireCluster {
  const seeds = Array.isArray(client.brokers) ? client.brokers.length : 3;
  const kafka = new kafkajs.Kafka({
    clientId: 'understudy',
    // Retrying is the stream's own business, with its state shown; here only enough to try
    // every seed broker.
    retry: { initialRetryTime: 50, maxRetryTime: 500, retries: Math.max(2, seeds) },
    connectionTimeout: 5_000,
    ...client,
    socketFactory: sockets.factory,
    logCreator: () => (entry) => {
      // kafkajs calls failures errors that the caller handles; its messages hold no record data.
      logger.debug(entry.log.message, { part: `kafkajs ${entry.namespace}` });
    },
  });
  const handed: Cluster[] = [];
  kafka.consumer({
    groupId: 'understudy-unused',
    allowAutoTopicCreation: false,
    partitionAssigners: [
      (parts) => {
        handed.push(parts.cluster);
        return {
          name: 'understudy',
          version: 0,
          assign: () => Promise.resolve([]),
          protocol: () => ({ name: 'understudy', metadata: Buffer.alloc(0) }),
        };
      },
    ],
  });
  const [cluster] = handed;
  if (cluster === undefined) {
    throw new UnderstudyError('INTERNAL', 'this kafkajs does not hand out its cluster');
  }
  return cluster as unknown as WireCluster;
}
