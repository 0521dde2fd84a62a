import type { OffsetMap } from '../change/position.ts';
import type { ChangeEvent } from '../change/record.ts';
import type { Lane } from './lane.ts';

/** What may be applied together, and where every partition it touches stands after it. */
export interface Release {
  readonly changes: readonly ChangeEvent[];
  /** Next offsets of the partitions that moved. */
  readonly offsets: OffsetMap;
  /** Null for changes outside any transaction, and for mere moves. */
  readonly transactionId: string | null;
  /** False if the transaction may have more, or its events may not all be here. */
  readonly complete: boolean;
  /**
   * It is of a transaction that is too large to be held: what goes from its first part to its last
   * belongs together. Absent where all of a transaction is here, or it is given up.
   */
  readonly part?: 'more' | 'last';
  /** Bytes of the records it frees, duplicates that were passed over included. */
  readonly bytes: number;
  /** It is a truncate alone, of which rows may have gone that production wrote after it. */
  readonly isLate?: true;
  /** What is to be stored of transactions, or rows, once all of it is applied. Default: nothing. */
  readonly notes?: readonly string[];
  /**
   * How far partitions came, where that tells second deliveries: for each a note, which replaces earlier
   * ones and is stored with the position, not before it (repeated-places.ts). Default: none.
   */
  readonly places?: ReadonlyMap<string, string>;
}

/** What waits. */
export interface Held {
  readonly transactions: number;
  readonly events: number;
  readonly bytes: number;
  /** When the oldest event that waits came, epoch milliseconds. */
  readonly oldestSinceMs: number | null;
  /** When the oldest event that waits was committed in production, epoch milliseconds. */
  readonly oldestEventTimeMs: number | null;
  /** The source transaction of the event that waits longest; null if it is of none. */
  readonly oldestTransaction: string | null;
}

/** Of what waits in partitions, the oldest. */
export function oldestOf(
  lanes: Iterable<Lane<ChangeEvent>>,
): Pick<Held, 'oldestSinceMs' | 'oldestEventTimeMs' | 'oldestTransaction'> {
  const heads = Array.from(lanes, (lane) => lane.peek()).filter((head) => head !== undefined);
  const [oldest] = heads.toSorted((a, b) => a.sinceMs - b.sinceMs);
  const times = heads.map(({ record }) => record.eventTimeMs).filter((time) => time !== null);
  return {
    oldestSinceMs: oldest?.sinceMs ?? null,
    oldestEventTimeMs: times.length === 0 ? null : Math.min(...times),
    oldestTransaction: oldest?.record.transaction?.id ?? null,
  };
}
