/**
 * The net effect of a stretch of changes on the rows of one table: what each key's row is
 * afterwards, and from which row of before the stretch its unsent columns come.
 */
import { errorOf } from '../change/dead-cause.ts';
import type { ChangeEvent } from '../change/record.ts';
import { tableName } from '../change/table-id.ts';
import {
  RowShape,
  UNAVAILABLE,
  UNSURE,
  type ColumnValue,
  type KnownValue,
  type RowImage,
} from '../change/value.ts';
import { UnderstudyError, type ErrorContext } from '../errors/understudy-error.ts';
import { writableColumns, type TableSchema } from '../schema/table-schema.ts';
import type { NetChange } from './change-batch.ts';
import { keyText } from './key-text.ts';

type Key = readonly KnownValue[];

/** A row as far as the stretch says. `image` null: nothing yet, it is as it was before. */
interface Row {
  readonly image: RowImage | null;
  readonly complete: boolean;
  readonly from: Key;
  /** See NetChange. Null if there are none, as nearly always. */
  readonly doubted: ReadonlySet<string> | null;
  /** See NetChange. */
  readonly fresh: boolean;
}

export class NetRows {
  readonly #table: TableSchema;
  readonly #writable: readonly string[];
  /**
   * Null: no row has this key. `left`: one had it and went. In the order in which keys were last
   * touched.
   */
  readonly #rows = new Map<string, { readonly key: Key; row: Row | null; left: boolean }>();
  /** Rows on their way from an old key to a new one. */
  readonly #moving = new Map<string, Row>();
  readonly #checked = new Set<RowShape>();
  readonly #unions = new Map<RowShape, Map<RowShape, RowShape>>();

  /** Of a table with a key. */
  constructor(table: TableSchema) {
    this.#table = table;
    this.#writable = writableColumns(table).map((column) => column.name);
  }

  /** Takes one more change, in production's order. Not for truncates. */
  add(event: ChangeEvent): void {
    switch (event.op) {
      case 'create':
      case 'read':
        this.#create(event);
        return;
      case 'update':
        this.#update(event);
        return;
      case 'delete':
        this.#delete(event);
        return;
      case 'truncate':
        throw new UnderstudyError('INTERNAL', 'a truncate is no change of a row', whereOf(event));
      case 'unread':
        throw errorOf(event.cause, whereOf(event));
    }
  }

