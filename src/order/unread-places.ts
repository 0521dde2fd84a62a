import type { UnreadChange, ChangeEvent } from '../change/record.ts';
import { collectionOf } from './gathering.ts';
import type { Lane } from './lane.ts';
import { deleteOldest } from './recent-ids.ts';

/** So many are remembered: where nothing counts events, none is ever missed. */
const MOST = 1_000;

/**
 * Changes that could not be read, until it is known which transaction misses them. They go by
 * themselves; a transaction that misses them does not wait for them, and is not called complete.
 *
 * One of them is taken to be of the first transaction that lacks an event of its table. Where a table
 * has several partitions that may be wrong: then the right one waits for the stall limit.
 */
export class UnreadPlaces {
  /** By transaction that goes as it comes: where its partitions stand behind what went of it. */
  readonly #behind = new Map<string, Map<string, bigint>>();
  #places: { readonly lane: string; readonly offset: bigint; readonly collection: string }[] = [];

  add(event: UnreadChange, lane: string): void {
    this.#places.push({ lane, offset: event.at.offset, collection: collectionOf(event) });
    if (this.#places.length > MOST) this.#places.shift();
  }

  /** Are as many here as a transaction lacks, by collection? Then they are its, and no other's. */
  makeUpFor(lacking: ReadonlyMap<string, bigint>): boolean {
    if (this.#places.length === 0) return false;
    const left = new Map(lacking);
    const rest = this.#places.filter(({ collection }) => {
      const count = left.get(collection) ?? 0n;
      left.set(collection, count - 1n);
      return count <= 0n;
    });
    if ([...left.values()].some((count) => count > 0n)) return false;
    this.#places = rest;
    return true;
  }

  /** Does one of them still wait between events of this transaction? */
  splits(id: string, lanes: Iterable<Lane<ChangeEvent>>): boolean {
    if (this.#places.length === 0) return false;
    for (const lane of lanes) {
      const head = lane.peek()?.record.at.offset ?? 0n;
      const place = this.#places.find((one) => one.lane === lane.key && one.offset >= head);
      if (place === undefined) continue;
      for (const { at, transaction } of lane.records()) {
        if (at.offset > place.offset && transaction?.id === id) return true;
      }
    }
    return false;
  }

  /** Events of a transaction went as they came: its turn may still come. */
  wentOpen(id: string, offsets: ReadonlyMap<string, bigint>): void {
    const behind = this.#behind.get(id) ?? new Map<string, bigint>();
    for (const [lane, offset] of offsets) behind.set(lane, offset);
    this.#behind.set(id, behind);
    if (this.#behind.size > MOST) deleteOldest(this.#behind);
  }

  /** The turn of such a one: what was before it had its own, so that what is unread before it is not missed. */
  turnOf(id: string): void {
    this.passed(this.#behind.get(id) ?? new Map());
    this.#behind.delete(id);
  }

  /** A transaction went whole: no later one misses what its partitions hold before it. */
  passed(offsets: ReadonlyMap<string, bigint>): void {
    if (this.#places.length === 0) return;
    this.#places = this.#places.filter(({ lane, offset }) => offset >= (offsets.get(lane) ?? 0n));
  }
}
