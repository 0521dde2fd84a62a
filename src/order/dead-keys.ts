/**
 * Which changes are set aside because they cannot be read, because the shadow cannot take them, or
 * because they come after such a one: poison events and their queues.
 *
 * Invariants
 * - A key is dead or alive. While it is alive, its row is production's at the position; while it is
 *   dead, the row stands as before the first event of its queue, and every event since that
 *   touches the key is in the queue, in the order in which it would have been applied.
 * - An event touches its key and, if it changes that, the other one: if one of them is dead, both
 *   are from then on, with one queue (a letter). So a letter can be replayed by itself.
 * - All other changes of the same transaction are applied.
 * - A change that holds its table makes all rows of it one dead key, in which the others of the table
 *   are taken up.
 * - A truncate of the table ends its letters: nothing of before it is left to be applied. It stops
 *   where an event of theirs could not be read, which may belong behind it.
 *
 * Keys are told by their text. Of a table where different texts can be one key for the server, or
 * that has no key, all rows together are one key.
 */
import type { DeadCause } from '../change/dead-cause.ts';
import { partitionKey, type LogOffset } from '../change/position.ts';
import type { ChangeEvent } from '../change/record.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { SchemaCatalogue, TableSchema } from '../schema/table-schema.ts';
import type { LetterImages } from './change-batch.ts';
import type { DeadKey, DeadNotes } from './dead-notes.ts';
import { keyId } from './key-text.ts';
import { LettersDraft, type Letter, type TouchedKey } from './letters-draft.ts';
import { keyIn, whereOf } from './net-rows.ts';

/** The letters of a database, as far as deciding needs them. */
export interface DeadState {
  /** Tables (by `tableName()`) whose keys are equal only if their texts are. */
  readonly exact: ReadonlySet<string>;
  readonly letters: readonly {
    readonly id: string;
    readonly table: TableId;
    /** Of the queued events, each once. */
    readonly tables: readonly TableId[];
    /** Of those that could not be read, a place in every partition that has some. */
    readonly unread: readonly Omit<LogOffset, 'offset'>[];
  }[];
  readonly keys: readonly Omit<DeadKey, 'key'>[];
}

export interface Screened {
  /** What is applied. */
  readonly kept: readonly ChangeEvent[];
  /** What is not: it is in the queue of a letter, or was until a truncate. */
  readonly aside: ReadonlySet<ChangeEvent>;
  /** Null if nothing changes. */
  readonly notes: DeadNotes | null;
  /** What production's rows are by what goes into queues. */
  readonly images: readonly LetterImages[];
  /** How it stands once the batch is written. */
  readonly next: DeadKeys;
}

/** Name of the key that stands for all rows of a table. */
const ALL_ROWS = '*';
const NOBODY: ReadonlySet<ChangeEvent> = new Set();

/** Immutable: `screen` makes a new one. */
export class DeadKeys {
  readonly #catalogue: SchemaCatalogue;
  readonly #exact: ReadonlySet<string>;
  readonly #letters: ReadonlyMap<string, Letter>;
  readonly #slots: ReadonlyMap<string, string>;

  private constructor(
    tables: { readonly catalogue: SchemaCatalogue; readonly exact: ReadonlySet<string> },
    dead: {
      readonly letters: ReadonlyMap<string, Letter>;
      readonly slots: ReadonlyMap<string, string>;
    },
  ) {
    this.#catalogue = tables.catalogue;
    this.#exact = tables.exact;
    this.#letters = dead.letters;
    this.#slots = dead.slots;
  }

  static of(catalogue: SchemaCatalogue, { exact, letters, keys }: DeadState): DeadKeys {
    const known = letters.map(({ id, table, tables, unread }): [string, Letter] => [
      id,
      {
        table: tableName(table),
        tables: new Set(tables.map(tableName)),
        unread: new Set(unread.map(({ topic, partition }) => partitionKey(topic, partition))),
      },
    ]);
    const slots = keys.map(({ table, id, letter }): [string, string] => [slot(table, id), letter]);
    return new DeadKeys({ catalogue, exact }, { letters: new Map(known), slots: new Map(slots) });
  }

