import type { SourcePosition } from '../change/position.ts';
import type { ChangeEvent, TransactionBoundary } from '../change/record.ts';

/** A record that waits, in the order of its partition. */
export interface Waiting<T> {
  readonly record: T;
  /** The position behind it: also passes records without rows that follow it. */
  next: bigint;
  /** When it came, epoch milliseconds. */
  readonly sinceMs: number;
  /** How many changes had come with it, of all partitions (source-order.ts). */
  arrival: number;
  /** The latest place in production's log of its partition's changes up to it (source-order.ts). */
  bound: SourcePosition | null;
  /** It comes a second time, and is passed over; null where nothing tells (second-deliveries.ts). */
  isAgain: boolean | null;
}

/** The records of one partition that wait: first in, first out. */
export class Lane<T extends ChangeEvent | TransactionBoundary> {
  readonly key: string;
  #items: Waiting<T>[] = [];
  #head = 0;

  constructor(key: string) {
    this.key = key;
  }

  get length(): number {
    return this.#items.length - this.#head;
  }

  /** The nth record from the front. */
  peek(n = 0): Waiting<T> | undefined {
    return this.#items[this.#head + n];
  }

  /** The newest record that waits. */
  get last(): T | undefined {
    // What was taken may still be in the list.
    return this.length === 0 ? undefined : this.#items.at(-1)?.record;
  }

  push(record: T, sinceMs: number): Waiting<T> {
    const next = record.at.offset + 1n;
    const item: Waiting<T> = {
      ...{ record, next, sinceMs },
      ...{ arrival: 0, bound: null, isAgain: null },
    };
    this.#items.push(item);
    return item;
  }

  /** Everything before `next` was read: moves the last record's position. False if empty. */
  extend(next: bigint): boolean {
    const last = this.length === 0 ? undefined : this.#items.at(-1);
    if (last === undefined) return false;
    if (next > last.next) last.next = next;
    return true;
  }

  /** Takes so many from the front. */
  shift(count = 1): void {
    this.#head += count;
    if (this.#head < 1024 || this.#head * 2 < this.#items.length) return;
    this.#items = this.#items.slice(this.#head);
    this.#head = 0;
  }

  *records(): Iterable<T> {
    for (const { record } of this.items()) yield record;
  }

  *items(): Iterable<Waiting<T>> {
    for (let i = this.#head; i < this.#items.length; i += 1) {
      const item = this.#items[i];
      if (item !== undefined) yield item;
    }
  }
}
