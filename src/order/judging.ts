/** Whether a transaction whose END is here goes now, and how. */
import type { TransactionBoundary } from '../change/record.ts';
import type { BoundaryRun } from './boundaries.ts';
import { Gathering } from './gathering.ts';
import type { Patience } from './patience.ts';
import type { UnreadPlaces } from './unread-places.ts';

export type Judgement = 'wait' | 'complete' | 'incomplete';

export interface JudgeParts {
  readonly unread: UnreadPlaces;
  readonly patience: Patience;
  /** Of an event of this transaction. */
  readonly isSubscribed: (collection: string, id: string) => boolean;
  readonly now: () => number;
  readonly stallLimitMs: number;
}

/** Quiet time after which a transaction with a restart inside counts as whole. */
const SETTLE_MS = 5_000;

/** `gathering`: what is here of it; undefined if nothing is. */
export function judge(
  end: TransactionBoundary,
  { endSinceMs, restarted }: BoundaryRun,
  gathering: Gathering | undefined,
  parts: JudgeParts,
): Judgement {
  const { unread, patience, now, stallLimitMs } = parts;
  const isSubscribed = (collection: string): boolean => parts.isSubscribed(collection, end.id);
  const present = gathering ?? new Gathering(end.id, endSinceMs);
  const lacking = present.lacking(end.counts, isSubscribed);
  const sinceMs = Math.max(endSinceMs, present.lastMs);
  const reached = lacking.size === 0;
  if (reached ? unread.splits(end.id, present.lanes) : unread.makeUpFor(lacking)) {
    return 'incomplete';
  }
  if (reached && !restarted && !present.isTorn(end.counts, isSubscribed)) return 'complete';
  const settleMs = Math.min(SETTLE_MS, stallLimitMs);
  if (reached && restarted && now() - sinceMs >= settleMs) return 'complete';
  return patience.isOver(sinceMs) ? 'incomplete' : 'wait';
}
