/**
 * Puts the partitions of the event log back into production's transactions.
 *
 * What it builds on: the connector emits transactions in commit order, so within each partition
 * their events stand in commit order, and so do the END records, with their counts, on the one
 * partition of the transaction topic. Between partitions nothing is ordered.
 *
 * Invariants
 * - Every partition is first in, first out: what was released is always a prefix of it, and the
 *   offsets of the releases so far are exactly that prefix. A position made of them is a cut
 *   through whole transactions, from which an assembler can start anew.
 * - A complete release holds all events of one transaction (of the tables that are read), each
 *   once, in production's order; releases of transactions come in commit order.
 * - The one transaction in turn that is too large to be held may go in parts, from a first to a last
 *   one (`stream`): the caller commits them together, and the last says whether they were whole.
 * - An event outside any transaction, or one that could not be read, is released when it comes to
 *   the head of its partition, or, where truncates are such, by its place in production's log
 *   (source-order.ts). A transaction that misses an unread one is not complete (unread-places.ts).
 * - Nothing waits for ever, nothing is left out in silence: what cannot be completed goes on after
 *   `stallLimitMs` in the order of its partition, as a release that says `complete: false`.
 *
 * Ways in which counts cannot be trusted: an END that never comes (DDL and XA on some connectors:
 * the next BEGIN shows it), a connector that was restarted inside a transaction (a second BEGIN;
 * its counts start anew, so a quiet time decides and the release is not called complete), and
 * transactions delivered again after a restart (known by id: they are passed over as they come, so
 * that a position may lie within such a delivery; of one that was given up before, what never went
 * goes, see given-up.ts; one that only has the id of another is none: reused-ids.ts).
 */
import { partitionKey, type OffsetMap } from '../change/position.ts';
import type { ChangeEvent, DecodedRecord } from '../change/record.ts';
import { unreachable } from '../util/assert.ts';
import { aheadOfBoth, beyondTurn } from './ahead.ts';
import { Boundaries, type BoundaryRun } from './boundaries.ts';
import type { FormerTopics } from './former-topics.ts';
import { FreeEvents, type Stuck } from './free-events.ts';
import { Gathering, inSourceOrder } from './gathering.ts';
import { judge, type JudgeParts } from './judging.ts';
import { KeyChanges } from './key-changes.ts';
import { Lane, type Waiting } from './lane.ts';
import { Outcomes } from './outcomes.ts';
import { PassedOverRecords } from './passed-over.ts';
import { Patience } from './patience.ts';
import { oldestOf, type Held, type Release } from './release.ts';
import type { SecondDeliveries } from './second-deliveries.ts';
import { UnreadPlaces } from './unread-places.ts';
import { SourceOrder, type Passage, type SourceOrderOptions } from './source-order.ts';

export interface AssemblerOptions {
  /** `key`: no transactions; every partition's order, nothing more. */
  readonly mode: 'transaction' | 'key';
  /** Are events of this data_collection (`schema.table`) read at all? */
  readonly isSubscribed: (collection: string) => boolean;
  /** Where truncates carry no transaction (source-order.ts). Default: every event goes as it comes. */
  readonly sourceOrder?: SourceOrderOptions | undefined;
  /** Of mode `key`: halves of key changes go together (key-changes.ts). Default: as they come. */
  readonly pairs?: boolean;
  /** Somebody else follows the other partitions; what that leads to is in free-events.ts. Default: no. */
  readonly isShared?: boolean;
  /** Of mode `key`: tells what comes a second time (second-deliveries.ts). Default: nothing does. */
  readonly seconds?: SecondDeliveries | undefined;
  /** Where tables had other names. Default: none had. */
  readonly former?: FormerTopics | undefined;
  /** What former assemblers noted: transactions that went whole or were given up, places; the oldest first. */
  readonly delivered?: Iterable<string>;
  /** How long a transaction may stay incomplete without a new event of it. Default 60 s. */
  readonly stallLimitMs?: number;
  /** Epoch milliseconds. */
  readonly now?: () => number;
}

const STALL_MS = 60_000;
const PART_BYTES = 4 * 1024 * 1024;

