/**
 * A shadow database that several processes follow at once, each some of the log's partitions.
 *
 * Words: the *holder* has the database's fence. A *member* is a further process that would help. A
 * *share* is what a member was given: partitions, each with the number of the grant.
 *
 * Invariants, each kept by the database itself, in the transaction that writes:
 * - A batch moves a partition's position only if its writer is the member that has the partition's
 *   grant, under a lock that whoever takes the grant back waits for; or, where the partition is given
 *   to nobody, the holder under its fence.
 * - All other acts (DDL, repairs, resets, what sets rows aside) are the holder's, and are refused while
 *   anything is given to anybody.
 * - Grants are made and taken back by the holder only, under its fence; and whoever takes the fence
 *   takes back all of them, in the same transaction.
 * - A partition goes on exactly where it stands in the database, whoever has it: its position is
 *   committed with the rows, and a batch that does not begin there is refused.
 *
 * So who believes what of the membership decides how fast it goes, and never what is written: a process
 * that was paused, or is cut off, and still thinks that it has a share, commits nothing.
 */
import type { LogOffset } from '../change/position.ts';
import type { Fence, HolderNote, ShadowDatabase } from './dialect.ts';

/** A member as the database knows it. */
export interface Member {
  readonly number: bigint;
  /** Who: `host/pid/random`. */
  readonly name: string;
  /** Its sessions have ended, or it gave no sign of life for the lease. */
  readonly gone: boolean;
  readonly silentMs: number;
  /** What it said of itself with its last sign of life. */
  readonly note: HolderNote | null;
  /** Keys of the partitions that it was given. */
  readonly partitions: readonly string[];
}

/** Why a record must be written by one process that has all partitions. */
export type HandOverReason =
  /** It empties a table, whose rows others have too. */
  | 'truncate'
  /** Its row got or lost its key, and the other half of that is not among our partitions. */
  | 'key-change'
  /** Its place between the partitions could not be found in time. */
  | 'order'
  /** Its table has no key, or one that can be spelled in several ways: its rows may be in any partition. */
  | 'keyless'
  /** It could not be read or written. */
  | 'failed';

/** A point that is to be passed by one process alone: the record there, and what led to it. */
export interface HandOver extends LogOffset {
  readonly why: HandOverReason;
}

/** All methods throw UnderstudyError. */
export interface Sharing {
  /** Offers to help. The number names the member from now on. */
  join(name: string): Promise<bigint>;
  /**
   * What the member is given now, by partition; with a note, a sign of life as well. Null if it was
   * taken for gone: then it may join again.
   */
  visit(member: bigint, note: HolderNote | null): Promise<ReadonlyMap<string, bigint> | null>;
  /** Gives everything back. */
  leave(member: bigint): Promise<void>;
  /** Asks that one process pass these points alone. */
  handOver(points: readonly HandOver[]): Promise<void>;

  members(): Promise<readonly Member[]>;
  handOvers(): Promise<readonly HandOver[]>;
  /** These points are passed. */
  passed(fence: Fence, points: readonly LogOffset[]): Promise<void>;
  /**
   * From now on exactly these partitions are given away, each to the member that is named, as far as
   * it is there; returns what is. Waits for the transactions of who loses some, and ends the sessions
   * of members that are silent. Errors: FENCED, APPLY_BLOCKED (a member's transaction takes long: try
   * again; nothing is changed).
   */
  assign(fence: Fence, wanted: ReadonlyMap<string, bigint>): Promise<ReadonlyMap<string, bigint>>;
}

export interface SharedShadow extends ShadowDatabase {
  readonly sharing: Sharing;
}

/** Null if one process has to follow all of a database of its engine. */
export function sharingOf(database: ShadowDatabase): Sharing | null {
  return 'sharing' in database ? (database as SharedShadow).sharing : null;
}

/** With what a member writes: refused by every act but `apply`. */
export function shareFence(
  member: { readonly number: bigint; readonly name: string },
  partitions: ReadonlyMap<string, bigint>,
): Fence {
  const newest = [...partitions.values()].reduce((a, b) => (a > b ? a : b), 0n);
  // Apart from all generations, and another one for each share: sessions read their tables anew.
  const share = { member: member.number, partitions };
  return { generation: -newest, holder: member.name, share };
}
