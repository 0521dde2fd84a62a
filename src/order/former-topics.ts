/**
 * Changes that a table got under names that it had before lie in other topics, and between topics nothing
 * is ordered. What it got since a name was given up waits until all that it got under that name went.
 *
 * Invariant: what waits, waits for a partition in which something may come of before it in production. So
 * two partitions never wait for each other, and one that is read no further, because it waits itself, keeps
 * no other waiting for what is not read of it.
 *
 * How far a topic of before reaches is asked once something of after it is here: a connector that is behind
 * sends it all before that. Until then nothing has to wait for it.
 */
import { partitionKey, type OffsetMap, type SourcePosition } from '../change/position.ts';
import type { ChangeEvent } from '../change/record.ts';
import { tableName } from '../change/table-id.ts';
import type { Lane } from './lane.ts';

/** A topic that a table had under a name of before. */
export interface FormerTopic {
  readonly topic: string;
  /** Where in production's log the table had the name no more. */
  readonly until: SourcePosition;
}

export interface FormerTopicsParts {
  /** By table (`tableName()`). */
  readonly topics: ReadonlyMap<string, readonly FormerTopic[]>;
  /** Where the partitions of a topic end that hold anything. May be asked again if it fails. */
  readonly ends: (topic: string) => Promise<OffsetMap>;
  /** How far partitions were read by others before. */
  readonly from: OffsetMap;
  /** Does `place` stand before `until`? Null where it does not tell. */
  readonly isBefore: (place: SourcePosition, until: SourcePosition) => boolean | null;
  /** Milliseconds. */
  readonly now: () => number;
}

/** Of a topic: what may still come of before. */
interface Open extends FormerTopic {
  /** By partition; null until they are known. */
  ends: OffsetMap | null;
}

/** How long after a failure ends are asked for again. */
const ASK_AGAIN_MS = 500;

export class FormerTopics {
  readonly #parts: FormerTopicsParts;
  readonly #open: Map<string, readonly Open[]>;
  readonly #read: Map<string, bigint>;
  /** By partition, the place of the change that came last. */
  readonly #places = new Map<string, SourcePosition>();
  /** When something last came of partitions that are waited for. */
  #movedMs = -Infinity;
  #asked = 0;
  #failedMs = -Infinity;
  #onNews: () => void = () => undefined;

  constructor(parts: FormerTopicsParts) {
    this.#parts = parts;
    this.#read = new Map(parts.from);
    this.#open = new Map(
      [...parts.topics].map(([label, topics]) => [
        label,
        topics.map((one) => ({ ...one, ends: null })),
      ]),
    );
  }

  /** Who asks whether something must wait is told when to ask again. */
  onNews(listener: () => void): void {
    this.#onNews = listener;
  }

  /** Is it being asked how far a topic reaches? What waits for that goes before long, by itself. */
  get isAsking(): boolean {
    return this.#asked > 0;
  }

  /** Since when, at the latest, nothing has come that could end a wait. Milliseconds. */
  get movedMs(): number {
    return this.#movedMs;
  }

  /** A change came. */
  came(key: string, { source }: ChangeEvent): void {
    if (this.#open.size > 0) this.#places.set(key, source);
  }

  /** Everything of this partition before `next` has come. */
  read(key: string, next: bigint): void {
    if (this.#open.size === 0) return;
    this.#read.set(key, next);
    for (const topics of this.#open.values()) {
      if (topics.some(({ ends }) => ends?.has(key) === true)) this.#movedMs = this.#parts.now();
    }
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
    const isAfter = open.filter(({ until }) => this.#isBehind(event, until));
    if (isAfter.some((topic) => !this.#knows(topic))) return true;
    let isOpen = false;
    const holds = isAfter.some((topic) => {
      for (const [key, end] of topic.ends ?? []) {
        const isPast = this.#isPast(key, end, topic);
        const left = this.#under(topic, label, lanes.get(key));
        const first = left.next();
        isOpen ||= !isPast || first.done !== true;
        // Its own partition is in order.
        if (key === own) continue;
        if (!isPast) return true;
        for (let one = first; one.done !== true; one = left.next()) {
          if (!isOfWhole || !isOfOne(one.value, event)) return true;
        }
      }
      return false;
    });
    if (!holds && !isOpen && isAfter.length === open.length) this.#open.delete(label);
    return holds;
  }

  /** They have waited for too long: what their tables get goes as it comes from now on. */
  giveUp(events: Iterable<ChangeEvent>): void {
    for (const { table } of events) this.#open.delete(tableName(table));
  }

  /** Are its ends known? Else they are asked for. */
  #knows(topic: Open): boolean {
    if (topic.ends !== null) return true;
    const { now, ends } = this.#parts;
    if (this.#asked > 0 || now() - this.#failedMs < ASK_AGAIN_MS) return false;
    this.#asked += 1;
    ends(topic.topic).then(
      (found) => {
        topic.ends = found;
        this.#movedMs = now();
        this.#asked -= 1;
        this.#onNews();
      },
      () => {
        // Who reads the log tells of that.
        this.#failedMs = now();
        this.#asked -= 1;
        this.#onNews();
      },
    );
    return false;
  }

  /** Has it come to where the table had the name no more? */
  #isPast(key: string, end: bigint, { until }: FormerTopic): boolean {
    if ((this.#read.get(key) ?? 0n) >= end) return true;
    const place = this.#places.get(key);
    return place !== undefined && this.#parts.isBefore(place, until) === false;
  }

  #isBehind({ formerly, source }: ChangeEvent, until: SourcePosition): boolean {
    return formerly === undefined || this.#parts.isBefore(source, until) === false;
  }

  /** What waits there of the table under that name, or may be. */
  *#under(
    { until }: FormerTopic,
    label: string,
    lane: Lane<ChangeEvent> | undefined,
  ): Generator<ChangeEvent, undefined> {
    for (const event of lane?.records() ?? []) {
      const { formerly, source, table } = event;
      // Under that name there may be other tables, before and behind.
      if (formerly === undefined || tableName(table) !== label) continue;
      if (this.#parts.isBefore(source, until) !== false) yield event;
    }
    return undefined;
  }
}

function isOfOne({ transaction }: ChangeEvent, event: ChangeEvent): boolean {
  return transaction !== null && transaction.id === event.transaction?.id;
}