  /** How many keys are dead. */
  get size(): number {
    return this.#slots.size;
  }

  /** Names of the keys that a change touches. Not for truncates. */
  slots(change: ChangeEvent): readonly string[] {
    return this.#touched(change, this.#slots).keys.map((key) => key.slot);
  }

  /**
   * Takes changes in the order in which they are applied. From a change in `poison` on, or one that
   * could not be read, its keys are dead. Errors: TABLE_UNKNOWN, KEY_MISSING; APPLY_FAILED for a
   * truncate if it cannot be said whether what is set aside was before it.
   */
  screen(
    changes: readonly ChangeEvent[],
    poison: ReadonlyMap<ChangeEvent, DeadCause>,
    newId: () => string,
  ): Screened {
    const allRead = changes.every(({ op }) => op !== 'unread');
    if (this.#slots.size === 0 && poison.size === 0 && allRead) {
      return { kept: changes, aside: NOBODY, notes: null, images: [], next: this };
    }
    const draft = new LettersDraft(this.#letters, this.#slots);
    const kept: ChangeEvent[] = [];
    const aside = new Set<ChangeEvent>();
    for (const change of changes) {
      if (change.op === 'truncate') {
        draft.truncate(change, this.#rootOf(change));
        kept.push(change);
        continue;
      }
      const cause = change.op === 'unread' ? change.cause : (poison.get(change) ?? null);
      if (draft.take(change, this.#touched(change, draft.slots), cause, newId)) aside.add(change);
      else kept.push(change);
    }
    const notes = draft.notes();
    if (notes === null) return { kept, aside, notes, images: [], next: this };
    const next = new DeadKeys({ catalogue: this.#catalogue, exact: this.#exact }, draft);
    return { kept, aside, notes, images: draft.images(this.#catalogue), next };
  }

  /** A partition's rows are those of its root, as far as that has a key. */
  #rootOf(change: ChangeEvent): TableSchema {
    const named = this.#catalogue.get(tableName(change.table));
    if (named === undefined) {
      throw new UnderstudyError('TABLE_UNKNOWN', 'an event is of a table that the shadow lacks', {
        ...whereOf(change),
      });
    }
    const { partitionOf } = named;
    const root = partitionOf && this.#catalogue.get(tableName(partitionOf));
    return root !== undefined && root.key.length > 0 ? root : named;
  }

  #touched(
    change: ChangeEvent,
    dead: ReadonlyMap<string, string>,
  ): {
    readonly table: TableSchema;
    readonly keys: readonly TouchedKey[];
  } {
    const table = this.#rootOf(change);
    const all: TouchedKey = { slot: slot(table.id, ALL_ROWS), id: ALL_ROWS, key: null };
    const isOne = table.key.length === 0 || !this.#exact.has(tableName(table.id));
    if (isOne || dead.has(all.slot)) return { table, keys: [all] };
    if (change.op === 'unread' && change.holds === true) {
      const before = slot(table.id, '');
      const known = [...dead.keys()].filter((name) => name.startsWith(before));
      const keys = known.map((name) => ({ slot: name, id: name.slice(before.length), key: null }));
      return { table, keys: [all, ...keys] };
    }
    const { key, before, after, oldKey, newKey, op } = change;
    const images = [op === 'delete' ? [key, before] : [after, key], [oldKey], [newKey]];
    const keys = images
      .filter((found) => found.some((image) => image !== null))
      .map((found): TouchedKey => {
        const values = keyIn(table, change, found);
        const id = keyId(values);
        return { slot: slot(table.id, id), id, key: values };
      });
    return { table, keys };
  }
}

function slot(table: TableId, id: string): string {
  return `${tableName(table)} ${id}`;
}