export class TransactionAssembler {
  readonly #options: AssemblerOptions;
  readonly #now: () => number;
  readonly #judging: JudgeParts;
  readonly #patience: Patience;
  readonly #lanes = new Map<string, Lane<ChangeEvent>>();
  readonly #boundaries = new Boundaries();
  readonly #gatherings = new Map<string, Gathering>();
  readonly #order: SourceOrder | null;
  readonly #free: FreeEvents;
  readonly #outcomes: Outcomes;
  readonly #unread = new UnreadPlaces();
  readonly #passedOver = new PassedOverRecords();
  /** Positions that moved where nothing waits. */
  #moves = new Map<string, bigint>();
  /** What is to be stored with them. */
  #notes: string[] = [];
  #events = 0;
  #bytes = 0;
  /** Its events go in parts, while its END is waited for. */
  #streamed: string | null = null;
  #onNews: () => void = () => undefined;

  constructor(options: AssemblerOptions) {
    this.#options = options;
    this.#outcomes = new Outcomes([...(options.delivered ?? [])]);
    this.#now = options.now ?? Date.now;
    const stallLimitMs = options.stallLimitMs ?? STALL_MS;
    this.#patience = new Patience(stallLimitMs, this.#now);
    this.#judging = {
      ...{ unread: this.#unread, patience: this.#patience, stallLimitMs },
      ...{ isSubscribed: (one, id) => this.#isMissed(one, id), now: this.#now },
    };
    options.former?.onNews(() => {
      this.#onNews();
    });
    this.#order = options.sourceOrder ? this.#sourceOrder(options.sourceOrder) : null;
    const byKey = options.mode === 'key';
    this.#free = new FreeEvents({
      ...{ lanes: this.#lanes, order: this.#order, patience: this.#patience },
      pairs: options.pairs === true && byKey ? new KeyChanges() : null,
      seconds: byKey ? (options.seconds ?? null) : null,
      ...{ isAlone: options.isShared !== true, now: this.#now, former: options.former },
      stallLimitMs,
      isFree: (event) => this.#transactionOf(event) === null,
    });
  }

  /** Where the partitions that are read here cannot be followed alone; null if nowhere. */
  get stuck(): Stuck | null {
    return this.#free.stuck;
  }

  /** Of a partition that somebody else follows: what tells of the order, and how far it was read. */
  watched(key: string, events: readonly ChangeEvent[], next: bigint): void {
    this.#order?.watched(key, events, next);
    this.#onNews();
  }

  #sourceOrder(options: SourceOrderOptions): SourceOrder {
    const isSecond = (event: ChangeEvent): boolean =>
      this.#outcomes.done.has(this.#transactionOf(event)?.id ?? '');
    return new SourceOrder(options, {
      now: this.#now,
      stallLimitMs: this.#options.stallLimitMs ?? STALL_MS,
      isSecond,
      onNews: () => {
        this.#onNews();
      },
    });
  }

  /** Who asks for releases is told when to ask again though nothing was pushed. */
  onNews(listener: () => void): void {
    this.#onNews = listener;
  }

  /** Does a change of before these ends wait for nothing but its place between the partitions? */
  waitsBefore(ends: OffsetMap): boolean {
    return this.#order?.waitsBefore(ends) === true || this.#free.waitsBefore(ends);
  }

