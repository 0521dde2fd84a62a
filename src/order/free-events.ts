/**
 * The events at the heads of the partitions that wait for no transaction: each goes as it comes, or by
 * its place in production's log (source-order.ts), or with the other half of its key change
 * (key-changes.ts).
 *
 * Who has only some of a database's partitions cannot tell what others have written, or have to. Then a
 * truncate, a lone half of a key change, and what would go for having waited too long do not go at
 * all: its partition stops before it, and `stuck` says where.
 */
import type { LogOffset, OffsetMap } from '../change/position.ts';
import type { ChangeEvent } from '../change/record.ts';
import type { FormerTopics } from './former-topics.ts';
import type { Gathering } from './gathering.ts';
import { isHalf, type Half, type KeyChanges } from './key-changes.ts';
import type { Lane, Waiting } from './lane.ts';
import type { Patience } from './patience.ts';
import type { SecondDeliveries } from './second-deliveries.ts';
import type { Passage, SourceOrder } from './source-order.ts';

/** Untransacted events handed out at once, at most. */
const FREE_EVENTS = 2_000;
/** How long the other half of a key change is waited for if all partitions are read, and if not. */
const HALF_MS = 5_000;
const FOREIGN_HALF_MS = 300;

/** Where one that has only some of the partitions cannot go on. */
export interface Stuck {
  readonly at: LogOffset;
  readonly why: 'truncate' | 'key-change' | 'order';
}

export interface FreeEventsParts {
  readonly lanes: ReadonlyMap<string, Lane<ChangeEvent>>;
  readonly isFree: (event: ChangeEvent) => boolean;
  readonly order: SourceOrder | null;
  /** Null: halves of key changes go as they come. */
  readonly pairs: KeyChanges | null;
  /** Null: nothing is known to come a second time. */
  readonly seconds: SecondDeliveries | null;
  readonly patience: Patience;
  /** Undefined: no table had another name. */
  readonly former?: FormerTopics | undefined;
  /** All partitions are read here. */
  readonly isAlone: boolean;
  readonly stallLimitMs: number;
  readonly now: () => number;
}

export interface Taken {
  readonly changes: readonly ChangeEvent[];
  readonly offsets: OffsetMap;
  readonly events: number;
  readonly bytes: number;
  /** False if something went because it had waited for too long. */
  readonly complete: boolean;
  /** It is a truncate alone, and rows of after it may have gone. */
  readonly isLate: boolean;
  /** See Release. */
  readonly places: ReadonlyMap<string, string>;
  readonly notes: readonly string[];
}

const NOTHING: Pick<Taken, 'places' | 'notes'> = { places: new Map(), notes: [] };

interface Going {
  readonly halves: readonly Half[];
  readonly complete: boolean;
}

export class FreeEvents {
  readonly #parts: FreeEventsParts;
  #stuck: Stuck | null = null;

  constructor(parts: FreeEventsParts) {
    this.#parts = parts;
  }

  /** The first place where it cannot go on; null if there is none. */
  get stuck(): Stuck | null {
    return this.#stuck;
  }

  /** One has come, whether it waits for no transaction or does. */
  came(lane: Lane<ChangeEvent>, item: Waiting<ChangeEvent>): void {
    const { order, pairs, seconds, isFree } = this.#parts;
    item.isAgain = seconds?.came(lane, item.record) ?? null;
    order?.came(lane.key, item, isFree(item.record));
    if (item.isAgain !== true) pairs?.came(lane, item);
  }

