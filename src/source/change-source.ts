/**
 * The event log, as the rest of the program sees it: topic partitions of records in order.
 * Two implementations: kafka/ (a consumer group) and recording/ (a file). Nothing outside
 * this folder knows a Kafka client.
 *
 * Invariant: for every partition, chunks arrive in offset order and without a hole that is not
 * declared (`next` moves over control records and compacted offsets). A position that the log no
 * longer holds is LOG_GAP, never a silent jump.
 */
import type { LogRecord } from '../change/record.ts';
import type { OffsetMap } from '../change/position.ts';

/** Some records of one partition, in order. May be empty when only the position moved. */
export interface LogChunk {
  readonly topic: string;
  readonly partition: number;
  readonly records: readonly LogRecord[];
  /** The fetch position after this chunk: also passes control records and compacted offsets. */
  readonly next: bigint;
  /** The log's end as known with this chunk (last stable offset under read_committed). */
  readonly end: bigint;
}

export interface ChangeStream extends AsyncDisposable {
  /**
   * Chunks as they arrive. Ends when the source is finite and exhausted, or was disposed;
   * throws an UnderstudyError when the log cannot be read on.
   */
  readonly chunks: AsyncIterable<LogChunk>;
  /**
   * Tells that `bytes` of records handed out earlier are no longer held in memory. The source
   * stops fetching while more than its budget is outstanding.
   */
  released(bytes: number): void;
  /**
   * From now on these partitions, by their keys, are not read on, and all others are. What is under way
   * still comes. A recording is played in its own order all the same.
   */
  pause(partitions: ReadonlySet<string>): void;
  /** Tells the broker how far we are. Advisory, for lag tools; never read back by us. */
  commit(offsets: OffsetMap): Promise<void>;
}

export interface SourceState {
  readonly state: 'starting' | 'reading' | 'reconnecting' | 'paused' | 'ended';
  /** Since when, epoch milliseconds by the steady clock (util/clock.ts). */
  readonly since: number;
  readonly detail: string | null;
}

export interface ChangeSource extends AsyncDisposable {
  /** For people: `kafka localhost:9092, topics prod.*` or `recording ./shop.recording`. */
  readonly description: string;
  /** False for a recording: its end is the end. */
  readonly endless: boolean;
  /**
   * The end offset of every partition of every topic that is ours, now. For who asks often: `since`
   * says how old the knowledge may be which partitions there are, in milliseconds. Default 0.
   */
  ends(since?: number): Promise<OffsetMap>;
  /** The first offset still held, for every partition that is ours. */
  starts(): Promise<OffsetMap>;
  /**
   * The offset of each partition's first record of that time, by its timestamp, or later: its end where
   * it has none. Absent where records are not found by their time.
   */
  since?(epochMs: number): Promise<OffsetMap>;
  /**
   * Ids of our topics: one that was deleted and made again has another. Absent where topics have none;
   * without those of which the brokers tell none.
   */
  topicIds?(): Promise<ReadonlyMap<string, string>>;
  /**
   * Reads on from `from`: partitions not named in it start at their first record. Partitions and
   * topics that appear later are picked up and start at their first record too.
   * Only one stream may be open at a time.
   */
  open(from: OffsetMap, options: StreamOptions): Promise<ChangeStream>;
}

/** How long the log keeps what, by topic. A recording keeps everything and has no such settings. */
export interface TopicSettings {
  readonly topic: string;
  readonly compacted: boolean;
  /** Null for no limit. */
  readonly retentionMs: number | null;
  readonly retentionBytes: number | null;
  /** A replica that lacks records may become the leader, and they are gone. */
  readonly uncleanElection: boolean;
}

export interface TopicSettingsReader extends AsyncDisposable {
  /**
   * Of those of the topics that exist; none if the account may not describe them (`denied`).
   * Errors: KAFKA_UNREACHABLE.
   */
  read(isWanted: (topic: string) => boolean): Promise<{
    readonly topics: readonly TopicSettings[];
    readonly denied: string | null;
  }>;
}

/** Which partitions are meant. */
export type PartitionFilter = (topic: string, partition: number) => boolean;

export interface StreamOptions {
  /** Outstanding bytes above which fetching pauses. */
  readonly budgetBytes: number;
  /** The shadow database's consumer group (`understudy.<database>`). */
  readonly group: string;
  readonly signal: AbortSignal;
  readonly onState?: (state: SourceState) => void;
  /** Ids that topics had when the positions in `from` were reached. Default: not known. */
  readonly ids?: ReadonlyMap<string, string> | undefined;
  /**
   * Partitions that `from` does not name have to be there from their very first record on, else
   * LOG_GAP. Default: they are read from their first record that is left.
   */
  readonly newOnesWhole?: boolean;
}
