import { partitionKey, type OffsetMap } from '../change/position.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import type { ChangeEvent, TransactionBoundary } from '../change/record.ts';
import { imageText } from './key-text.ts';
import type { Lane, Waiting } from './lane.ts';
import { OrderSet } from './order-set.ts';

const NOTHING: ReadonlyMap<string, bigint> = new Map();

/** What was taken of a transaction from the heads of its partitions. */
interface Popped {
  /** By partition, in its order; every delivery. */
  readonly events: ReadonlyMap<string, readonly ChangeEvent[]>;
  readonly count: number;
  readonly bytes: number;
  /** Next offsets of the partitions. */
  readonly offsets: OffsetMap;
}

/** A source transaction of which events are held. */
export class Gathering {
  /** Where its events are. */
  readonly lanes = new Set<Lane<ChangeEvent>>();
  readonly #id: string;
  /** When the last of them came, epoch milliseconds. */
  lastMs: number;
  /** Events added, second deliveries included. */
  size = 0;
  /** Of events that are here. */
  bytes = 0;
  readonly #orders = new OrderSet();
  readonly #counts = new Map<string, bigint>();
  /** Are there events of two deliveries? */
  #mixed = false;
  /** The last events that were taken while others may come. */
  readonly #taken = new Map<Lane<ChangeEvent>, ChangeEvent>();

  constructor(id: string, nowMs: number) {
    this.#id = id;
    this.lastMs = nowMs;
  }

  /** Notes an event. Of two with the same number one counts. `before`: what its partition held last. */
  add(
    event: ChangeEvent,
    totalOrder: bigint,
    lane: Lane<ChangeEvent>,
    nowMs: number,
    before: ChangeEvent | undefined,
  ): void {
    const previous = before ?? this.#taken.get(lane);
    if (this.lanes.has(lane)) this.#mixed ||= !this.#continues(previous, event, totalOrder);
    else this.lanes.add(lane);
    this.lastMs = nowMs;
    this.size += 1;
    this.bytes += event.bytes;
    if (!this.#orders.add(totalOrder)) {
      this.#mixed = true;
      return;
    }
    const collection = collectionOf(event);
    this.#counts.set(collection, (this.#counts.get(collection) ?? 0n) + 1n);
  }

  /** Can it be of the delivery that the event before it in its partition is of? */
  #continues(before: ChangeEvent | undefined, event: ChangeEvent, totalOrder: bigint): boolean {
    const mark = before?.transaction;
    if (before === undefined || mark?.id !== this.#id || mark.totalOrder >= totalOrder)
      return false;
    const way = comparePlaces(before, event);
    return way < 0 || (way === 0 && !isSame(before, event));
  }

