import type { TransactionBoundary } from '../change/record.ts';
import type { Lane } from './lane.ts';
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

/**
 * The boundaries at the head that are of one transaction; null if its END may still come. Of a torn
 * one, with those of the delivery that follows.
 */
export function nextBoundaries(
  lane: Lane<TransactionBoundary> | null,
  known: Known,
): BoundaryRun | null {
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
