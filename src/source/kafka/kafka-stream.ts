/**
 * Reads all partitions of our topics from given positions on.
 *
 * There is no group membership: whoever opens a stream reads every partition, or those it names, and
 * only the fence of the shadow database decides who may apply. So no other consumer can take a
 * partition away.
 * The consumer group is written to (advisory offsets) and never read.
 *
 * Invariants
 * - A partition's chunks come in offset order, each from where the one before ended. A chunk is
 *   handed out in the same turn in which its tail moves on, and only by the session that is
 *   current, so that a reconnect can neither repeat nor skip one.
 * - Any failure ends the session; a new one begins with a new connection, a new look at topics
 *   and leaders, and the tails as they are. There is no other way of recovering.
 */
import type { OffsetMap } from '../../change/position.ts';
import { recordBytes } from '../../change/record.ts';
import type { Logger } from '../../observability/logger.ts';
import { Wakeup } from '../../util/signal.ts';
import { backoffMs, sleep } from '../../util/wait.ts';
import { ByteBudget } from '../byte-budget.ts';
import type { ChangeStream, LogChunk, PartitionFilter, StreamOptions } from '../change-source.ts';
import { StateReporter } from '../state-reporter.ts';
import { ChunkQueue } from './chunk-queue.ts';
import { KafkaCluster, type KafkaClientOptions } from './cluster.ts';
import { fetchTurns } from './fetch-turns.ts';
import { Committer } from './committer.ts';
import { classifyFailure } from './failures.ts';
import { fetchVerdict } from './fetch-verdict.ts';
import type { FetchedPartition } from './fetch-response.ts';
import type { Tail } from './tail.ts';
import { Tails } from './tails.ts';

export interface KafkaStreamParts {
  readonly client: KafkaClientOptions;
  readonly isOurs: (topic: string) => boolean;
  readonly topicPrefix: string;
  readonly only?: PartitionFilter | undefined;
  readonly logger: Logger;
  readonly refreshMs: number;
  readonly commitMs: number;
  readonly from: OffsetMap;
  readonly options: StreamOptions;
}

/** How long a fetch waits for the first record. */
const FETCH_WAIT_MS = 500;
/** How soon it is looked again for something to fetch. */
const NOTHING_WAIT_MS = 50;
const MAX_FETCH_BYTES = 8 * 1024 * 1024;
const MIN_FETCH_BYTES = 64 * 1024;
/** Least time between two looks at the cluster. */
const LOOK_SPACING_MS = 200;
const MAX_BACKOFF_MS = 5_000;
/** Failures in a row that are neither Kafka's nor the network's. */
const MAX_UNEXPECTED = 5;
const CLOSE_FLUSH_MS = 1_000;

export class KafkaStream implements ChangeStream {
  readonly chunks: AsyncIterable<LogChunk>;
  readonly #parts: KafkaStreamParts;
  readonly #queue = new ChunkQueue();
  readonly #budget: ByteBudget;
  readonly #state: StateReporter;
  readonly #tails: Tails;
  readonly #closing = new AbortController();
  readonly #lookAgain = new Wakeup();
  readonly #committer: Committer;
  readonly #maxFetchBytes: number;
  #cluster: KafkaCluster | null = null;
  #running: Promise<void> | null = null;
  #discoveryTrouble: string | null = null;
  #commitTrouble: string | null = null;

