/**
 * All partitions that are ours and are read here, each with how far. Kept over reconnects.
 *
 * Invariants: a partition once read is never dropped, and a position given at the start is never
 * forgotten: where the log no longer holds it, that is LOG_GAP.
 */
import { parsePartitionKey, partitionKey, type OffsetMap } from '../../change/position.ts';
import { UnderstudyError } from '../../errors/understudy-error.ts';
import { sleep } from '../../util/wait.ts';
import type { PartitionFilter } from '../change-source.ts';
import type { KafkaCluster, TopicPartition } from './cluster.ts';
import { logGap, Tail } from './tail.ts';
import { isHeartbeat } from './topics.ts';
import { topicsMissing } from './topics-missing.ts';

/** Looks at the cluster in a row that must miss a partition before it counts as gone. */
const ABSENCES = 4;
/** After a leader change an end offset may lag behind for a moment. */
const RANGE_TRIES = 3;
const RETRY_MS = 500;

interface Lost {
  readonly place: TopicPartition;
  readonly next: bigint;
  readonly detail: string;
}

function gapIn(lost: readonly Lost[]): UnderstudyError {
  const [first, ...others] = lost;
  if (first === undefined) throw new UnderstudyError('INTERNAL', 'a gap without a partition');
  const { topic, partition } = first.place;
  const topics = new Set(others.map(({ place }) => place.topic));
  topics.delete(topic);
  const more = topics.size === 0 ? '' : `; so it is with ${[...topics].join(', ')}`;
  return logGap(topic, partition, first.next, first.detail + more);
}

export class Tails {
  /** Keys of partitions that are not read on for now. */
  paused: ReadonlySet<string> = new Set();
  readonly #tails = new Map<string, Tail>();
  readonly #isOurs: (topic: string) => boolean;
  readonly #topicPrefix: string;
  readonly #isRead: PartitionFilter;
  /** Of topics of which something was read. */
  readonly #ids: Map<string, string>;
  /** See StreamOptions. */
  readonly #newOnesWhole: boolean;

