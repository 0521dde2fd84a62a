/**
 * A random history of production and the log it leaves: tables of several partitions, with or
 * without transaction metadata. It knows what a shadow at any position must hold.
 */
import assert from 'node:assert/strict';
import { OffsetSet, type OffsetRange } from '../../../src/change/offset-ranges.ts';
import { partitionKey, type OffsetMap, type SourcePosition } from '../../../src/change/position.ts';
import type { ChangeEvent, DecodedRecord } from '../../../src/change/record.ts';

export type Row = Readonly<Record<string, string>>;

/** Rows by table, in no particular order. */
export type ModelState = ReadonlyMap<string, readonly Row[]>;

/** A table of the scenario. All of its columns are text or whole numbers, none is NULL. */
export interface ModelTable {
  readonly name: string;
  readonly key: readonly string[];
  /** All columns, the key's first. */
  readonly columns: readonly string[];
  /** Columns that an event may leave out when they did not change. */
  readonly kept: readonly string[];
  /** Holds a whole number that no two rows share. */
  readonly unique: string | null;
}

/** What an event does to the rows of its table, whatever it leaves out. */
export type Effect =
  | { readonly kind: 'put'; readonly key: string; readonly row: Row }
  | { readonly kind: 'remove'; readonly key: string }
  | { readonly kind: 'clear' }
  /** A second delivery of what was delivered whole before. */
  | { readonly kind: 'none' };

export interface LogEntry {
  readonly record: DecodedRecord;
  readonly table: string | null;
  readonly effect: Effect;
  /** Which of production's transactions, from 0; null if it is no change. */
  readonly transaction: number | null;
}

/** How an engine's connector writes. */
export interface HistorySource {
  /** PostgreSQL's schema, or MySQL's database, in production. */
  readonly schema: string;
  /** The place in production's log of the `n`-th change, in transaction `txId`. */
  at(n: number, txId: number): SourcePosition;
}

/** The log, and what it means. */
export class History {
  readonly #partitions = new Map<string, LogEntry[]>();
  /** In the order in which the connector wrote. */
  readonly #written: LogEntry[] = [];
  readonly marked: boolean;

  constructor(marked: boolean) {
    this.marked = marked;
  }

  append(topic: string, partition: number, make: (offset: bigint) => LogEntry): void {
    const key = partitionKey(topic, partition);
    const lane = this.#partitions.get(key) ?? [];
    this.#partitions.set(key, lane);
    const entry = make(BigInt(lane.length));
    lane.push(entry);
    this.#written.push(entry);
  }

  get partitions(): ReadonlyMap<string, readonly LogEntry[]> {
    return this.#partitions;
  }

  /** Changes without a transaction: each is to be counted once. Truncates may always lack one. */
  get unmarked(): number {
    const changes = this.#written.map(({ record }) => record).filter(isChange);
    return changes.filter(({ op, transaction }) => op !== 'truncate' && transaction === null)
      .length;
  }

  get written(): readonly LogEntry[] {
    return this.#written;
  }

  ends(): OffsetMap {
    return new Map([...this.#partitions].map(([key, lane]) => [key, BigInt(lane.length)]));
  }

  /**
   * What the tables hold when exactly the records before `offsets` are applied, and those in
   * `ahead`. Fails if that is no cut through whole transactions, in production's order as far as
   * the offsets lead, although they are marked.
   */
  stateAt(offsets: OffsetMap, ahead: readonly OffsetRange[]): ModelState {
    const beyond = new OffsetSet(ahead);
    const tables = new Map<string, Map<string, Row>>();
    const parts = new Map<number, Part>();
    for (const { record, table, effect, transaction } of this.#written) {
      const { at } = record;
      const before = at.offset < (offsets.get(partitionKey(at.topic, at.partition)) ?? 0n);
      assert(!before || !beyond.has(at), 'what lies before the position is stored as ahead of it');
      const inside = before || beyond.has(at);
      if (this.marked && transaction !== null && effect.kind !== 'none') {
        const part = parts.get(transaction) ?? { inside: 0, outside: 0, ahead: 0 };
        part[inside ? 'inside' : 'outside'] += 1;
        if (inside && !before) part.ahead += 1;
        parts.set(transaction, part);
      }
      if (inside && table !== null) apply(tables, table, effect);
    }
    assertWhole(parts);
    return new Map([...tables].map(([name, rows]) => [name, [...rows.values()]]));
  }
}

function isChange(record: DecodedRecord): record is ChangeEvent {
  return record.kind === 'change';
}

function apply(tables: Map<string, Map<string, Row>>, name: string, effect: Effect): void {
  const rows = tables.get(name) ?? new Map<string, Row>();
  tables.set(name, rows);
  switch (effect.kind) {
    case 'put':
      rows.set(effect.key, effect.row);
      return;
    case 'remove':
      rows.delete(effect.key);
      return;
    case 'clear':
      rows.clear();
      return;
    case 'none':
      return;
  }
}

/** How many changes of a transaction are applied, how many are not, and of those how many ahead. */
interface Part {
  inside: number;
  outside: number;
  ahead: number;
}

function assertWhole(parts: ReadonlyMap<number, Part>): void {
  let open: number | null = null;
  for (const [transaction, part] of [...parts].toSorted(([a], [b]) => a - b)) {
    const { inside, outside, ahead } = part;
    assert(inside === 0 || outside === 0, `the position cuts transaction ${transaction} in two`);
    const holds = inside > ahead && open !== null;
    assert(!holds, `the position holds ${transaction} but not ${open}`);
    if (outside > 0) open ??= transaction;
  }
}