  constructor(parts: KafkaStreamParts) {
    this.#parts = parts;
    const { budgetBytes, group } = parts.options;
    this.chunks = this.#queue;
    this.#budget = new ByteBudget(budgetBytes);
    this.#state = new StateReporter(parts.options.onState);
    this.#maxFetchBytes = Math.max(
      MIN_FETCH_BYTES,
      Math.min(MAX_FETCH_BYTES, Math.floor(budgetBytes / 4)),
    );
    const { ids, newOnesWhole } = parts.options;
    this.#tails = new Tails({ ...parts, ids, newOnesWhole });
    this.#committer = new Committer({
      everyMs: parts.commitMs,
      send: async (offsets) => this.#cluster?.commit(group, offsets),
      told: (trouble) => {
        if (trouble !== null && trouble !== this.#commitTrouble) {
          parts.logger.warn('offsets are not committed', { group, detail: trouble });
        }
        this.#commitTrouble = trouble;
        if (this.#state.state === 'reading') this.#reportReading();
      },
    });
  }

  get closed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Connects and finds every position in the log; what is wrong then is thrown here. */
  async start(): Promise<void> {
    this.#state.report('starting');
    const { signal } = this.#parts.options;
    signal.throwIfAborted();
    signal.addEventListener('abort', this.#onAbort, { once: true });
    try {
      const cluster = await KafkaCluster.connect(this.#parts.client, this.#parts.logger);
      this.#cluster = cluster;
      try {
        await this.#look(cluster);
      } catch (error) {
        throw cluster.unreachable(error);
      }
    } catch (error) {
      await this[Symbol.asyncDispose]();
      throw error;
    }
    this.#running = this.#run();
  }

  released(bytes: number): void {
    this.#budget.release(bytes);
  }

  pause(partitions: ReadonlySet<string>): void {
    this.#tails.paused = partitions;
  }

  commit(offsets: OffsetMap): Promise<void> {
    this.#committer.offer(offsets);
    return Promise.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#close();
    await this.#running;
    const cluster = this.#cluster;
    if (cluster === null) return;
    const late = new AbortController();
    await Promise.race([
      this.#committer.flush(),
      sleep(CLOSE_FLUSH_MS, late.signal).catch(() => undefined),
    ]);
    late.abort();
    this.#cluster = null;
    await cluster.close();
  }

  readonly #onAbort = (): void => {
    this.#close();
  };

  #close(): void {
    if (this.closed) return;
    this.#parts.options.signal.removeEventListener('abort', this.#onAbort);
    this.#closing.abort();
    this.#queue.close();
    this.#state.report('ended');
  }

  #fail(error: unknown): void {
    this.#queue.fail(error);
    this.#close();
  }

  /** Sessions, one after the other, until closed or until an error that will not pass. */
  async #run(): Promise<void> {
    let failures = 0;
    let unexpected = 0;
    while (!this.closed) {
      try {
        const cluster = this.#cluster ?? (await this.#reconnect());
        await this.#session(cluster, () => {
          failures = 0;
          unexpected = 0;
        });
      } catch (error) {
        if (this.closed) return;
        const failure = classifyFailure(error);
        const cluster = this.#cluster;
        this.#cluster = null;
        if (failure.kind === 'ours' && failure.error.retry !== 'reconnect') {
          this.#fail(error);
        } else if (failure.kind === 'refused') {
          this.#fail(cluster?.unreachable(error) ?? error);
        } else if (failure.kind === 'unexpected' && (unexpected += 1) > MAX_UNEXPECTED) {
          this.#fail(error);
        }
        if (this.closed) {
          this.#cluster = cluster;
          return;
        }
        const detail = failure.kind === 'ours' ? failure.error.describe() : failure.detail;
        this.#state.report('reconnecting', detail);
        this.#parts.logger.warn('lost Kafka, reconnecting', { detail, attempt: failures });
        await cluster?.close();
        failures += 1;
        // Closing ends the wait; the loop condition sees it.
        await sleep(backoffMs(failures, 100, MAX_BACKOFF_MS), this.#closing.signal).catch(
          () => undefined,
        );
      }
    }
  }

  async #reconnect(): Promise<KafkaCluster> {
    const cluster = await KafkaCluster.connect(this.#parts.client, this.#parts.logger);
    this.#cluster = cluster;
    await this.#look(cluster);
    return cluster;
  }

  /** Reads until closed; rejects with the first failure of any of its loops. */
  async #session(cluster: KafkaCluster, onProgress: () => void): Promise<void> {
    const ending = new AbortController();
    const signal = AbortSignal.any([ending.signal, this.#closing.signal]);
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    signal.addEventListener('abort', () => {
      resolve(undefined);
    });
    const readers = new Set<number>();
    const readAll = (): void => {
      for (const leader of this.#tails.leaders) {
        if (readers.has(leader)) continue;
        readers.add(leader);
        this.#read(cluster, leader, signal, onProgress).catch(reject);
      }
    };
    readAll();
    this.#watch(cluster, signal, readAll).catch(reject);
    this.#committer.run(signal).catch(reject);
    try {
      await promise;
    } finally {
      ending.abort();
    }
  }

  /** Looks for new topics, partitions and leaders from time to time. */
  async #watch(cluster: KafkaCluster, signal: AbortSignal, onNew: () => void): Promise<void> {
    const wake = (): void => {
      this.#lookAgain.notify();
    };
    signal.addEventListener('abort', wake, { once: true });
    while (!signal.aborted) {
      await this.#lookAgain.wait(this.#parts.refreshMs);
      if (signal.aborted) return;
      await this.#look(cluster);
      onNew();
      await sleep(LOOK_SPACING_MS, signal).catch(() => undefined);
    }
  }

  async #look(cluster: KafkaCluster): Promise<void> {
    const trouble = await this.#tails.look(cluster);
    this.#discoveryTrouble = trouble === null ? null : `cannot look for new topics: ${trouble}`;
  }

  /** Fetches from one broker what it leads, as long as there is room. */
  async #read(
    cluster: KafkaCluster,
    leader: number,
    signal: AbortSignal,
    onProgress: () => void,
  ): Promise<void> {
    let turn = 0;
    while (!signal.aborted) {
      if (this.#budget.full) {
        this.#state.report('paused', 'waiting for the applier');
        await this.#budget.whenFree(signal);
        continue;
      }
      const tails = this.#tails.ledBy(leader);
      if (tails.length === 0) {
        // All that it leads is paused, or a later look may give it partitions again.
        await sleep(NOTHING_WAIT_MS, signal).catch(() => undefined);
        continue;
      }
      const turns = fetchTurns(tails, turn, this.#maxFetchBytes);
      turn += 1;
      const response = await cluster.fetch(
        leader,
        turns.map(({ of: { topic, partition, next }, maxBytes }) => ({
          ...{ topic, partition, from: next, maxBytes },
        })),
        { maxWaitMs: FETCH_WAIT_MS, maxBytes: this.#maxFetchBytes },
      );
      const answers = await Promise.all(
        response.partitions.map((answer) => this.#examine(cluster, leader, answer)),
      );
      if (signal.aborted) return;
      onProgress();
      this.#reportReading();
      for (const answer of answers) if (answer !== null) this.#handOut(answer.tail, answer.chunk);
    }
  }

  /** What a partition's answer adds; null for nothing. */
  async #examine(
    cluster: KafkaCluster,
    leader: number,
    answer: FetchedPartition,
  ): Promise<{ readonly tail: Tail; readonly chunk: LogChunk } | null> {
    const tail = this.#tails.get(answer.topic, answer.partition);
    if (tail === undefined) return null;
    const verdict = fetchVerdict(answer);
    switch (verdict) {
      case 'records': {
        const chunk = await tail.read(answer);
        return chunk === null ? null : { tail, chunk };
      }
      case 'moved':
        tail.leader = null;
        this.#lookAgain.notify();
        return null;
      case 'out-of-range': {
        const place = { topic: tail.topic, partition: tail.partition, leader };
        await this.#tails.checkRange(cluster, [place]);
        // In range after all: the leader is only just catching up.
        await sleep(LOOK_SPACING_MS);
        return null;
      }
    }
  }

  #handOut(tail: Tail, chunk: LogChunk): void {
    tail.pass(chunk);
    let bytes = 0;
    for (const record of chunk.records) bytes += recordBytes(record);
    this.#budget.take(bytes);
    this.#queue.push(chunk);
  }

  #reportReading(): void {
    this.#state.report('reading', this.#discoveryTrouble ?? this.#commitTrouble);
  }
}