  /** Positions of topics that are not ours (any more), and of partitions not read, are left out. */
  constructor(options: {
    readonly from: OffsetMap;
    readonly isOurs: (topic: string) => boolean;
    readonly topicPrefix: string;
    /** Of topics that are ours. Default: all partitions. */
    readonly only?: PartitionFilter | undefined;
    /** What the positions are of. Default: of the topics that are found. */
    readonly ids?: ReadonlyMap<string, string> | undefined;
    readonly newOnesWhole?: boolean | undefined;
  }) {
    this.#ids = new Map(options.ids);
    this.#isOurs = options.isOurs;
    this.#isRead = options.only ?? (() => true);
    this.#topicPrefix = options.topicPrefix;
    this.#newOnesWhole = options.newOnesWhole === true;
    for (const [key, offset] of options.from) {
      const { topic, partition } = parsePartitionKey(key);
      if (!this.#isOurs(topic) || !this.#isRead(topic, partition)) continue;
      this.#tails.set(key, new Tail(topic, partition, offset));
    }
  }

  get(topic: string, partition: number): Tail | undefined {
    return this.#tails.get(partitionKey(topic, partition));
  }

  ledBy(leader: number): readonly Tail[] {
    return [...this.#tails]
      .filter(([key, tail]) => tail.leader === leader && !this.paused.has(key))
      .map(([, tail]) => tail);
  }

  get leaders(): ReadonlySet<number> {
    const leaders = new Set<number>();
    for (const { leader } of this.#tails.values()) if (leader !== null) leaders.add(leader);
    return leaders;
  }

  /**
   * Looks which partitions there are, and who leads them. New ones start at their first record;
   * positions that were never looked up are checked against the log. Returns why new topics could
   * not be looked for, or null. Looks again at once for partitions that seem to be gone.
   */
  async look(cluster: KafkaCluster): Promise<string | null> {
    for (;;) {
      const { list: all, incomplete } = await cluster.partitions(this.#isOurs, this.#topics());
      if (all.length === 0 && this.#tails.size === 0) {
        throw topicsMissing(this.#topicPrefix, cluster);
      }
      const list = all.filter(({ topic, partition }) => this.#isRead(topic, partition));
      await this.#identify(cluster, list);
      const absent = this.#note(list);
      await this.#admit(cluster, list);
      if (!absent) return incomplete;
      await sleep(RETRY_MS);
    }
  }

  /**
   * LOG_GAP for a topic of which something was read and that is another one now: it was deleted and
   * made again. Brokers that hear of that late may tell of the former one for a moment.
   */
  async #identify(cluster: KafkaCluster, list: readonly TopicPartition[]): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      const other = this.#others(await cluster.topicIds(list));
      if (other === null) return;
      if (attempt === RANGE_TRIES) throw other.gap('the topic was deleted and made again');
      await sleep(RETRY_MS);
    }
  }

  /** Takes the ids of topics that are new here; a partition of a topic that is another one, or null. */
  #others(ids: ReadonlyMap<string, string>): Tail | null {
    const read = [...this.#tails.values()].filter(({ next }) => next > 0n);
    for (const [topic, id] of ids) {
      const known = this.#ids.get(topic);
      if (known === id) continue;
      const tail = read.find((one) => one.topic === topic);
      if (known !== undefined && tail !== undefined && !isHeartbeat(topic)) return tail;
      this.#ids.set(topic, id);
    }
    return null;
  }

  /**
   * LOG_GAP if the log does not hold the offset that a partition is to be read on from; all such
   * partitions are named. Of heartbeats nothing is missed: their partition is read on from where it
   * begins.
   */
  async checkRange(cluster: KafkaCluster, places: readonly TopicPartition[]): Promise<void> {
    for (let attempt = 1; places.length > 0; attempt += 1) {
      const starts = await cluster.starts(places);
      const ends = await cluster.ends(places);
      const beyond: TopicPartition[] = [];
      const lost: Lost[] = [];
      for (const place of places) {
        const { topic, partition } = place;
        const key = partitionKey(topic, partition);
        const next = this.#tails.get(key)?.next ?? 0n;
        const start = starts.get(key);
        const end = ends.get(key);
        if (start === undefined || end === undefined) continue;
        if (next < start && isHeartbeat(topic)) this.#jump(place, start);
        else if (next < start) lost.push({ place, next, detail: `the log begins at ${start}` });
        if (next > end && attempt === RANGE_TRIES) {
          const detail = `the log ends at ${end}: the topic was made again, or it is another one`;
          lost.push({ place, next, detail });
        }
        if (next > end) beyond.push(place);
      }
      if (lost.length > 0) throw gapIn(lost);
      places = beyond;
      if (places.length > 0) await sleep(RETRY_MS);
    }
  }

  #jump({ topic, partition, leader }: TopicPartition, start: bigint): void {
    const tail = new Tail(topic, partition, start);
    tail.checked = true;
    tail.leader = leader;
    this.#tails.set(partitionKey(topic, partition), tail);
  }

  #topics(): readonly string[] {
    return [...new Set([...this.#tails.values()].map(({ topic }) => topic))];
  }

  /** Updates leaders. True if a partition that we read is missing from the list. */
  #note(list: readonly TopicPartition[]): boolean {
    const leaders = new Map(
      list.map(({ topic, partition, leader }) => [partitionKey(topic, partition), leader]),
    );
    let absent = false;
    for (const [key, tail] of this.#tails) {
      const leader = leaders.get(key) ?? null;
      if (leader !== null) {
        tail.absences = 0;
        // A position not checked yet gets its leader by #admit.
        if (tail.checked) tail.leader = leader;
        continue;
      }
      tail.leader = null;
      tail.absences += 1;
      absent = true;
      if (tail.absences >= ABSENCES) throw tail.gap('the topic is gone');
    }
    return absent;
  }

  /** Takes in new partitions, and positions that were not yet looked up. */
  async #admit(cluster: KafkaCluster, list: readonly TopicPartition[]): Promise<void> {
    const fresh = list.filter(({ topic, partition }) => this.get(topic, partition) === undefined);
    const starts = await cluster.starts(fresh);
    for (const { topic, partition } of fresh) {
      const key = partitionKey(topic, partition);
      const start = starts.get(key);
      if (start === undefined) continue;
      this.#tails.set(key, new Tail(topic, partition, this.#newOnesWhole ? 0n : start));
    }
    const unchecked = list.filter(
      ({ topic, partition }) => this.get(topic, partition)?.checked === false,
    );
    await this.checkRange(cluster, unchecked);
    for (const { topic, partition, leader } of unchecked) {
      const tail = this.get(topic, partition);
      if (tail === undefined) continue;
      tail.checked = true;
      tail.leader = leader;
    }
  }
}
