import { UnderstudyError } from '../../errors/understudy-error.ts';
import type { LogChunk } from '../change-source.ts';
import type { FetchedPartition } from './fetch-response.ts';
import { readBatches } from './record-batches.ts';

/** How far one partition has been read, and how its next fetched batches continue it. */
export class Tail {
  readonly topic: string;
  readonly partition: number;
  /** Node id of the leader; null while the partition is not in the cluster's metadata. */
  leader: number | null = null;
  /** Looks at the cluster in a row that did not show the partition. */
  absences = 0;
  /** Whether the position is known to lie within the log. */
  checked = false;
  /** The log's end as of the last answer; null before it. */
  end: bigint | null = null;
  #next: bigint;
  #epoch = -1;

  constructor(topic: string, partition: number, next: bigint) {
    this.topic = topic;
    this.partition = partition;
    this.#next = next;
  }

  /** The offset to fetch next. */
  get next(): bigint {
    return this.#next;
  }

  /**
   * Reads what was fetched at `next`; null if nothing came. The tail itself moves only with
   * `pass`, so that an answer that comes too late changes nothing.
   * LOG_GAP if the leader epoch went back: the topic was deleted and made again.
   */
  async read(answer: FetchedPartition): Promise<LogChunk | null> {
    const { topic, partition } = this;
    const read = await readBatches(topic, partition, this.#next, answer.records, answer.aborted);
    if (read.epochs !== null) {
      const [first, last] = read.epochs;
      if (first < this.#epoch) throw this.gap('the topic was deleted and made again');
      this.#epoch = last;
    }
    if (read.next === this.#next) return null;
    return {
      topic,
      partition,
      records: read.records,
      next: read.next,
      end: answer.lastStableOffset,
    };
  }

  pass(chunk: LogChunk): void {
    this.#next = chunk.next;
    this.end = chunk.end;
  }

  /** The log does not hold what comes next. */
  gap(detail: string): UnderstudyError {
    return logGap(this.topic, this.partition, this.#next, detail);
  }
}

/** The log does not hold what comes at `offset`. */
export function logGap(
  topic: string,
  partition: number,
  offset: bigint,
  detail: string,
): UnderstudyError {
  return new UnderstudyError('LOG_GAP', 'the log does not go on where we stopped', {
    topic,
    partition,
    offset,
    detail,
  });
}
