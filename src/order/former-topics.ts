/**
 * Changes that a table got under names that it had before lie in other topics, and between topics nothing
 * is ordered. What it got under the name it has now waits until all that lay in those topics went.
 */
import { partitionKey, type OffsetMap } from '../change/position.ts';
import type { ChangeEvent } from '../change/record.ts';
import { tableName } from '../change/table-id.ts';
import type { Lane } from './lane.ts';

export class FormerTopics {
  /** By table, the ends of the partitions of its former topics that are not passed. */
  readonly #open = new Map<string, Map<string, bigint>>();
  readonly #read = new Map<string, bigint>();

  /** `ends`: by table (`tableName()`), of the partitions that were not applied to their ends. */
  constructor(ends: ReadonlyMap<string, OffsetMap>) {
    for (const [label, partitions] of ends) {
      if (partitions.size > 0) this.#open.set(label, new Map(partitions));
    }
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
    if (this.#open.size === 0 || event.formerly !== undefined) return false;
    const label = tableName(event.table);
    const open = this.#open.get(label);
    for (const [key, end] of open ?? []) {
      // Its own partition is in order.
      if (key === partitionKey(event.at.topic, event.at.partition)) continue;
      if ((this.#read.get(key) ?? 0n) < end) return true;
      const lane = lanes.get(key);
      const head = lane?.peek()?.record;
      if (lane === undefined || head === undefined || head.at.offset >= end) {
        open?.delete(key);
        continue;
      }
      for (const { at, formerly, table, transaction } of lane.records()) {
        if (at.offset >= end) break;
        // Under that name there may be other tables, before and behind.
        if (formerly === undefined || tableName(table) !== label) continue;
        const isOwn = transaction !== null && transaction.id === event.transaction?.id;
        if (!isOwn || !isOfWhole) return true;
      }
    }
    if (open?.size === 0) this.#open.delete(label);
    return false;
  }
}