  /** The events of it that its partitions still hold. */
  left(): Gathering {
    const left = new Gathering(this.#id, this.lastMs);
    for (const lane of this.lanes) {
      let before: ChangeEvent | undefined;
      for (const event of lane.records()) {
        const mark = event.transaction;
        if (mark?.id === this.#id) left.add(event, mark.totalOrder, lane, this.lastMs, before);
        before = event;
      }
    }
    return left;
  }

  /**
   * Takes its events from the heads of its partitions. Not `everyDelivery`: up to where a number
   * does not rise, for there a second delivery begins.
   */
  pop(everyDelivery: boolean): Popped {
    const events = new Map<string, readonly ChangeEvent[]>();
    const offsets = new Map<string, bigint>();
    let [count, bytes] = [0, 0];
    for (const lane of this.lanes) {
      const mine: ChangeEvent[] = [];
      for (const { record, next } of this.#run(lane, everyDelivery)) {
        mine.push(record);
        bytes += record.bytes;
        offsets.set(lane.key, next);
      }
      if (mine.length === 0) continue;
      events.set(lane.key, mine);
      count += mine.length;
      lane.shift(mine.length);
    }
    return { events, count, bytes, offsets };
  }

  /**
   * Takes of its events, of whatever delivery, about so many bytes, those with the lowest numbers
   * first. Others may come.
   */
  take(bytes: number): Popped {
    const events = new Map<string, ChangeEvent[]>();
    const offsets = new Map<string, bigint>();
    let [count, taken] = [0, 0];
    while (taken < bytes) {
      const lane = this.#lowest();
      const item = lane?.peek();
      if (lane === null || item === undefined) break;
      const mine = events.get(lane.key) ?? [];
      events.set(lane.key, mine);
      mine.push(item.record);
      offsets.set(lane.key, item.next);
      this.#taken.set(lane, item.record);
      count += 1;
      taken += item.record.bytes;
      lane.shift();
    }
    this.bytes -= taken;
    return { events, count, bytes: taken, offsets };
  }

  /** Does this partition hold events of it? */
  waitsIn(lane: Lane<ChangeEvent>): boolean {
    for (const { transaction } of lane.records()) if (transaction?.id === this.#id) return true;
    return false;
  }

  /** Behind what was taken, by partition. */
  ends(): OffsetMap {
    return new Map([...this.#taken].map(([lane, { at }]) => [lane.key, at.offset + 1n]));
  }

  #lowest(): Lane<ChangeEvent> | null {
    let lowest: Lane<ChangeEvent> | null = null;
    let order = 0n;
    for (const lane of this.lanes) {
      const mark = lane.peek()?.record.transaction;
      if (mark?.id !== this.#id || (lowest !== null && mark.totalOrder >= order)) continue;
      lowest = lane;
      order = mark.totalOrder;
    }
    return lowest;
  }

  *#run(lane: Lane<ChangeEvent>, everyDelivery: boolean): Iterable<Waiting<ChangeEvent>> {
    let last = -1n;
    for (let n = 0; ; n += 1) {
      const item = lane.peek(n);
      const mark = item?.record.transaction;
      if (item === undefined || mark?.id !== this.#id) return;
      if (!everyDelivery && mark.totalOrder <= last) return;
      last = mark.totalOrder;
      yield item;
    }
  }

  /**
   * Are there events of two deliveries here, and are those that would be popped of the first not
   * what its END counts? Then the connector was restarted inside it.
   */
  isTorn(
    counts: TransactionBoundary['counts'],
    isSubscribed: (collection: string) => boolean,
  ): boolean {
    if (!this.#mixed && !exceeds(this.#counts, counts)) return false;
    if (this.#taken.size > 0) return true;
    const seen = new Set<bigint | string>();
    const here = new Map<string, bigint>();
    for (const lane of this.lanes) {
      for (const { record } of this.#run(lane, false)) {
        const order = record.transaction?.totalOrder ?? -1n;
        const identity = identityOf(record);
        if (seen.has(order) || seen.has(identity)) return true;
        seen.add(order).add(identity);
        const collection = collectionOf(record);
        here.set(collection, (here.get(collection) ?? 0n) + 1n);
      }
    }
    return lackingOf(counts, here, isSubscribed).size > 0 || exceeds(here, counts);
  }

  /** How many fewer events are here than its END says, of the collections that we read. */
  lacking(
    counts: TransactionBoundary['counts'],
    isSubscribed: (collection: string) => boolean,
  ): ReadonlyMap<string, bigint> {
    return lackingOf(counts, this.#counts, isSubscribed);
  }
}

function lackingOf(
  counts: TransactionBoundary['counts'],
  present: ReadonlyMap<string, bigint>,
  isSubscribed: (collection: string) => boolean,
): ReadonlyMap<string, bigint> {
  let lacking = NOTHING;
  for (const [collection, count] of counts ?? []) {
    if (count === 0n || !isSubscribed(collection)) continue;
    const here = present.get(collection) ?? 0n;
    if (here < count) lacking = new Map(lacking).set(collection, count - here);
  }
  return lacking;
}

/** Are there more than the END says? A connector that was restarted counts from there on only. */
function exceeds(
  present: ReadonlyMap<string, bigint>,
  counts: TransactionBoundary['counts'],
): boolean {
  if (counts === null) return false;
  for (const [collection, here] of present) if (here > (counts.get(collection) ?? 0n)) return true;
  return false;
}

/** Debezium's spelling in data_collections: nothing is quoted. */
export function collectionOf({ table, formerly }: ChangeEvent): string {
  const sent = formerly ?? table;
  let name = collections.get(sent);
  if (name === undefined) {
    name = `${sent.schema}.${sent.name}`;
    collections.set(sent, name);
  }
  return name;
}

/** A table's events share its id. */
const collections = new WeakMap<TableId, string>();

/**
 * The events of a transaction in production's order. Within a transaction `total_order` says it all.
 * If its connector was restarted within the transaction, numbers start anew: then the place in
 * production's log counts, and where that is one for several, the order that they have here.
 */
export function inSourceOrder(
  events: readonly ChangeEvent[],
  restarted: boolean,
): readonly ChangeEvent[] {
  if (restarted) return inLogOrder(events);
  const numbered = events.toSorted(byTotalOrder);
  // Numbers of two deliveries need no event twice to be no order: a table that nobody reads had it.
  const rise = numbered.every((event, i) => i === 0 || !isBehind(numbered[i - 1], event));
  return rise ? numbered : inLogOrder(numbered);
}

function byTotalOrder(a: ChangeEvent, b: ChangeEvent): number {
  return compare(a.transaction?.totalOrder ?? 0n, b.transaction?.totalOrder ?? 0n);
}

/** Does the first one stand behind the second one in production's log? */
function isBehind(first: ChangeEvent | undefined, second: ChangeEvent): boolean {
  if (first === undefined) return false;
  return (comparePlaces(first, second) || ('lsn' in first.source ? byHalf(first, second) : 0)) > 0;
}

function inLogOrder(events: readonly ChangeEvent[]): readonly ChangeEvent[] {
  const isShared = events.some((event, i) => i > 0 && sharesPlace(events[i - 1], event));
  if (isShared) return events.toSorted(comparePlaces);
  return events.toSorted((a, b) => comparePlaces(a, b) || rowOf(a) - rowOf(b) || byHalf(a, b));
}

/** In a compressed transaction all events have one place, and their rows start anew with each. */
function sharesPlace(before: ChangeEvent | undefined, event: ChangeEvent): boolean {
  return (
    before !== undefined &&
    partitionKey(before.at.topic, before.at.partition) ===
      partitionKey(event.at.topic, event.at.partition) &&
    byTotalOrder(before, event) < 0 &&
    comparePlaces(before, event) === 0 &&
    // The halves of a key change share their row.
    (rowOf(before) > rowOf(event) ||
      (rowOf(before) === rowOf(event) && 'pos' in event.source && event.oldKey === null))
  );
}

/** Zero where the log's places do not tell. A transaction lies in one file of it. */
function comparePlaces(a: ChangeEvent, b: ChangeEvent): number {
  const placeA = 'lsn' in a.source ? a.source.lsn : a.source.pos;
  const placeB = 'lsn' in b.source ? b.source.lsn : b.source.pos;
  return placeA === null || placeB === null ? 0 : compare(placeA, placeB);
}

function rowOf({ source }: ChangeEvent): number {
  return 'row' in source ? source.row : 0;
}

/** The halves of a key change share a place: the delete goes first. */
function byHalf(a: ChangeEvent, b: ChangeEvent): number {
  return (a.newKey === null ? 1 : 0) - (b.newKey === null ? 1 : 0);
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function isSame(a: ChangeEvent, b: ChangeEvent): boolean {
  return imageText(a.key) === imageText(b.key) && identityOf(a) === identityOf(b);
}

/**
 * What two deliveries of one event have in common. Rows without key cannot be told apart. The
 * content counts: in a compressed transaction changes of one row have the same place.
 */
function identityOf(event: ChangeEvent): string {
  const { source } = event;
  const place =
    'lsn' in source ? `${source.lsn}` : `${source.gtid}/${source.file}/${source.pos}/${source.row}`;
  const row =
    event.key === null
      ? `#${event.transaction?.totalOrder}`
      : [event.key, event.before, event.after].map(imageText).join('|');
  return `${place}|${tableName(event.table)}|${event.op}|${row}`;
}