  /** Null if nothing can go. */
  take(): Taken | null {
    const { lanes, order, pairs, seconds, isFree } = this.#parts;
    const changes: ChangeEvent[] = [];
    const offsets = new Map<string, bigint>();
    let bytes = 0;
    let events = 0;
    let complete = true;
    let isLate = false;
    // Where there are truncates, or halves, one lane waits for another: again until none goes.
    for (let before = -1; before < events && events < FREE_EVENTS && !isLate;) {
      before = events;
      for (const lane of lanes.values()) {
        while (events < FREE_EVENTS && !isLate) {
          // Before it is asked whether it may go: the answer may use up a wait.
          const head = lane.peek()?.record;
          const late = head !== undefined && isFree(head) && order?.isLate(head) === true;
          if (late && events > 0) {
            return { changes, offsets, events, bytes, complete, isLate, ...this.#stored() };
          }
          const going = this.#going(lane);
          if (going === null) break;
          isLate = late;
          complete &&= going.complete;
          for (const { lane: from, item } of going.halves) {
            const isOver = item.isAgain === true || order?.verdict(item.record) === 'superseded';
            if (!isOver) changes.push(item.record);
            seconds?.went(from, item);
            events += 1;
            bytes += item.record.bytes;
            offsets.set(from.key, item.next);
            if (item.isAgain !== true) pairs?.went(item.record);
            from.shift();
          }
        }
      }
      if (order === null && pairs === null) break;
    }
    if (offsets.size === 0) return null;
    return { changes, offsets, events, bytes, complete, isLate, ...this.#stored() };
  }

  #stored(): Pick<Taken, 'places' | 'notes'> {
    return this.#parts.seconds?.stored() ?? NOTHING;
  }

  /** Does half of a key change before these ends wait for the other? It goes before long, by itself. */
  waitsBefore(ends: OffsetMap): boolean {
    const { lanes, pairs, isFree, former } = this.#parts;
    if (former?.isAsking === true) return true;
    if (pairs === null) return false;
    for (const lane of lanes.values()) {
      const head = lane.peek()?.record;
      if (head === undefined || !isFree(head) || !isHalf(head)) continue;
      if (head.at.offset < (ends.get(lane.key) ?? 0n)) return true;
    }
    return false;
  }

  /** Does one of these begin with what waits for another topic? */
  holdsBack(lanes: Iterable<Lane<ChangeEvent>>): boolean {
    return this.#heldBack(lanes).size > 0;
  }

  /** Has nothing come for too long of a topic of before that these wait for? Then it is waited for no more. */
  givesUpHeldBack({ lanes, lastMs }: Pick<Gathering, 'lanes' | 'lastMs'>): boolean {
    const { former, patience } = this.#parts;
    if (former === undefined || !this.holdsBack(lanes)) return false;
    if (!patience.isOver(Math.max(lastMs, former.movedMs))) return false;
    former.giveUp([...lanes].flatMap((lane) => lane.peek()?.record ?? []));
    return true;
  }

  /** These partitions, and those of which more would only wait for another topic. */
  withHeldBack(keys: ReadonlySet<string>): ReadonlySet<string> {
    return new Set([...keys, ...this.#heldBack(this.#parts.lanes.values())]);
  }

  #heldBack(lanes: Iterable<Lane<ChangeEvent>>): ReadonlySet<string> {
    const { former } = this.#parts;
    const held = new Set<string>();
    if (former === undefined) return held;
    for (const lane of lanes) {
      const head = lane.peek()?.record;
      if (head !== undefined && former.holdsBack(head, this.#parts.lanes, true)) held.add(lane.key);
    }
    return held;
  }

  /** What goes next from a lane, with what goes with it; null if it must wait. */
  #going(lane: Lane<ChangeEvent>): Going | null {
    const { pairs, isFree, isAlone, former, lanes, patience, now, stallLimitMs } = this.#parts;
    const item = lane.peek();
    if (item === undefined || !isFree(item.record)) return null;
    const { record } = item;
    if (item.isAgain === true) return this.#passingOver(lane, item);
    if (former?.holdsBack(record, lanes, false) === true) {
      const since = Math.max(item.sinceMs, former.movedMs);
      if (now() - since < stallLimitMs && !patience.isEnded) return null;
      patience.used();
      former.giveUp([record]);
      return { halves: [{ lane, item }], complete: false };
    }
    if (!isAlone && record.op === 'truncate') return this.#stop(record, 'truncate');
    // It has no other half, and its old row may be of somebody else's.
    if (!isAlone && record.op === 'update' && record.oldKey !== null) {
      return this.#stop(record, 'key-change');
    }
    if (pairs === null || !isHalf(record)) return this.#passing([{ lane, item }]);
    const partner = pairs.partnerOf(record);
    if (partner === undefined) return this.#lone(lane, item, this.#lacksNothing(record));
    const own = { lane, item };
    if (partner.lane === lane) {
      // Both keys are in this partition: one comes right after the other.
      return this.#passing(lane.peek(1) === partner.item ? [own, partner] : [own]);
    }
    if (partner.lane.peek() !== partner.item) {
      return this.#hasWaited(item) ? this.#lone(lane, item, false) : null;
    }
    return this.#passing(record.op === 'delete' ? [own, partner] : [partner, own]);
  }

  #passingOver(lane: Lane<ChangeEvent>, item: Waiting<ChangeEvent>): Going | null {
    const { order, seconds, patience } = this.#parts;
    const mayPass = seconds?.mayPass(item.record);
    if (mayPass === 'no') return null;
    const isUnread = mayPass === 'unless-unread' && order?.hasAllBefore(lane, item) === false;
    return isUnread && !patience.isEnded ? null : { halves: [{ lane, item }], complete: true };
  }

  /** They go if each may go before all that other partitions bring. */
  #passing(halves: readonly Half[]): Going | null {
    let complete = true;
    for (const { lane, item } of halves) {
      const passage = this.#passage(lane, item);
      if (passage === 'wait') return null;
      if (passage === 'stalled' && !this.#parts.isAlone) return this.#stop(item.record, 'order');
      complete &&= passage === 'pass';
    }
    return { halves, complete };
  }

  /**
   * Is it known that the other half of one whose turn it is will not come? The log lost it, and with it
   * a later change of its row may have all there is. A delete was sent before its create, and what was
   * sent before has come (source-order.ts); a create when its partition has come to what is later.
   */
  #lacksNothing(half: ChangeEvent): boolean {
    const { order } = this.#parts;
    return order !== null && (half.op === 'create' || order.isBehindAll(half));
  }

  /**
   * Its other half may have been deleted from the log, or be in somebody else's partition, or late:
   * unless it is known to be gone (`isGone`), what goes is not called complete.
   */
  #lone(lane: Lane<ChangeEvent>, item: Waiting<ChangeEvent>, isGone: boolean): Going | null {
    const { isAlone, now, patience } = this.#parts;
    const waited = now() - item.sinceMs;
    if (!isAlone) {
      return waited < FOREIGN_HALF_MS ? null : this.#stop(item.record, 'key-change');
    }
    if (waited < HALF_MS && !patience.isEnded) return null;
    const going = this.#passing([{ lane, item }]);
    if (going === null) return null;
    if (waited < HALF_MS) patience.used();
    return { ...going, complete: going.complete && isGone };
  }

  #hasWaited({ sinceMs }: Waiting<ChangeEvent>): boolean {
    const { now, stallLimitMs } = this.#parts;
    return now() - sinceMs >= stallLimitMs;
  }

  #passage(lane: Lane<ChangeEvent>, item: Waiting<ChangeEvent>): Passage {
    const { order, patience } = this.#parts;
    if (order === null) return 'pass';
    const passage = order.passage(lane, item, null, patience.isEnded);
    if (passage === 'stalled') patience.used();
    return passage;
  }

  #stop({ at }: ChangeEvent, why: Stuck['why']): null {
    this.#stuck ??= { at, why };
    return null;
  }
}
