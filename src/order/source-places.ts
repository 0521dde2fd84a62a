/** How far each partition was read, as far as it tells what may still come before a change. */
import type { SourcePosition } from '../change/position.ts';
import type { ChangeEvent } from '../change/record.ts';
import type { Lane, Waiting } from './lane.ts';

/** An end of a partition, and how many events had come when it was asked for. */
interface Goal {
  readonly asked: number;
  readonly end: bigint;
}

export interface Topic {
  readonly places: Map<string, Place>;
  /** Places whose barriers wait. */
  readonly barring: Set<Place>;
  /** All its partitions are known: its ends were told once. */
  isKnown: boolean;
}

/** What is known of a partition. */
export interface Place {
  readonly topic: Topic;
  lane: Lane<ChangeEvent> | null;
  /** Somebody else follows it: nothing of it goes here. */
  isWatched: boolean;
  /** Everything before was read. */
  read: bigint;
  /** Where the last change that was read stands in production's log. */
  last: SourcePosition | null;
  /** The latest such place. */
  bound: SourcePosition | null;
  /** Everything was read that was sent before so many events had come. */
  clearTo: number;
  /** Ends that were told and are not yet read to: the first, and the last. */
  goal: Goal | null;
  laterGoal: Goal | null;
  /** Its own events are settled up to this arrival. */
  settled: number;
  /** Barriers without a transaction that came, the oldest first; some may have gone. */
  readonly barriers: Waiting<ChangeEvent>[];
  /** The latest of its changes that may have gone; null if none has, or nobody asks. */
  gone: SourcePosition | null;
}

/** Everything before `next` was read: is it to an end that was told? */
export function readOn(place: Place, next: bigint): void {
  if (next > place.read) place.read = next;
  while (place.goal !== null && place.read >= place.goal.end) {
    place.clearTo = place.goal.asked;
    place.goal = place.laterGoal;
    place.laterGoal = null;
  }
}

/** The first barrier of a partition that waits; forgets those that went. */
export function firstBarrier(place: Place): Waiting<ChangeEvent> | undefined {
  if (place.isWatched) return place.barriers[0];
  const head = place.lane?.peek()?.record.at.offset;
  for (;;) {
    const barrier = place.barriers[0];
    if (barrier === undefined) return undefined;
    if (head !== undefined && barrier.record.at.offset >= head) return barrier;
    place.barriers.shift();
  }
}
