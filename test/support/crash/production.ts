/** Production's clients and its connector: makes a random history (see history.ts). */
import type { ChangeEvent, Op } from '../../../src/change/record.ts';
import { RowShape, UNAVAILABLE, type RowImage } from '../../../src/change/value.ts';
import type { ShadowPlan } from '../../../src/schema/shadow-plan.ts';
import { boundary, changeEvent } from '../change-events.ts';
import type { Random } from '../random.ts';
import {
  History,
  type Effect,
  type HistorySource,
  type LogEntry,
  type ModelTable,
  type Row,
} from './history.ts';

export const MODEL_TABLES: readonly ModelTable[] = [
  {
    ...{ name: 'account', key: ['id'], columns: ['id', 'name', 'note', 'n'] },
    ...{ kept: ['name', 'note'], unique: null },
  },
  {
    ...{ name: 'seat', key: ['id'], columns: ['id', 'place', 'extra'] },
    ...{ kept: ['extra'], unique: 'place' },
  },
  {
    ...{ name: 'pair', key: ['a', 'b'], columns: ['a', 'b', 'v', 'w'] },
    ...{ kept: ['v', 'w'], unique: null },
  },
];

/** They, as every engine makes them. */
export const MODEL_DDL = [
  'CREATE TABLE account (id int PRIMARY KEY, name varchar(40), note text, n int)',
  'CREATE TABLE seat (id int PRIMARY KEY, place int NOT NULL UNIQUE, extra text)',
  'CREATE TABLE pair (a int, b varchar(40), v text, w text, PRIMARY KEY (a, b))',
];

/** A trunk of them; `schema` is where they are in production. */
export function modelPlan(schema: string): ShadowPlan {
  return {
    statements: MODEL_DDL.map((sql) => ({ sql, what: sql, optional: false })),
    notCarried: [],
    tables: MODEL_TABLES.map(({ name }) => ({ schema, name })),
  };
}

/** What a history may hold; see `possible`. */
export interface HistoryTraits {
  /** `provide.transaction.metadata`. */
  readonly marked: boolean;
  /** The connector is restarted and delivers transactions again. */
  readonly duplicates: boolean;
  readonly transactions: number;
}

/**
 * What a table's rows may undergo so that the log alone says what results. Without transactions a
 * key change's halves may be applied apart, and partitions are in no order among each other; and
 * what is delivered again then counts again, so that it must be harmless.
 */
interface Possible {
  readonly partitions: number;
  readonly truncates: boolean;
  readonly partial: boolean;
  readonly partialMoves: boolean;
  readonly used: boolean;
}

function possible(table: ModelTable, traits: HistoryTraits): Possible {
  const { marked, duplicates } = traits;
  const alone = table.name !== 'account';
  const partitions = table.name === 'account' ? 3 : 2;
  if (marked) {
    return { partitions, truncates: true, partial: true, partialMoves: true, used: true };
  }
  return {
    partitions: alone ? 1 : partitions,
    truncates: alone,
    partial: !duplicates,
    partialMoves: false,
    used: table.unique === null || !duplicates,
  };
}

interface Change {
  readonly table: ModelTable;
  readonly op: Op;
  readonly partition: number;
  readonly key: RowImage | null;
  readonly after: RowImage | null;
  readonly oldKey: RowImage | null;
  readonly newKey: RowImage | null;
  readonly effect: Effect;
}

const KEYS = 7;
/** Where a row waits while two others swap their keys. */
const SPARE = '99';

export function makeHistory(source: HistorySource, traits: HistoryTraits, random: Random): History {
  return new Production(source, traits, random).make();
}

class Production {
  readonly #source: HistorySource;
  readonly #traits: HistoryTraits;
  readonly #random: Random;
  readonly #history: History;
  readonly #rows = new Map<string, Map<string, Row>>();
  readonly #committed: (readonly Change[])[] = [];
  #changes: Change[] = [];
  #serial = 0;

  constructor(source: HistorySource, traits: HistoryTraits, random: Random) {
    this.#source = source;
    this.#traits = traits;
    this.#random = random;
    this.#history = new History(traits.marked);
    for (const { name } of MODEL_TABLES) this.#rows.set(name, new Map());
  }

