import { partitionKey } from '../change/position.ts';
import type { TransactionBoundary } from '../change/record.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import { Lane } from './lane.ts';
import type { RecentIds } from './recent-ids.ts';

/** Boundaries of one transaction, next to each other at the head of their partition. */
export interface BoundaryRun {
  readonly id: string;
  /** Null: another transaction follows without it. */
  readonly end: TransactionBoundary | null;
  readonly endSinceMs: number;
  /** The connector was restarted inside it: the counts of its END mean nothing. */
  readonly restarted: boolean;
  readonly length: number;
}

/** What is known of transactions. */
export interface Known {
  /** They went whole before. Where one comes again inside of another, it is put into `open`. */
  readonly done: RecentIds;
  readonly open: RecentIds;
  /** Are two deliveries of a transaction here, of which the one with this END is not whole? */
  readonly isTorn: (end: TransactionBoundary) => boolean;
}

/** The transaction topic's one partition. */
export class Boundaries {
  #lane: Lane<TransactionBoundary> | null = null;

  /** Its partition; null while nothing came of it. */
  get key(): string | null {
    return this.#lane?.key ?? null;
  }

  /** Whose turn it is. */
  get nextId(): string | null {
    return this.#lane?.peek()?.record.id ?? null;
  }

  /** Its END, if that comes next; `void` if it began more than once before it, for then its counts are. */
  get nextEnd(): TransactionBoundary | 'void' | null {
    for (let n = 0, begins = 0; ; n += 1) {
      const record = this.#lane?.peek(n)?.record;
      if (record === undefined || record.id !== this.nextId) return null;
      if (record.kind === 'end') return begins > 1 ? 'void' : record;
      begins += 1;
    }
  }

  /** UNSUPPORTED if there is more than one partition. */
  push(record: TransactionBoundary, nowMs: number): void {
    const { topic, partition, offset } = record.at;
    const key = partitionKey(topic, partition);
    this.#lane ??= new Lane(key);
    if (this.#lane.key !== key) {
      throw new UnderstudyError(
        'UNSUPPORTED',
        'the transaction topic must have exactly one partition, or its order is lost',
        { topic, partition, offset },
      );
    }
    this.#lane.push(record, nowMs);
  }

  /** Everything before `next` was read. False if none of it waits. */
  extend(next: bigint): boolean {
    return this.#lane?.extend(next) === true;
  }

  /** See `nextBoundaries`. */
  next(known: Known): BoundaryRun | null {
    return nextBoundaries(this.#lane, known);
  }

  /** Takes so many. The position behind them; null if there is none. */
  pass(count: number): bigint | null {
    let next: bigint | null = null;
    for (let n = 0; n < count; n += 1) {
      next = this.#lane?.peek()?.next ?? next;
      this.#lane?.shift();
    }
    return next;
  }
}

/**
 * The boundaries at the head that are of one transaction; null if its END may still come. Of a torn
 * one, with those of the delivery that follows.
 */
function nextBoundaries(lane: Lane<TransactionBoundary> | null, known: Known): BoundaryRun | null {
  const first = lane?.peek();
  if (lane === null || first === undefined) return null;
  const { id } = first.record;
  let begins = 0;
  let restarted = false;
  /** Up to an END that stands for a torn delivery, should none follow. */
  let torn: BoundaryRun | null = null;
  for (let n = 0; ; n += 1) {
    const item = lane.peek(n);
    if (item === undefined) return torn;
    const { record, sinceMs } = item;
    if (record.id !== id) {
      // Something that was whole before: the connector went back, and will come here again.
      if (!known.done.has(record.id)) {
        return torn ?? { id, end: null, endSinceMs: sinceMs, restarted, length: n };
      }
      restarted = true;
      known.open.add(record.id);
      continue;
    }
    if (record.kind === 'end') {
      const run = { id, end: record, endSinceMs: sinceMs, restarted, length: n + 1 };
      if (restarted || !known.isTorn(record)) return run;
      torn = run;
      continue;
    }
    begins += 1;
    restarted ||= begins > 1;
  }
}
