/**
 * Production's order between the partitions of a topic, for truncates that carry no transaction, and
 * for what takes away rows that may lie in several partitions (barriers.ts).
 *
 * A truncate has no key, so it lies in any partition, and rows of before and after it lie in the
 * others. It is put between them by the places of all in production's log.
 *
 * Invariant: of a truncate, or another barrier, and a row of one topic, the one that production did
 * first goes first. Rows among themselves need no order but their partition's. Two rules keep it:
 * - Nothing goes before it is *settled*: no other partition can still bring something earlier. A
 *   partition cannot if the last change read of it is later, or if it was read to an end that was
 *   asked for after the event had come (what is sent later is later; an idle partition tells nothing
 *   else). Within a partition what is settled is a prefix, so that it is looked for by halves.
 * - A barrier goes when no other partition begins with something earlier; a row, when no barrier
 *   that was read and is earlier waits.
 *
 * A connector that goes back at its restart delivers again what was before: then the places of a
 * partition go back. So an event counts as late as the latest before it in its partition (`bound`)
 * where others are to have passed it, and a partition as far as its last change, not its latest.
 * After a truncate, what is delivered again of before it is passed over: the truncate removed it.
 * So is the same truncate. What was after it comes again too.
 *
 * An end tells what was sent, and no partition's later record is sent before another's earlier one; but a
 * producer with several batches of one partition in its queue sends those of others first (Kafka's
 * `max.in.flight`, one batch of a partition in each request). Of a truncate that may come so late the
 * log is asked (apply/late-truncate.ts).
 *
 * What could not be read tells no place: it goes at once, and a truncate goes behind it where it is
 * at the head of a partition (order/letters-draft.ts stops where that may be wrong).
 *
 * The wait is bounded by the stall limit, which begins anew while what is waited for is read on; what
 * goes then is not called complete.
 */
import {
  parsePartitionKey,
  partitionKey,
  type OffsetMap,
  type SourcePosition,
} from '../change/position.ts';
import type { ChangeEvent } from '../change/record.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import type { Lane, Waiting } from './lane.ts';
import { firstBarrier, readOn, type Place, type Topic } from './source-places.ts';

export interface SourceOrderOptions {
  /** Is `a` before `b` in production's log? False where that is not known. */
  readonly isBefore: (a: SourcePosition, b: SourcePosition) => boolean;
  /** The end of every partition that is ours, asked anew; 0 for one that holds nothing. */
  readonly ends: () => Promise<OffsetMap>;
  /** Where every partition is read on from. */
  readonly from: OffsetMap;
  /** Truncates are outside of transactions that rows are in: transactions wait for them too. */
  readonly transactionsToo: boolean;
  /** Changes went before. Default: no. */
  readonly goesOn?: boolean;
  /**
   * Is it to be kept in order with the rows of other partitions, as a truncate is? Of rows that may lie
   * in several partitions. Asked of what has no transaction. Default: none is.
   */
  readonly isBarrier?: (event: ChangeEvent) => boolean;
}

/** How often the ends are asked for while something waits for them. */
const ASK_EVERY_MS = 10;

export type Passage = 'wait' | 'pass' | 'stalled';

/** `superseded`: a truncate that went already removed what it says. */
export type Verdict = 'goes' | 'superseded';

/** An event at the head of its partition that waits. */
interface Wait {
  readonly event: ChangeEvent;
  sinceMs: number;
  /** How far what it waits for had been read when last asked. */
  progress: bigint;
}