  make(): History {
    const random = this.#random;
    const tables = MODEL_TABLES.filter((table) => possible(table, this.#traits).used);
    while (this.#committed.length < this.#traits.transactions) {
      this.#changes = [];
      for (let acts = random.integer(1, 6); acts > 0; acts -= 1) this.#act(random.pick(tables));
      if (this.#changes.length === 0) continue;
      this.#committed.push(this.#changes);
      const last = this.#committed.length - 1;
      this.#deliver(last, false);
      if (!this.#traits.duplicates || !random.chance(0.12)) continue;
      for (let n = Math.max(0, last - random.integer(0, 3)); n <= last; n += 1) {
        this.#deliver(n, true);
      }
    }
    return this.#history;
  }

  // ---- clients --------------------------------------------------------------------------------

  #act(table: ModelTable): void {
    const random = this.#random;
    const can = possible(table, this.#traits);
    const rows = [...this.#of(table).values()];
    const choice = random.next();
    if (rows.length === 0 || choice < 0.25) this.#insert(table);
    else if (choice < 0.5) this.#update(table, random.pick(rows), {});
    else if (choice < 0.62) this.#delete(table, random.pick(rows));
    else if (choice < 0.74) this.#move(table, random.pick(rows), this.#freshKey(table));
    else if (choice < 0.86) this.#swapKeys(table, random.pick(rows), random.pick(rows));
    else if (choice < 0.96) this.#swapUnique(table, random.pick(rows), random.pick(rows));
    else if (can.truncates) this.#truncate(table);
  }

  #of(table: ModelTable): Map<string, Row> {
    return this.#rows.get(table.name) ?? new Map<string, Row>();
  }

  #value(column: string): string {
    this.#serial += 1;
    return column === 'n' ? String(this.#serial) : `${column}${this.#serial}`;
  }

  #freshKey(table: ModelTable): Row {
    const first = String(this.#random.integer(1, KEYS));
    const second = this.#random.pick(['x', 'y']);
    return Object.fromEntries(table.key.map((column, i) => [column, i === 0 ? first : second]));
  }

  #insert(table: ModelTable): void {
    const key = this.#freshKey(table);
    if (this.#of(table).has(keyOf(table, key))) return;
    const row = { ...this.#values(table), ...key };
    if (table.unique !== null) {
      const taken = new Set([...this.#of(table).values()].map((r) => r[table.unique ?? '']));
      const free = Array.from({ length: 40 }, (_, i) => String(i + 1)).filter((v) => !taken.has(v));
      Object.assign(row, { [table.unique]: this.#random.pick(free) });
    }
    this.#put(table, row);
    this.#emit(
      table,
      { op: 'create', key: imageOf(table.key, row), after: whole(table, row) },
      row,
    );
  }

  #values(table: ModelTable): Row {
    const rest = table.columns.filter((column) => !table.key.includes(column));
    return Object.fromEntries(rest.map((column) => [column, this.#value(column)]));
  }

  /** Changes some columns, and those in `set`. */
  #update(table: ModelTable, old: Row, set: Row): void {
    const random = this.#random;
    const rest = table.columns.filter((c) => !table.key.includes(c) && c !== table.unique);
    const changed = rest.filter(() => random.chance(0.5)).map((c) => [c, this.#value(c)] as const);
    const row = { ...old, ...Object.fromEntries(changed), ...set };
    this.#put(table, row);
    const partial = possible(table, this.#traits).partial;
    const after = partial ? this.#without(table, old, row) : whole(table, row);
    this.#emit(table, { op: 'update', key: imageOf(table.key, row), after }, row);
  }

  #delete(table: ModelTable, row: Row): void {
    this.#of(table).delete(keyOf(table, row));
    this.#emit(table, { op: 'delete', key: imageOf(table.key, row) }, row);
  }

  #move(table: ModelTable, old: Row, key: Row): void {
    const row = { ...old, ...key };
    if (this.#of(table).has(keyOf(table, row))) return;
    this.#of(table).delete(keyOf(table, old));
    this.#put(table, row);
    const [oldKey, newKey] = [imageOf(table.key, old), imageOf(table.key, row)];
    const partial = possible(table, this.#traits).partialMoves;
    const after = partial ? this.#without(table, old, row) : whole(table, row);
    this.#emit(table, { op: 'delete', key: oldKey, newKey }, old);
    this.#emit(table, { op: 'create', key: newKey, oldKey, after }, row);
  }

  #swapKeys(table: ModelTable, one: Row, other: Row): void {
    if (one === other) return;
    const first = table.key[0] ?? '';
    this.#move(table, one, { [first]: SPARE });
    this.#move(table, other, imageRow(table, one));
    const waiting = [...this.#of(table).values()].find((row) => row[first] === SPARE);
    if (waiting !== undefined) this.#move(table, waiting, imageRow(table, other));
  }

  #swapUnique(table: ModelTable, one: Row, other: Row): void {
    const column = table.unique;
    if (column === null || one === other) return;
    const [a, b] = [one[column] ?? '', other[column] ?? ''];
    this.#update(table, one, { [column]: '-1' });
    this.#update(table, other, { [column]: a });
    const waiting = this.#of(table).get(keyOf(table, one));
    if (waiting !== undefined) this.#update(table, waiting, { [column]: b });
  }

  #truncate(table: ModelTable): void {
    this.#of(table).clear();
    const { partitions } = possible(table, this.#traits);
    this.#changes.push({
      ...{ table, op: 'truncate', partition: this.#random.integer(0, partitions - 1) },
      ...{ key: null, after: null, oldKey: null, newKey: null, effect: { kind: 'clear' } },
    });
  }

  #put(table: ModelTable, row: Row): void {
    this.#of(table).set(keyOf(table, row), row);
  }

  /** An image that leaves out some columns that kept their values. */
  #without(table: ModelTable, old: Row, row: Row): RowImage {
    const left = new Set(
      table.kept.filter((column) => old[column] === row[column] && this.#random.chance(0.6)),
    );
    const { shape, values } = whole(table, row);
    const known = shape.columns.map((c, i) => (left.has(c) ? UNAVAILABLE : (values[i] ?? null)));
    return { shape, values: known };
  }

  #emit(
    table: ModelTable,
    given: Partial<Change> & { readonly op: Op; readonly key: RowImage },
    row: Row,
  ): void {
    const key = keyOf(table, row);
    const { partitions } = possible(table, this.#traits);
    this.#changes.push({
      ...{ table, partition: spread(key) % partitions, after: null, oldKey: null, newKey: null },
      effect: given.op === 'delete' ? { kind: 'remove', key } : { kind: 'put', key, row },
      ...given,
    });
  }

  // ---- connector ------------------------------------------------------------------------------

  #deliver(transaction: number, again: boolean): void {
    const { marked } = this.#traits;
    const id = String(1000 + transaction);
    const counts = new Map<string, number>();
    if (marked) this.#boundary('begin', id, {});
    for (const [i, change] of (this.#committed[transaction] ?? []).entries()) {
      const collection = `${this.#source.schema}.${change.table.name}`;
      counts.set(collection, (counts.get(collection) ?? 0) + 1);
      const effect: Effect = marked && again ? { kind: 'none' } : change.effect;
      this.#append(change, {
        effect,
        transaction,
        place: transaction * 1_000 + i,
        ...{ txId: Number(id), tx: marked ? { id, totalOrder: i + 1 } : null },
      });
    }
    if (marked) this.#boundary('end', id, Object.fromEntries(counts));
  }

  #append(
    change: Change,
    how: {
      readonly effect: Effect;
      readonly transaction: number;
      readonly place: number;
      readonly txId: number;
      readonly tx: { readonly id: string; readonly totalOrder: number } | null;
    },
  ): void {
    const { table, op, partition, key, after, oldKey, newKey } = change;
    const topic = `p.${this.#source.schema}.${table.name}`;
    this.#history.append(topic, partition, (offset): LogEntry => {
      const event: ChangeEvent = {
        ...changeEvent({
          ...{ table: table.name, op, topic, partition, offset: Number(offset), key, after },
          ...{ oldKey, newKey, tx: how.tx },
        }),
        table: { schema: this.#source.schema, name: table.name },
        source: this.#source.at(how.place, how.txId),
      };
      const { effect, transaction } = how;
      return { record: event, table: table.name, effect, transaction };
    });
  }

  #boundary(kind: 'begin' | 'end', id: string, counts: Readonly<Record<string, number>>): void {
    this.#history.append('p.transaction', 0, (offset) => ({
      record: { ...boundary(kind, id, Number(offset), counts) },
      ...{ table: null, effect: { kind: 'none' }, transaction: null },
    }));
  }
}

function keyOf(table: ModelTable, row: Row): string {
  return table.key.map((column) => row[column]).join('/');
}

/** The key's columns of a row. */
function imageRow(table: ModelTable, row: Row): Row {
  return Object.fromEntries(table.key.map((column) => [column, row[column] ?? '']));
}

const shapes = new Map<string, RowShape>();

function imageOf(columns: readonly string[], row: Row): RowImage {
  const name = columns.join();
  const shape = shapes.get(name) ?? new RowShape(columns);
  shapes.set(name, shape);
  return { shape, values: columns.map((column) => row[column] ?? null) };
}

function whole(table: ModelTable, row: Row): RowImage {
  return imageOf(table.columns, row);
}

function spread(text: string): number {
  return [...text].reduce((hash, char) => (hash * 31 + (char.codePointAt(0) ?? 0)) % 9973, 7);
}
