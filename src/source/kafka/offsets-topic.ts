import { z } from 'zod';
import { partitionKey } from '../../change/position.ts';
import { UnderstudyError } from '../../errors/understudy-error.ts';
import { positionOf, type StoredOffset, type StoredOffsets } from '../committed-offsets.ts';
import type { KafkaCluster } from './cluster.ts';
import { Tail } from './tail.ts';

/** Commits by which the interval between them is measured. */
const TIMES = 12;
const FETCH = { maxWaitMs: 100, maxBytes: 4 * 1024 * 1024 };

/** Key of a source offset (Connect's JSON converter without schemas): connector, partition. */
const keyShape = z.tuple([z.string(), z.object({ server: z.string() })]);

/**
 * The committed source offset from Connect's offset.storage.topic, for where its REST interface
 * cannot be reached. Reads the topic once, and then only what is new. Committed records only, so
 * that it is right under exactly-once delivery too.
 */
export class OffsetsTopic implements StoredOffsets {
  readonly description: string;
  readonly #cluster: KafkaCluster;
  readonly #topic: string;
  readonly #server: string;
  readonly #connector: string | null;
  readonly #tails = new Map<number, Tail>();
  /** As of the newest record read. */
  #found: bigint | null = null;
  #stored: unknown = null;
  /** When our newest commits were written, oldest first. */
  #times: readonly number[] = [];

  /**
   * `cluster` stays the caller's. `server` is the connector's topic.prefix; `connector` its name,
   * or null to take any connector with that prefix.
   */
  constructor(options: {
    readonly cluster: KafkaCluster;
    readonly topic: string;
    readonly server: string;
    readonly connector: string | null;
  }) {
    this.#cluster = options.cluster;
    this.#topic = options.topic;
    this.#server = options.server;
    this.#connector = options.connector;
    this.description = `offsets topic ${options.topic}`;
  }

  async committed(signal?: AbortSignal): Promise<bigint | null> {
    try {
      await this.#readOn(signal);
    } catch (error) {
      if (signal?.aborted === true) throw signal.reason;
      throw this.#cluster.unreachable(error);
    }
    return this.#found;
  }

  async stored(signal?: AbortSignal): Promise<readonly StoredOffset[]> {
    await this.committed(signal);
    const offset = this.#stored;
    return typeof offset === 'object' && offset !== null ? [offset as StoredOffset] : [];
  }

  /**
   * Milliseconds between two commits, as the newest of them show (their median); null before the
   * third. The worker commits only when there is something new, as heartbeats are.
   */
  async flushIntervalMs(): Promise<number | null> {
    await this.committed();
    const gaps = this.#times
      .slice(1)
      .map((time, i) => time - (this.#times[i] ?? time))
      .toSorted((a, b) => a - b);
    return gaps.length < 2 ? null : (gaps[Math.floor(gaps.length / 2)] ?? null);
  }

  async #readOn(signal: AbortSignal | undefined): Promise<void> {
    const { list } = await this.#cluster.partitions(
      (topic) => topic === this.#topic,
      [this.#topic],
    );
    if (list.length === 0) {
      throw new UnderstudyError('KAFKA_TOPICS_MISSING', 'there is no such offsets topic', {
        topic: this.#topic,
      });
    }
    const starts = await this.#cluster.starts(list);
    const ends = await this.#cluster.ends(list);
    for (const { partition, leader } of list) {
      const key = partitionKey(this.#topic, partition);
      const tail =
        this.#tails.get(partition) ?? new Tail(this.#topic, partition, starts.get(key) ?? 0n);
      this.#tails.set(partition, tail);
      const end = ends.get(key) ?? 0n;
      while (tail.next < end) {
        signal?.throwIfAborted();
        if (!(await this.#readSome(tail, leader))) break;
      }
    }
  }

  /** False if nothing more is committed yet. */
  async #readSome(tail: Tail, leader: number): Promise<boolean> {
    const { topic, partition, next } = tail;
    const { maxBytes } = FETCH;
    const wanted = [{ topic, partition, from: next, maxBytes }];
    const answer = await this.#cluster.fetch(leader, wanted, FETCH);
    const fetched = answer.partitions.find((one) => one.partition === partition);
    const chunk = fetched === undefined ? null : await tail.read(fetched);
    if (chunk === null) return false;
    for (const record of chunk.records) {
      if (!this.#isOurs(record.key)) continue;
      this.#stored = readJson(record.value);
      this.#found = positionOf(this.#stored);
      this.#times = [...this.#times, record.timestampMs].slice(-TIMES);
    }
    tail.pass(chunk);
    return true;
  }

  #isOurs(key: Buffer | null): boolean {
    const parsed = keyShape.safeParse(readJson(key));
    if (!parsed.success) return false;
    const [connector, { server }] = parsed.data;
    return server === this.#server && (this.#connector === null || connector === this.#connector);
  }
}

/** Undefined for what is not JSON: other connectors may store what they like. */
function readJson(bytes: Buffer | null): unknown {
  if (bytes === null) return undefined;
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
