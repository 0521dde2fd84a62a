/**
 * Production's order between the partitions of a topic, for truncates that carry no transaction.
 *
 * A truncate has no key, so it lies in any partition, and rows of before and after it lie in the
 * others. It is put between them by the places of all in production's log: of the partitions of a
 * topic the event that is earliest there goes first. It can go only when nothing earlier can come:
 * every other partition has an event that is later, or was read to an end that was asked for after
 * the event had come (what is sent later is later).
 *
 * After a truncate, what the connector delivers again of before it (it went back at a restart) is
 * passed over: the truncate removed it. So is the same truncate. What was after it comes again too.
 *
 * The wait is bounded by the stall limit; what goes then is not called complete.
 */
import { parsePartitionKey, type OffsetMap, type SourcePosition } from '../change/position.ts';
import type { ChangeEvent } from '../change/record.ts';
import { tableName } from '../change/table-id.ts';
import type { Lane } from './lane.ts';

export interface SourceOrderOptions {
  /** Is `a` before `b` in production's log? False where that is not known. */
  readonly isBefore: (a: SourcePosition, b: SourcePosition) => boolean;
  /** The end of every partition that is ours, asked anew; 0 for one that holds nothing. */
  readonly ends: () => Promise<OffsetMap>;
  /** Where every partition is read on from. */
  readonly from: OffsetMap;
  /** Truncates are outside of transactions that rows are in: transactions wait for them too. */
  readonly transactionsToo: boolean;
}

/** How often the ends are asked for while something waits for them. */
const ASK_EVERY_MS = 30;

export type Passage = 'wait' | 'pass' | 'stalled';

export class SourceOrder {
  readonly #options: SourceOrderOptions;
  readonly #now: () => number;
  readonly #stallLimitMs: number;
  readonly #isSecond: (event: ChangeEvent) => boolean;
  readonly #onNews: () => void;
  readonly #topics = new Map<string, Map<string, Lane<ChangeEvent>>>();
  readonly #read: Map<string, bigint>;
  readonly #arrivals = new WeakMap<ChangeEvent, number>();
  #arrived = 0;
  /** The ends, and how many events had come when they were asked for. */
  #ends: { readonly asked: number; readonly byTopic: ReadonlyMap<string, OffsetMap> } | null = null;
  #asking = false;
  #askedMs = -Infinity;
  /** Somebody will be told to ask again. */
  #again = false;
  /** By partition: which event waits, and since when. */
  readonly #waiting = new Map<string, { readonly event: ChangeEvent; sinceMs: number }>();
  /** By table: the last truncate that went. */
  readonly #truncates = new Map<string, SourcePosition>();

  /**
   * `isSecond`: the event is of a transaction that went before. `onNews`: what waits may be let go
   * now, though no record came; ask again.
   */
  constructor(
    options: SourceOrderOptions,
    parts: {
      readonly now: () => number;
      readonly stallLimitMs: number;
      readonly isSecond: (event: ChangeEvent) => boolean;
      readonly onNews: () => void;
    },
  ) {
    const { now, stallLimitMs, isSecond, onNews } = parts;
    this.#options = options;
    this.#isSecond = isSecond;
    this.#onNews = onNews;
    this.#read = new Map(options.from);
    this.#now = now;
    this.#stallLimitMs = stallLimitMs;
  }

  get transactionsToo(): boolean {
    return this.#options.transactionsToo;
  }

  add(topic: string, lane: Lane<ChangeEvent>): void {
    const lanes = this.#topics.get(topic);
    if (lanes === undefined) this.#topics.set(topic, new Map([[lane.key, lane]]));
    else lanes.set(lane.key, lane);
  }

  came(event: ChangeEvent): void {
    this.#arrived += 1;
    this.#arrivals.set(event, this.#arrived);
  }

  /** Everything of this partition before `next` has come. */
  read(partition: string, next: bigint): void {
    this.#read.set(partition, next);
  }

