/**
 * Changes that a table got under names that it had before lie in other topics, and between topics nothing
 * is ordered. What it got since a name was given up waits until all that it got under that name went.
 *
 * Invariant: what waits, waits for a partition in which something may come of before it in production. So
 * two partitions never wait for each other, and one that is read no further, because it waits itself, keeps
 * no other waiting for what is not read of it.
 */
import { partitionKey, type SourcePosition } from '../change/position.ts';
import type { ChangeEvent } from '../change/record.ts';
import { tableName } from '../change/table-id.ts';
import type { Lane } from './lane.ts';

/** A partition of a topic that a table had under a name of before. */
export interface FormerPartition {
  /** See `partitionKey`. */
  readonly key: string;
  /** Where in production's log the table had the name no more. */
  readonly until: SourcePosition;
  /** The offset behind all that it got under the name. */
  readonly end: bigint;
}

/** Does `place` stand before `until`? Null where it does not tell. */
type IsBefore = (place: SourcePosition, until: SourcePosition) => boolean | null;

export class FormerTopics {
  /** By table (`tableName()`), those of which something may still come, or waits. */
  readonly #open: Map<string, readonly FormerPartition[]>;
  readonly #read = new Map<string, bigint>();
  /** By partition, the place of the change that came last. */
  readonly #places = new Map<string, SourcePosition>();
  readonly #isBefore: IsBefore;

  constructor(former: ReadonlyMap<string, readonly FormerPartition[]>, isBefore: IsBefore) {
    this.#open = new Map(former);
    this.#isBefore = isBefore;
  }

  /** A change came. */
  came(key: string, { source }: ChangeEvent): void {
    if (this.#open.size > 0) this.#places.set(key, source);
  }

  /** Everything of this partition before `next` has come. */
  read(key: string, next: bigint): void {
    if (this.#open.size > 0) this.#read.set(key, next);
  }

  /** Must it wait? `isOfWhole`: it goes with all of its transaction, none of which keeps it then. */
  holdsBack(
    event: ChangeEvent,
    lanes: ReadonlyMap<string, Lane<ChangeEvent>>,
    isOfWhole: boolean,
  ): boolean {
    const label = this.#open.size === 0 ? '' : tableName(event.table);
    const open = this.#open.get(label);
    if (open === undefined) return false;
    const own = partitionKey(event.at.topic, event.at.partition);
    const left = open.filter((partition) =>
      this.#mayHold(partition, label, lanes.get(partition.key)),
    );
    if (left.length === 0) this.#open.delete(label);
    else if (left.length < open.length) this.#open.set(label, left);
    return left.some((partition) => {
      // Its own partition is in order.
      if (partition.key === own || !this.#isBehind(event, partition.until)) return false;
      if (!this.#isPast(partition)) return true;
      for (const other of this.#under(partition, label, lanes.get(partition.key))) {
        if (!isOfWhole || !isOfOne(other, event)) return true;
      }
      return false;
    });
  }

  /** They have waited for too long: what their tables get goes as it comes from now on. */
  giveUp(events: Iterable<ChangeEvent>): void {
    for (const { table } of events) this.#open.delete(tableName(table));
  }

  #mayHold(
    partition: FormerPartition,
    label: string,
    lane: Lane<ChangeEvent> | undefined,
  ): boolean {
    return !this.#isPast(partition) || !this.#under(partition, label, lane).next().done;
  }

  /** Has it come to where the table had the name no more? */
  #isPast({ key, until, end }: FormerPartition): boolean {
    if ((this.#read.get(key) ?? 0n) >= end) return true;
    const place = this.#places.get(key);
    return place !== undefined && this.#isBefore(place, until) === false;
  }

  #isBehind({ formerly, source }: ChangeEvent, until: SourcePosition): boolean {
    return formerly === undefined || this.#isBefore(source, until) === false;
  }

  /** What waits there of the table under that name, or may be. */
  *#under(
    { until }: FormerPartition,
    label: string,
    lane: Lane<ChangeEvent> | undefined,
  ): Generator<ChangeEvent, undefined> {
    for (const event of lane?.records() ?? []) {
      const { formerly, source, table } = event;
      // Under that name there may be other tables, before and behind.
      if (formerly === undefined || tableName(table) !== label) continue;
      if (this.#isBefore(source, until) !== false) yield event;
    }
    return undefined;
  }
}

function isOfOne({ transaction }: ChangeEvent, event: ChangeEvent): boolean {
  return transaction !== null && transaction.id === event.transaction?.id;
}