  /** Takes the next record of a partition. Records of a partition come in offset order. */
  push(record: DecodedRecord): void {
    switch (record.kind) {
      case 'change':
        this.#pushChange(this.#options.mode === 'key' ? record : this.#outcomes.named(record));
        return;
      case 'begin':
      case 'end':
        if (this.#options.mode === 'key')
          this.advance(record.at.topic, record.at.partition, record.at.offset + 1n);
        else this.#boundaries.push(this.#outcomes.namedBoundary(record), this.#now());
        return;
      case 'tombstone':
      case 'heartbeat':
      case 'message':
      case 'schema-change':
      case 'ignored':
      case 'gap':
        if ('passedOver' in record) this.#passedOver.add(record.passedOver);
        this.advance(record.at.topic, record.at.partition, record.at.offset + 1n);
        return;
      default:
        unreachable(record);
    }
  }

  /** Everything of this partition before `next` has been pushed. */
  advance(topic: string, partition: number, next: bigint): void {
    const key = partitionKey(topic, partition);
    this.#order?.read(key, next);
    this.#options.former?.read(key, next);
    const lane = this.#boundaries.key === key ? this.#boundaries : this.#lanes.get(key);
    if (lane?.extend(next) === true) return;
    const moved = this.#moves.get(key);
    if (moved === undefined || moved < next) this.#moves.set(key, next);
  }

  /** The next release, or undefined if all there is must wait. Ask again after every push, and at `onNews`. */
  take(): Release | undefined {
    // A frozen applier must not make transactions look stalled.
    const absentMs = this.#patience.asked();
    if (absentMs > 0) this.#order?.excuse(absentMs);
    const release = this.#takeFree() ?? this.#takePart() ?? this.#takeTransactions();
    if (release !== undefined) return release;
    return this.#moves.size === 0 ? undefined : this.#release([], null, true, 0, new Map());
  }

  /** Has a transaction begun to go in parts, of which the last did not go? */
  get goesInParts(): boolean {
    return this.#streamed !== null;
  }

  held(): Held {
    const counts = { transactions: this.#gatherings.size, events: this.#events };
    return { ...counts, bytes: this.#bytes, ...oldestOf(this.#lanes.values()) };
  }

  /** Partitions of which nothing more is needed for what waits for its place, or its turn, to go. */
  ahead(which: 'of all' | 'of truncates'): ReadonlySet<string> {
    const known = { boundaries: this.#boundaries, done: this.#outcomes.done, ...this.#options };
    const turns = { lanes: this.#lanes, gatherings: this.#gatherings, ...known };
    const turn = which === 'of all' ? beyondTurn(turns) : null;
    return this.#free.withHeldBack(aheadOfBoth(this.#order?.ahead() ?? null, turn));
  }

  /** The changes that wait, partition by partition. */
  *heldChanges(): Iterable<ChangeEvent> {
    for (const lane of this.#lanes.values()) yield* lane.records();
  }

  /** Lets go of what `take` waits for now, as the stall limit would. For memory and shutdown. */
  degrade(): void {
    this.#patience.end();
  }

  /**
   * For memory: lets the transaction in turn go in parts, before all of it is here. False if none can,
   * one does, or it holds less than `least` bytes. Parts of one of `apart` are not said to belong
   * together: it is given up.
   */
  stream(apart: ReadonlySet<string>, least: number): boolean {
    if (this.#streamed !== null) return false;
    const id = this.#boundaries.nextId;
    const gathering = id === null ? undefined : this.#gatherings.get(id);
    if (id === null || gathering === undefined || gathering.bytes < least) return false;
    if (this.#outcomes.open.has(id) || this.#free.holdsBack(gathering.lanes)) return false;
    this.#openBefore(id, gathering);
    if (apart.has(id) || this.#outcomes.done.has(id)) this.#outcomes.open.add(id);
    else this.#streamed = id;
    return true;
  }

  #pushChange(event: ChangeEvent): void {
    const key = partitionKey(event.at.topic, event.at.partition);
    let lane = this.#lanes.get(key);
    if (lane === undefined) {
      lane = new Lane(key);
      this.#lanes.set(key, lane);
      this.#order?.add(lane);
    }
    const now = this.#now();
    const before = lane.peek(lane.length - 1)?.record;
    const item = lane.push(event, now);
    this.#options.former?.came(key, event);
    const mark = this.#transactionOf(event);
    this.#free.came(lane, item);
    this.#events += 1;
    this.#bytes += event.bytes;
    if (event.op === 'unread' && mark === null) this.#unread.add(event, key);
    if (mark === null) return;
    let gathering = this.#gatherings.get(mark.id);
    if (gathering === undefined) {
      gathering = new Gathering(mark.id, now);
      this.#gatherings.set(mark.id, gathering);
    }
    gathering.add(event, mark.totalOrder, lane, now, before);
  }

  #transactionOf(event: ChangeEvent): ChangeEvent['transaction'] {
    return this.#options.mode === 'key' ? null : event.transaction;
  }

  /** Events at the heads that wait for no transaction. */
  #takeFree(): Release | undefined {
    const taken = this.#free.take();
    if (taken === null) return undefined;
    const { changes, offsets, events, bytes, complete, isLate, places, notes } = taken;
    this.#events -= events;
    const release = this.#release(changes, null, complete, bytes, offsets, notes);
    return { ...release, places, ...(isLate && { isLate }) };
  }

  #passage(
    lane: Lane<ChangeEvent>,
    head: Waiting<ChangeEvent>,
    together: ReadonlySet<Lane<ChangeEvent>> | null,
  ): Passage {
    if (this.#order === null) return 'pass';
    const passage = this.#order.passage(lane, head, together, this.#patience.isEnded);
    if (passage === 'stalled') this.#patience.used();
    return passage;
  }

  /** Must it wait for a truncate outside of it that may be before it? */
  #waitsForOrder(gathering: Gathering): boolean {
    if (this.#free.holdsBack(gathering.lanes)) return true;
    if (this.#order?.transactionsToo !== true) return false;
    for (const lane of gathering.lanes) {
      const head = lane.peek();
      if (head === undefined) continue;
      const mark = this.#transactionOf(head.record);
      // What has no transaction and stands before it goes by itself.
      if (mark === null) return true;
      // Of one that goes in parts, this partition's went.
      if (this.#streamed !== null && mark.id !== this.#streamed) continue;
      if (this.#passage(lane, head, gathering.lanes) === 'wait') return true;
    }
    return false;
  }

  #takeTransactions(): Release | undefined {
    for (;;) {
      const open = this.#takeOpen();
      if (open !== undefined) return open;
      const run = this.#boundaries.next({
        ...{ done: this.#outcomes.done, open: this.#outcomes.open },
        isTorn: ({ id, counts }) =>
          this.#gatherings.get(id)?.isTorn(counts, (one) => this.#isMissed(one, id)) === true,
      });
      if (run === null) {
        const given = this.#endStalledParts();
        if (given !== undefined) return given;
        // Nothing says how the events that are here belong together.
        if (!this.#openHeads()) return undefined;
        continue;
      }
      // Where its events go as they come, its counts end no wait.
      if (run.end === null || this.#outcomes.goesAsItComes(run.id)) {
        if (run.end !== null) this.#unread.turnOf(run.id);
        this.#giveUp(run);
        if (run.id === this.#streamed) return this.#endParts(run.id, false);
        continue;
      }
      const gathering = this.#gatherings.get(run.id);
      const judgement = judge(run.end, run, gathering, this.#judging);
      if (judgement === 'wait') return undefined;
      if (judgement === 'incomplete') {
        this.#giveUp(run);
        if (run.id === this.#streamed) return this.#endParts(run.id, false);
        return this.#takeOpen() ?? this.#release([], run.id, false, 0, new Map());
      }
      if (gathering === undefined) {
        this.#passBoundaries(run.length);
        continue;
      }
      // What stands before it was committed earlier, and its END has been passed already.
      if (this.#openBefore(run.id, gathering)) continue;
      if (this.#free.givesUpHeldBack(gathering)) {
        this.#giveUp(run);
        if (run.id === this.#streamed) return this.#endParts(run.id, false);
        continue;
      }
      if (this.#waitsForOrder(gathering)) return undefined;
      this.#passBoundaries(run.length);
      this.#patience.restart();
      if (run.restarted) this.#outcomes.open.add(run.id);
      if (run.id === this.#streamed) return this.#endParts(run.id, !run.restarted);
      return this.#popAll(run.id, gathering, run.restarted, run.restarted);
    }
  }

  /** Is an event of this collection, in this transaction, one that comes? */
  #isMissed(collection: string, id: string): boolean {
    return this.#options.isSubscribed(collection) && !this.#passedOver.has(id, collection);
  }

  /** Its END does not come or does not help: lets its events go as they come. */
  #giveUp({ id, end, length }: BoundaryRun): void {
    this.#passBoundaries(length);
    this.#notes.push(...this.#outcomes.giveUp(id, end !== null));
  }

  /** Gives up transactions at the heads whose END does not come. True if any was. */
  #openHeads(): boolean {
    let opened = false;
    for (const lane of this.#lanes.values()) {
      const head = lane.peek();
      const mark = head === undefined ? null : this.#transactionOf(head.record);
      if (mark === null) continue;
      const gathering = this.#gatherings.get(mark.id);
      if (this.#patience.isOver(gathering?.lastMs ?? 0)) {
        this.#outcomes.open.add(mark.id);
        opened = true;
      }
    }
    return opened;
  }

  #openBefore(id: string, gathering: Gathering): boolean {
    let opened = false;
    for (const lane of gathering.lanes) {
      const head = lane.peek();
      const other = head === undefined ? null : this.#transactionOf(head.record);
      if (other !== null && other.id !== id && gathering.waitsIn(lane)) {
        this.#outcomes.open.add(other.id);
        opened = true;
      }
    }
    return opened;
  }

  /** Events at the heads of a transaction that goes as it comes. */
  #takeOpen(): Release | undefined {
    for (const lane of this.#lanes.values()) {
      const head = lane.peek();
      const mark = head === undefined ? null : this.#transactionOf(head.record);
      if (mark === null || !this.#outcomes.goesAsItComes(mark.id)) continue;
      const gathering = this.#gatherings.get(mark.id) ?? new Gathering(mark.id, this.#now());
      gathering.lanes.add(lane);
      return this.#popAll(mark.id, gathering, true);
    }
    return undefined;
  }

  /** What is here of the transaction that goes in parts. */
  #takePart(): Release | undefined {
    const id = this.#streamed;
    const gathering = id === null ? undefined : this.#gatherings.get(id);
    if (id === null || gathering === undefined || this.#waitsForOrder(gathering)) return undefined;
    const { events, count, bytes, offsets } = gathering.take(PART_BYTES);
    if (count === 0) return undefined;
    this.#events -= count;
    const { fresh, notes } = this.#outcomes.part(id, events);
    return {
      ...this.#release(this.#inOrder(fresh, false), id, false, bytes, offsets, notes),
      part: 'more',
    };
  }

  #endStalledParts(): Release | undefined {
    const id = this.#streamed;
    const lastMs = id === null ? undefined : this.#gatherings.get(id)?.lastMs;
    if (id === null || lastMs === undefined || !this.#patience.isOver(lastMs)) return undefined;
    this.#outcomes.open.add(id);
    return this.#endParts(id, false);
  }

  /** The last part: says whether all of them were the transaction. */
  #endParts(id: string, complete: boolean): Release {
    this.#streamed = null;
    const gathering = this.#gatherings.get(id);
    this.#gatherings.delete(id);
    const left = gathering?.left();
    if (left !== undefined && left.size > 0) this.#gatherings.set(id, left);
    const notes = this.#outcomes.endOfParts(id, complete);
    if (complete) this.#unread.passed(gathering?.ends() ?? new Map());
    return { ...this.#release([], id, complete, 0, new Map(), notes), part: 'last' };
  }

  #inOrder(events: readonly ChangeEvent[], restarted: boolean): readonly ChangeEvent[] {
    const sorted = inSourceOrder(events, restarted);
    if (this.#order?.transactionsToo !== true) return sorted;
    return sorted.filter((event) => this.#order?.verdict(event) !== 'superseded');
  }

  /** Takes its events from the heads; if it is whole, once: a second delivery has an END of its own. */
  #popAll(id: string, gathering: Gathering, unsure: boolean, restarted = false): Release {
    const { events, count, bytes, offsets } = gathering.pop(unsure);
    const repeated = this.#outcomes.done.has(id);
    const { fresh, notes } = unsure
      ? this.#outcomes.unsure(id, events, restarted)
      : this.#outcomes.whole(id, events);
    if (unsure) this.#unread.wentOpen(id, offsets);
    else this.#unread.passed(offsets);
    this.#gatherings.delete(id);
    const left = count < gathering.size ? gathering.left() : null;
    if (left !== null && left.size > 0) this.#gatherings.set(id, left);
    this.#events -= count;
    const ordered = this.#inOrder(fresh, unsure);
    return this.#release(ordered, id, repeated || !unsure, bytes, offsets, notes);
  }

  #passBoundaries(count: number): void {
    const { key } = this.#boundaries;
    const next = this.#boundaries.pass(count);
    if (key !== null && next !== null) this.#moves.set(key, next);
  }

  #release(
    changes: readonly ChangeEvent[],
    transactionId: string | null,
    complete: boolean,
    bytes: number,
    popped: OffsetMap,
    told: readonly string[] = [],
  ): Release {
    const offsets = new Map([...this.#moves, ...popped]);
    const notes = [...this.#notes, ...told];
    this.#moves = new Map();
    this.#notes = [];
    this.#bytes -= bytes;
    return { changes, offsets, transactionId, complete, bytes, notes };
  }
}