  /** A caller that was held up itself must not count that as a stall. */
  excuse(absentMs: number): void {
    for (const waiting of this.#waiting.values()) waiting.sinceMs += absentMs;
  }

  /**
   * May an event at the head of its lane go before all that other partitions of its topic bring?
   * `together` are the lanes of its transaction, null if it has none. `forced`: without waiting any longer.
   */
  passage(
    lane: Lane<ChangeEvent>,
    event: ChangeEvent,
    together: ReadonlySet<Lane<ChangeEvent>> | null,
    forced: boolean,
  ): Passage {
    // Rows that a snapshot read have no place of their own in the log.
    if (event.snapshot !== 'no') return 'pass';
    const lanes = this.#topics.get(event.at.topic) ?? NO_LANES;
    let first = true;
    // This runs for every event, so nothing is made here.
    for (const other of lanes.values()) {
      if (other === lane || together?.has(other) === true) continue;
      const head = other.peek()?.record;
      // Between transactions their ends decide, and those of a second delivery come later.
      if (head === undefined || (together !== null && head.op !== 'truncate')) continue;
      if (!this.#options.isBefore(head.source, event.source) || this.#isSecond(head)) continue;
      first = false;
      break;
    }
    const { key } = lane;
    if (first && this.#nothingEarlier(event, lane, lanes, together)) {
      this.#waiting.delete(key);
      return 'pass';
    }
    const waiting = this.#waiting.get(key);
    if (waiting?.event !== event) this.#waiting.set(key, { event, sinceMs: this.#now() });
    const waited = waiting?.event === event ? this.#now() - waiting.sinceMs : 0;
    if (!forced && waited < this.#stallLimitMs) return 'wait';
    this.#waiting.delete(key);
    return 'stalled';
  }

  /** Does an event of before these ends wait for its place? It goes before long, by itself. */
  waitsBefore(ends: OffsetMap): boolean {
    for (const [key, { event }] of this.#waiting) {
      if (event.at.offset >= (ends.get(key) ?? 0n)) continue;
      // What a given-up transaction took along waits no more.
      if (this.#lane(event.at.topic, key)?.peek()?.record === event) return true;
    }
    return false;
  }

  /** Did a truncate that went already remove what this event says? Notes truncates. */
  isSuperseded(event: ChangeEvent): boolean {
    const table = tableName(event.table);
    const truncate = this.#truncates.get(table);
    if (event.op !== 'truncate') {
      return (
        truncate !== undefined &&
        event.snapshot === 'no' &&
        this.#options.isBefore(event.source, truncate)
      );
    }
    if (truncate !== undefined && !this.#options.isBefore(truncate, event.source)) return true;
    this.#truncates.set(table, event.source);
    return false;
  }

  /** Can no other partition of the topic still bring something earlier? */
  #nothingEarlier(
    event: ChangeEvent,
    own: Lane<ChangeEvent>,
    lanes: ReadonlyMap<string, Lane<ChangeEvent>>,
    together: ReadonlySet<Lane<ChangeEvent>> | null,
  ): boolean {
    const ends = this.#ends?.byTopic.get(event.at.topic);
    const fresh = this.#ends !== null && this.#ends.asked >= (this.#arrivals.get(event) ?? 0);
    const isRead = (key: string, end: bigint): boolean =>
      fresh && (this.#read.get(key) ?? 0n) >= end;
    let settled = ends !== undefined;
    for (const lane of lanes.values()) {
      // Lanes that go along are read as far as they must be: their events are here.
      if (lane === own || together?.has(lane) === true || lane.length > 0) continue;
      settled &&= isRead(lane.key, ends?.get(lane.key) ?? 0n);
    }
    if (settled && ends !== undefined) {
      for (const [key, end] of ends) {
        if (!lanes.has(key)) settled &&= isRead(key, end);
      }
    }
    if (!settled && !fresh) this.#ask();
    return settled;
  }

  #lane(topic: string, key: string): Lane<ChangeEvent> | undefined {
    return this.#topics.get(topic)?.get(key);
  }

  #ask(): void {
    if (this.#asking) return;
    const now = this.#now();
    // A clock that was set back must not hold it up.
    const restMs = Math.min(this.#askedMs + ASK_EVERY_MS - now, ASK_EVERY_MS);
    if (restMs > 0) {
      if (this.#again) return;
      this.#again = true;
      setTimeout(() => {
        this.#again = false;
        this.#onNews();
      }, restMs).unref();
      return;
    }
    this.#asking = true;
    this.#askedMs = now;
    const asked = this.#arrived;
    this.#options.ends().then(
      (ends) => {
        this.#asking = false;
        this.#ends = { asked, byTopic: byTopic(ends) };
        this.#onNews();
      },
      () => {
        // The log cannot be asked: it is asked again, until the stall limit.
        this.#asking = false;
        this.#onNews();
      },
    );
  }
}

const NO_LANES: ReadonlyMap<string, Lane<ChangeEvent>> = new Map();

function byTopic(ends: OffsetMap): ReadonlyMap<string, OffsetMap> {
  const topics = new Map<string, Map<string, bigint>>();
  for (const [partition, end] of ends) {
    const { topic } = parsePartitionKey(partition);
    const found = topics.get(topic) ?? new Map<string, bigint>();
    topics.set(topic, found.set(partition, end));
  }
  return topics;
}