export class SourceOrder {
  readonly #options: SourceOrderOptions;
  readonly #now: () => number;
  readonly #stallLimitMs: number;
  readonly #isSecond: (event: ChangeEvent) => boolean;
  readonly #onNews: () => void;
  readonly #topics = new Map<string, Topic>();
  readonly #places = new Map<string, Place>();
  #arrived = 0;
  /** How many events had come when the ends were asked for that are known. */
  #told = 0;
  #asking = false;
  #askedMs = -Infinity;
  /** Somebody will be told to ask again. */
  #again = false;
  /** By partition. */
  readonly #waiting = new Map<string, Wait>();
  /** The latest row that went, by its table. */
  readonly #gone = new Map<TableId, { source: SourcePosition; partition: number }>();
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
    this.#now = now;
    this.#stallLimitMs = stallLimitMs;
  }

  get transactionsToo(): boolean {
    return this.#options.transactionsToo;
  }

  add(lane: Lane<ChangeEvent>): void {
    this.#place(lane.key).lane = lane;
  }

  /** `isFree`: it has no transaction. */
  came(partition: string, item: Waiting<ChangeEvent>, isFree: boolean): void {
    const event = item.record;
    this.#arrived += 1;
    const place = this.#place(partition);
    readOn(place, event.at.offset + 1n);
    // Of whole transactions truncates are a part, and their order is known without this.
    if (!isFree && !this.transactionsToo) return;
    item.arrival = this.#arrived;
    // Rows that a snapshot read have no place of their own in the log, and of some it is not known.
    if (event.snapshot === 'no' && event.op !== 'unread') {
      const { bound } = place;
      place.last = event.source;
      if (bound === null || !this.#options.isBefore(event.source, bound)) {
        place.bound = event.source;
      }
      // Nothing waits for what is passed over.
      if (isFree && item.isAgain !== true && this.#isBarrier(event)) {
        place.barriers.push(item);
        place.topic.barring.add(place);
      }
    }
    item.bound = place.bound;
  }

  /** Everything of this partition before `next` has come. */
  read(partition: string, next: bigint): void {
    readOn(this.#place(partition), next);
  }

  /**
   * Of a partition that somebody else follows: `events` of it, in order, and everything before `next`,
   * were read. Its truncates must be among them, and its last change.
   */
  watched(partition: string, events: readonly ChangeEvent[], next: bigint): void {
    this.#place(partition).isWatched = true;
    for (const record of events) {
      const next = record.at.offset + 1n;
      const item = { record, next, sinceMs: 0, arrival: 0, bound: null, isAgain: null };
      this.came(partition, item, true);
    }
    this.read(partition, next);
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
    head: Waiting<ChangeEvent>,
    together: ReadonlySet<Lane<ChangeEvent>> | null,
    forced: boolean,
  ): Passage {
    const event = head.record;
    if (event.snapshot !== 'no' || event.op === 'unread') return 'pass';
    const { key } = lane;
    const place = this.#place(key);
    // This runs for every event, so nothing is made here.
    if (
      this.#isSettled(place, lane, head, together) &&
      this.#isFirst(place, event, together !== null)
    ) {
      if (this.#waiting.size > 0) this.#waiting.delete(key);
      if (this.#options.isBarrier !== undefined) noteGone(place, event.source, this.#options);
      return 'pass';
    }
    const waited = this.#waits(place, head);
    if (!forced && waited < this.#stallLimitMs) return 'wait';
    this.#waiting.delete(key);
    return 'stalled';
  }

  /** Has everything come, of all partitions, that was sent before it? Or was it waited for for too long. */
  hasAllBefore(lane: Lane<ChangeEvent>, head: Waiting<ChangeEvent>): boolean {
    const place = this.#place(lane.key);
    const isOver =
      this.#isSettled(place, lane, head, null) || this.#waits(place, head) >= this.#stallLimitMs;
    if (isOver) this.#waiting.delete(lane.key);
    return isOver;
  }

  /** Does an event of before these ends wait for its place? It goes before long, by itself. */
  waitsBefore(ends: OffsetMap): boolean {
    for (const [key, { event }] of this.#waiting) {
      if (event.at.offset >= (ends.get(key) ?? 0n)) continue;
      // What a given-up transaction took along waits no more.
      if (this.#places.get(key)?.lane?.peek()?.record === event) return true;
    }
    return false;
  }

  /**
   * The partitions of which nothing more is needed for what waits here to go: what they bring would
   * wait as well. Null if nothing waits for records that are still to come.
   */
  ahead(): ReadonlySet<string> | null {
    const waits: (readonly [Place, Waiting<ChangeEvent>])[] = [];
    const needed = new Set<Place>();
    for (const [key, { event }] of this.#waiting) {
      const place = this.#places.get(key);
      const head = place?.lane?.peek();
      if (place === undefined || head?.record !== event) continue;
      const behind = this.#behind(place, head);
      if (behind.length > 0) waits.push([place, head]);
      for (const other of behind) needed.add(other);
    }
    if (waits.length === 0) return null;
    const ahead = new Set<string>();
    for (const [place, { arrival, bound }] of waits) {
      // Whole transactions need of other topics what is before them.
      const places = this.transactionsToo ? this.#places : place.topic.places;
      for (const [key, other] of places) {
        if (needed.has(other)) continue;
        if (other === place || this.#hasPassed(other, arrival, bound)) ahead.add(key);
      }
    }
    return ahead;
  }

  /** How long the event has waited, since what it waits for was last read on. */
  #waits(place: Place, head: Waiting<ChangeEvent>): number {
    const { topic, partition } = head.record.at;
    const key = partitionKey(topic, partition);
    let progress = 0n;
    for (const { read } of this.#behind(place, head)) progress += read;
    const waiting = this.#waiting.get(key);
    if (waiting?.event === head.record && waiting.progress === progress) {
      return this.#now() - waiting.sinceMs;
    }
    this.#waiting.set(key, { event: head.record, sinceMs: this.#now(), progress });
    return 0;
  }

  /** The other partitions of its topic that may still bring something earlier. */
  #behind(place: Place, { arrival, bound }: Waiting<ChangeEvent>): readonly Place[] {
    if (!place.topic.isKnown || arrival <= place.settled) return [];
    return [...place.topic.places.values()].filter(
      (other) => other !== place && !this.#hasPassed(other, arrival, bound),
    );
  }

  /** Can the partition bring nothing any more that is before a change with this arrival and bound? */
  #hasPassed({ clearTo, last }: Place, arrival: number, bound: SourcePosition | null): boolean {
    if (clearTo >= arrival) return true;
    return last !== null && bound !== null && this.#options.isBefore(bound, last);
  }

  /** Has each partition of its topic come to a change that production did after this one? */
  isBehindAll({ at, source }: ChangeEvent): boolean {
    const { topic } = this.#place(partitionKey(at.topic, at.partition));
    if (!topic.isKnown) return false;
    return [...topic.places.values()].every(
      ({ last }) => last !== null && this.#options.isBefore(source, last),
    );
  }

  /** What becomes of an event whose turn it is. Notes what goes. */
  verdict(event: ChangeEvent): Verdict {
    if (event.op === 'unread') return 'goes';
    if (event.op === 'truncate') return this.#verdictOfTruncate(event);
    if (event.snapshot !== 'no') return 'goes';
    const { isBefore } = this.#options;
    if (this.#truncates.size > 0) {
      const truncate = this.#truncates.get(tableName(event.table));
      if (truncate !== undefined && isBefore(event.source, truncate)) return 'superseded';
    }
    // This runs for every row, so that it goes by the table's object, which its events share.
    const gone = this.#gone.get(event.table);
    if (gone === undefined) {
      this.#gone.set(event.table, { source: event.source, partition: event.at.partition });
    } else if (!isBefore(event.source, gone.source)) {
      gone.source = event.source;
      gone.partition = event.at.partition;
    }
    return 'goes';
  }

  #verdictOfTruncate({ table, source }: ChangeEvent): Verdict {
    const name = tableName(table);
    if (this.#isAgain(name, source)) return 'superseded';
    this.#truncates.set(name, source);
    return 'goes';
  }

  #isAgain(table: string, source: SourcePosition): boolean {
    const before = this.#truncates.get(table);
    return before !== undefined && !this.#options.isBefore(before, source);
  }

  /** May rows have gone, of other partitions, that production wrote after this truncate? */
  isLate({ op, table, source, at }: ChangeEvent): boolean {
    if (op !== 'truncate' || this.#isAgain(tableName(table), source)) return false;
    // Nothing tells here what went before: the last that was written need not be the latest.
    const { isBefore, goesOn = false } = this.#options;
    if (this.#place(partitionKey(at.topic, at.partition)).topic.places.size === 1) {
      // In one partition, only if it comes again: what was after it went before, and is passed over now.
      return goesOn && this.transactionsToo;
    }
    const isLater = (of: TableId, gone: { source: SourcePosition; partition: number }): boolean =>
      gone.partition !== at.partition &&
      tableName(of) === tableName(table) &&
      isBefore(source, gone.source);
    return goesOn || [...this.#gone].some(([of, gone]) => isLater(of, gone));
  }

  #isBarrier(event: ChangeEvent): boolean {
    return event.op === 'truncate' || this.#options.isBarrier?.(event) === true;
  }

  /** Is nothing that waits to go before it, as far as it was read? */
  #isFirst(place: Place, event: ChangeEvent, isTransaction: boolean): boolean {
    const { places, barring } = place.topic;
    const { isBefore } = this.#options;
    if (event.op === 'truncate' || (!isTransaction && this.#isBarrier(event))) {
      for (const other of places.values()) {
        const first = other === place ? undefined : this.#firstLeft(other);
        if (first?.op === 'unread') return false;
        if (first !== undefined && isBefore(first.source, event.source)) return false;
      }
      return true;
    }
    for (const other of barring) {
      const barrier = firstBarrier(other);
      if (barrier === undefined) {
        barring.delete(other);
        continue;
      }
      // Between transactions their ends decide: what waits behind a later one comes later.
      if (isTransaction && other.lane?.peek()?.record.transaction !== null) continue;
      if (other === place || barrier.bound === null) continue;
      if (isBefore(barrier.bound, event.source)) return false;
    }
    return true;
  }

  /** Its first that waits and did not go: what is delivered a second time has gone, and may hide others. */
  #firstLeft({ lane, gone }: Place): ChangeEvent | undefined {
    for (const { record, isAgain } of lane?.items() ?? []) {
      if (isAgain === true || this.#isSecond(record)) continue;
      if (isAgain === false || gone === null || record.op === 'unread') return record;
      if (this.#options.isBefore(gone, record.source)) return record;
    }
    return undefined;
  }

  /** Can no other partition of the topic bring something earlier? Asks for the ends if it may. */
  #isSettled(
    place: Place,
    lane: Lane<ChangeEvent>,
    head: Waiting<ChangeEvent>,
    together: ReadonlySet<Lane<ChangeEvent>> | null,
  ): boolean {
    if (head.arrival <= place.settled) return true;
    if (this.#othersPassed(place, head, null)) {
      // The last one that is settled, by halves: the head is.
      let low = 0;
      for (let high = lane.length; high - low > 1;) {
        const middle = Math.floor((low + high) / 2);
        const item = lane.peek(middle);
        if (item !== undefined && this.#othersPassed(place, item, null)) low = middle;
        else high = middle;
      }
      place.settled = lane.peek(low)?.arrival ?? 0;
      return true;
    }
    if (together !== null && this.#othersPassed(place, head, together)) return true;
    if (this.#told < head.arrival) this.#ask();
    return false;
  }

  /** `together`: lanes that hold events of its transaction have brought all of before it. */
  #othersPassed(
    place: Place,
    { arrival, bound }: Waiting<ChangeEvent>,
    together: ReadonlySet<Lane<ChangeEvent>> | null,
  ): boolean {
    const { topic } = place;
    if (!topic.isKnown) return false;
    for (const other of topic.places.values()) {
      if (other === place || this.#hasPassed(other, arrival, bound)) continue;
      if (other.lane !== null && together?.has(other.lane) === true) continue;
      return false;
    }
    return true;
  }

  #place(key: string): Place {
    const found = this.#places.get(key);
    if (found !== undefined) return found;
    const { topic: name } = parsePartitionKey(key);
    let topic = this.#topics.get(name);
    if (topic === undefined) {
      topic = { places: new Map(), barring: new Set(), isKnown: false };
      this.#topics.set(name, topic);
    }
    const place: Place = {
      ...{ topic, lane: null, isWatched: false },
      ...{ read: this.#options.from.get(key) ?? 0n, last: null, bound: null },
      ...{ clearTo: 0, goal: null, laterGoal: null, settled: 0, barriers: [], gone: null },
    };
    topic.places.set(key, place);
    this.#places.set(key, place);
    return place;
  }

  #tell(asked: number, ends: OffsetMap): void {
    this.#told = asked;
    for (const [key, end] of ends) {
      const place = this.#place(key);
      place.topic.isKnown = true;
      const goal = { asked, end };
      if (place.goal === null) place.goal = goal;
      else place.laterGoal = goal;
      readOn(place, place.read);
    }
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
        this.#tell(asked, ends);
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

/** Where places tell what went, it is the latest that does. */
function noteGone(
  place: Place,
  source: SourcePosition,
  { isBefore }: Pick<SourceOrderOptions, 'isBefore'>,
): void {
  if (place.gone === null || isBefore(place.gone, source)) place.gone = source;
}
