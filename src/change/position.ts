/** A record's place in the event log. */
export interface LogOffset {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
}

/** Map key of a topic partition. Topic names cannot hold a slash. */
export function partitionKey(topic: string, partition: number): string {
  // It is asked for each record, and a partition's come one after another.
  if (topic !== last.topic || partition !== last.partition) {
    last = { topic, partition, key: `${topic}/${partition}` };
  }
  return last.key;
}

let last = { topic: '', partition: -1, key: '' };

/** The parts of a key made by partitionKey. */
export function parsePartitionKey(key: string): { topic: string; partition: number } {
  const slash = key.lastIndexOf('/');
  return { topic: key.slice(0, slash), partition: Number(key.slice(slash + 1)) };
}

/** For every topic partition (see partitionKey) an offset: where to go on, or where it ends. */
export type OffsetMap = ReadonlyMap<string, bigint>;

/**
 * Where a change stands in production's own log. Compared only by the connector's comparator
 * (decode/connectors), never as text.
 */
export type SourcePosition =
  | {
      readonly connector: 'postgresql';
      /** LSN of the change itself. Null for rows of an incremental snapshot. */
      readonly lsn: bigint | null;
      /** LSN of the last commit before it: `source.sequence[0]`. Null counts as 0. */
      readonly lastCommitLsn: bigint | null;
      /** Top-level transaction id, 32 bits unsigned as Debezium sends it. Null outside one. */
      readonly txId: number | null;
    }
  | {
      readonly connector: 'mysql' | 'mariadb';
      readonly file: string | null;
      readonly pos: bigint | null;
      readonly row: number;
      readonly gtid: string | null;
    };

/** Bits that an offset in one file takes: more than any file has bytes. */
const FILE_SHIFT = 40n;

/**
 * A place in production's log as one number, which grows along the log of one server; null where the
 * change does not tell it.
 */
export function logPosition(source: SourcePosition): bigint | null {
  return 'lsn' in source ? source.lsn : filePosition(source.file, source.pos);
}

/** As `logPosition`, by a log file's name, which ends in its number, and the offset there. */
export function filePosition(file: string | null, pos: bigint | null): bigint | null {
  const number = file === null ? undefined : /\.(\d+)$/.exec(file)?.[1];
  if (number === undefined || pos === null) return null;
  return (BigInt(number) << FILE_SHIFT) + pos;
}

/**
 * What a shadow database has applied, exactly: every record before `offsets` and none after.
 * Written only inside the transaction that writes the rows.
 */
export interface Position {
  readonly offsets: OffsetMap;
  /** The last source position applied, for people and for lag. Null before the first change. */
  readonly source: SourcePosition | null;
  /** Commit time of the last applied change in production, epoch milliseconds. */
  readonly eventTimeMs: number | null;
}

export const START: Position = { offsets: new Map(), source: null, eventTimeMs: null };
