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

/**
 * The boundaries at the head that are of one transaction; null if its END may still come. What
 * `done` has went whole before; where it comes again inside of another, it is put into `open`.
 */
export function nextBoundaries(
  lane: Lane<TransactionBoundary> | null,
  done: RecentIds,
  open: RecentIds,
): BoundaryRun | null {
  const first = lane?.peek();
  if (lane === null || first === undefined) return null;
  const { id } = first.record;
  let begins = 0;
  let restarted = false;
  for (let n = 0; ; n += 1) {
    const item = lane.peek(n);
    if (item === undefined) return null;
    const { record, sinceMs } = item;
    if (record.id !== id) {
      // Something that was whole before: the connector went back, and will come here again.
      if (!done.has(record.id)) {
        return { id, end: null, endSinceMs: sinceMs, restarted, length: n };
      }
      restarted = true;
      open.add(record.id);
      continue;
    }
    if (record.kind === 'end') {
      return { id, end: record, endSinceMs: sinceMs, restarted, length: n + 1 };
    }
    begins += 1;
    restarted ||= begins > 1;
  }
}
