import type { DeadCause } from '../change/dead-cause.ts';
import { partitionKey } from '../change/position.ts';
import type { ChangeEvent } from '../change/record.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import type { KnownValue } from '../change/value.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { SchemaCatalogue, TableSchema } from '../schema/table-schema.ts';
import type { LetterImages } from './change-batch.ts';
import { deadImages, type AsideChange } from './dead-images.ts';
import type { DeadEvent, DeadKey, DeadNotes, NewLetter } from './dead-notes.ts';
import { whereOf } from './net-rows.ts';

/** A key that a change touches: its name, and its values unless it stands for a whole table. */
export interface TouchedKey {
  readonly slot: string;
  readonly id: string;
  readonly key: readonly KnownValue[] | null;
}

export interface Letter {
  /** `tableName()` of the table whose rows are concerned. */
  readonly table: string;
  /** `tableName()` of the tables that its events name. */
  readonly tables: ReadonlySet<string>;
  /** Partitions of the log with events of its that could not be read. */
  readonly unread: ReadonlySet<string>;
}

const NOTHING_YET: Omit<Letter, 'table'> = { tables: new Set(), unread: new Set() };

/** The letters as a batch changes them. */
export class LettersDraft {
  readonly letters: Map<string, Letter>;
  /** From a key's slot to its letter. */
  readonly slots: Map<string, string>;
  readonly #known: ReadonlySet<string>;
  readonly #merged: { readonly from: string; readonly into: string }[] = [];
  readonly #cleared = new Set<string>();
  readonly #opened = new Map<string, NewLetter>();
  #keys: DeadKey[] = [];
  #asides: AsideChange[] = [];

  constructor(letters: ReadonlyMap<string, Letter>, slots: ReadonlyMap<string, string>) {
    this.letters = new Map(letters);
    this.slots = new Map(slots);
    this.#known = new Set(letters.keys());
  }

  /** Queues the change if one of its keys is dead, or if there is a cause. False if not. */
  take(
    change: ChangeEvent,
    touched: { readonly table: TableSchema; readonly keys: readonly TouchedKey[] },
    cause: DeadCause | null,
    newId: () => string,
  ): boolean {
    const found = new Set(touched.keys.flatMap(({ slot }) => this.slots.get(slot) ?? []));
    if (found.size === 0 && cause === null) return false;
    const [first, ...others] = [...found].sort(
      (a, b) => Number(this.#known.has(b)) - Number(this.#known.has(a)),
    );
    const { table } = touched;
    const letter = first ?? this.#open(change, table.id, cause, newId());
    for (const other of others) this.#merge(other, letter);
    for (const { slot, id, key } of touched.keys) {
      if (this.slots.has(slot)) continue;
      this.slots.set(slot, letter);
      this.#keys.push({ letter, table: table.id, id, key });
    }
    const known = this.#letter(letter);
    const tables = new Set(known.tables).add(tableName(change.table));
    const isUnread = change.op === 'unread';
    const unread = isUnread ? new Set(known.unread).add(partitionOf(change)) : known.unread;
    this.letters.set(letter, { ...known, tables, unread });
    this.#asides.push({ letter, change, table });
    return true;
  }

  /** Ends the letters of a truncated table. APPLY_FAILED if it cannot be told which those are. */
  truncate(change: ChangeEvent, root: TableSchema): void {
    const truncated = tableName(change.table);
    const whole = tableName(root.id) === truncated;
    for (const [id, { table, tables, unread }] of this.letters) {
      if (table !== tableName(root.id)) continue;
      if (!whole && !tables.has(truncated)) continue;
      if (!whole && tables.size > 1) {
        const what = 'a partition was truncated, and rows that are set aside may have been in it';
        throw unsure(what, change, id);
      }
      if ([...unread].some((partition) => partition !== partitionOf(change))) {
        const what = 'a table was truncated, before or after a change that could not be read';
        throw unsure(what, change, id);
      }
      this.#clear(id);
    }
  }

  /** Null if nothing changed. */
  notes(): DeadNotes | null {
    const notes = {
      merged: this.#merged,
      cleared: [...this.#cleared],
      letters: [...this.#opened.values()],
      keys: this.#keys,
      events: this.#asides.map(({ letter, change: { at, table, op } }): DeadEvent => ({
        ...{ letter, at, table, unread: op === 'unread' },
      })),
    };
    return Object.values(notes).every((list) => list.length === 0) ? null : notes;
  }

  /** What production's rows are by what is set aside. */
  images(catalogue: SchemaCatalogue): readonly LetterImages[] {
    return deadImages(this.#asides, catalogue);
  }

  #letter(id: string): Letter {
    return this.letters.get(id) ?? { table: '', ...NOTHING_YET };
  }

  #open(change: ChangeEvent, table: TableId, cause: DeadCause | null, id: string): string {
    const { code, message } = cause ?? { code: 'APPLY_FAILED', message: '' };
    const transactionId = change.transaction?.id ?? null;
    this.#opened.set(id, { id, table, code, message, at: change.at, transactionId });
    this.letters.set(id, { table: tableName(table), ...NOTHING_YET });
    return id;
  }

  #merge(from: string, into: string): void {
    const [one, other] = [this.#letter(into), this.#letter(from)];
    const tables = new Set([...one.tables, ...other.tables]);
    this.letters.set(into, { ...one, tables, unread: new Set([...one.unread, ...other.unread]) });
    this.letters.delete(from);
    for (const [slot, letter] of this.slots) if (letter === from) this.slots.set(slot, into);
    const moved = <T extends { readonly letter: string }>(entry: T): T =>
      entry.letter === from ? { ...entry, letter: into } : entry;
    this.#keys = this.#keys.map(moved);
    this.#asides = this.#asides.map(moved);
    if (!this.#opened.delete(from)) this.#merged.push({ from, into });
  }

  #clear(id: string): void {
    this.letters.delete(id);
    for (const [slot, letter] of this.slots) if (letter === id) this.slots.delete(slot);
    this.#keys = this.#keys.filter(({ letter }) => letter !== id);
    this.#asides = this.#asides.filter(({ letter }) => letter !== id);
    if (!this.#opened.delete(id)) this.#cleared.add(id);
  }
}

function partitionOf({ at }: ChangeEvent): string {
  return partitionKey(at.topic, at.partition);
}

function unsure(what: string, change: ChangeEvent, letter: string): UnderstudyError {
  const detail = `replay or discard dead letter ${letter} first`;
  return new UnderstudyError('APPLY_FAILED', what, { ...whereOf(change), detail });
}