  changes(): readonly NetChange[] {
    return Array.from(this.#rows.values(), ({ key, row, left }): NetChange => {
      const image = row?.image ?? null;
      if (row === null || image === null) return { kind: 'delete', key };
      const { complete, from, doubted, fresh } = row;
      // Nearly all rows, at a third of the cost.
      if (!left && doubted === null) {
        if (fresh) return { kind: 'upsert', key, image, complete, from, fresh };
        return { kind: 'upsert', key, image, complete, from };
      }
      return {
        ...{ kind: 'upsert', key, image, complete, from },
        ...(left && keyText(from) !== keyText(key) && { replaces: true as const }),
        ...(doubted !== null && { doubted }),
      };
    });
  }

  #create(event: ChangeEvent): void {
    const key = keyIn(this.#table, event, [event.after, event.key]);
    const image = this.#imageOf(event);
    if (event.oldKey === null) {
      const fresh = !this.#rows.has(keyText(key));
      this.#put(key, { image, complete: !hasGaps(image), from: key, doubted: null, fresh });
      return;
    }
    // The new half of a key change: the row that had the old key goes on under the new one.
    const oldKey = keyIn(this.#table, event, [event.oldKey]);
    const text = keyText(oldKey);
    const row = this.#moving.get(text) ?? this.#rowAt(oldKey) ?? untouched(oldKey);
    this.#moving.delete(text);
    this.#put(key, this.#merge(row, image));
  }

  #update(event: ChangeEvent): void {
    const key = keyIn(this.#table, event, [event.after, event.key]);
    const image = this.#imageOf(event);
    if (event.oldKey === null) {
      this.#put(key, this.#merge(this.#rowAt(key) ?? untouched(key), image));
      return;
    }
    // Both halves of a key change in one event.
    const oldKey = keyIn(this.#table, event, [event.oldKey]);
    const row = this.#rowAt(oldKey) ?? untouched(oldKey);
    this.#put(oldKey, null);
    this.#put(key, this.#merge(row, image));
  }

  #delete(event: ChangeEvent): void {
    const key = keyIn(this.#table, event, [event.key, event.before]);
    const text = keyText(key);
    // The second of two deletes (a tombstone that stands for one) has no row to take along.
    const again = this.#moving.has(text) && this.#rows.get(text)?.row === null;
    if (event.newKey !== null && !again) {
      this.#moving.set(text, this.#rowAt(key) ?? untouched(key));
    }
    this.#put(key, null);
  }

  /** The row at a key. Undefined if it was not touched, or was deleted. */
  #rowAt(key: Key): Row | undefined {
    return this.#rows.get(keyText(key))?.row ?? undefined;
  }

  #put(key: Key, row: Row | null): void {
    const text = keyText(key);
    const known = this.#rows.get(text);
    const left = row === null || known?.left === true;
    // To the end: of two keys that only the server holds equal, the one changed last counts.
    if (known !== undefined) this.#rows.delete(text);
    this.#rows.set(text, { key, row, left });
  }

  /**
   * The row with a newer image over it; what the image lacks stays. A NULL that may be no value
   * (UNSURE) is one over a NULL; over a value of the stretch it leaves the value in doubt, which
   * the database can judge: it alone knows how the value is stored.
   */
  #merge(row: Row, image: RowImage): Row {
    const older = row.image;
    const known = this.#writable.every((column) => image.shape.index.has(column));
    const { from, fresh } = row;
    if (known && !hasGaps(image)) return { image, complete: true, from, doubted: null, fresh };
    if (older === null) return { image, complete: false, from, doubted: null, fresh };
    const shape = this.#union(image.shape, older.shape);
    const doubted = new Set<string>();
    const values = shape.columns.map((column) => {
      const newer = valueIn(image, column);
      if (newer !== UNAVAILABLE && newer !== UNSURE) return newer;
      const value = valueIn(older, column);
      if (newer === UNSURE && value === UNAVAILABLE) return UNSURE;
      const isValue = value !== UNAVAILABLE && value !== UNSURE && value !== null;
      if (isValue && (newer === UNSURE || row.doubted?.has(column) === true)) doubted.add(column);
      return value;
    });
    const merged: RowImage = { shape, values };
    return {
      image: merged,
      complete: row.complete && !hasGaps(merged),
      from,
      doubted: doubted.size === 0 ? null : doubted,
      fresh,
    };
  }

  /** All columns of both, made once per pair. */
  #union(newer: RowShape, older: RowShape): RowShape {
    if (older.columns.every((column) => newer.index.has(column))) return newer;
    const unions = this.#unions.get(newer) ?? new Map<RowShape, RowShape>();
    this.#unions.set(newer, unions);
    let union = unions.get(older);
    if (union === undefined) {
      const more = older.columns.filter((column) => !newer.index.has(column));
      union = new RowShape([...newer.columns, ...more]);
      unions.set(older, union);
    }
    return union;
  }

  #imageOf(event: ChangeEvent): RowImage {
    const image = event.after;
    if (image === null) {
      throw new UnderstudyError('RECORD_CORRUPT', 'the event has no new row', whereOf(event));
    }
    if (this.#checked.has(image.shape)) return image;
    const columns = new Set(this.#table.columns.map((column) => column.name));
    const unknown = image.shape.columns.find((column) => !columns.has(column));
    if (unknown !== undefined) {
      throw new UnderstudyError('COLUMN_UNKNOWN', 'the event has a column that the shadow lacks', {
        ...whereOf(event),
        column: unknown,
      });
    }
    this.#checked.add(image.shape);
    return image;
  }
}

/** The key's columns in key order, from the first image that has each. Errors: KEY_MISSING. */
export function keyIn(
  table: TableSchema,
  event: ChangeEvent,
  images: readonly (RowImage | null)[],
): Key {
  return table.key.map((column) => {
    for (const image of images) {
      const i = image?.shape.index.get(column);
      const value = i === undefined ? undefined : image?.values[i];
      if (value !== undefined && typeof value !== 'symbol' && value !== null) return value;
    }
    throw new UnderstudyError('KEY_MISSING', 'the event does not have the whole key', {
      ...whereOf(event),
      column,
    });
  });
}

/** A row of before the stretch that nothing is known of. */
function untouched(key: Key): Row {
  return { image: null, complete: false, from: key, doubted: null, fresh: false };
}

function valueIn(image: RowImage, column: string): ColumnValue {
  const i = image.shape.index.get(column);
  return i === undefined ? UNAVAILABLE : (image.values[i] ?? null);
}

/** Some column was not sent, or may not have been. */
function hasGaps(image: RowImage): boolean {
  return image.values.some((value) => typeof value === 'symbol');
}

/** Where an event stands, for errors. */
export function whereOf(event: ChangeEvent): ErrorContext {
  return { ...event.at, table: tableName(event.table) };
}
