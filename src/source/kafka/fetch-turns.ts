/**
 * Whose turn it is in a fetch. A broker fills its answer in the order of the request: asked in one
 * order, it would send a topic's backlog to its end before it sends the next one's, and a source
 * transaction's events lie in several. So all that are behind get a share, and each comes first in
 * its turn: whoever is first gets a whole batch, however large.
 */
/** A share that is worth an answer. */
const MIN_SHARE_BYTES = 64 * 1024;

/** How far a partition is read. */
export interface ReadPartition {
  readonly next: bigint;
  /** The log's end as of the last answer; null if there was none. */
  readonly end: bigint | null;
}

export interface FetchTurn<T extends ReadPartition> {
  readonly of: T;
  readonly maxBytes: number;
}

/** The `turn`th fetch (from 0) of these partitions, of so many bytes in all. */
export function fetchTurns<T extends ReadPartition>(
  partitions: readonly T[],
  turn: number,
  bytes: number,
): readonly FetchTurn<T>[] {
  const behind = partitions.filter(({ next, end }) => end === null || next < end).length;
  const maxBytes = Math.max(MIN_SHARE_BYTES, Math.floor(bytes / Math.max(1, behind)));
  const first = partitions.length === 0 ? 0 : turn % partitions.length;
  const inTurn = [...partitions.slice(first), ...partitions.slice(0, first)];
  return inTurn.map((of) => ({ of, maxBytes }));
}
