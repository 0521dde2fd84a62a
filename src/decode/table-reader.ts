/**
 * Reads keys and rows of one table of the catalogue. Which columns identify a row the catalogue
 * says, not the message: its key may have other columns (message.key.columns), more of them (what
 * a routing transform adds), or be absent.
 */
import type { ColumnValue, KnownValue, RowImage } from '../change/value.ts';
import { imageValue, RowShape, UNAVAILABLE, UNSURE } from '../change/value.ts';
import { columnNow } from '../schema/former-columns.ts';
import type { TableSchema } from '../schema/table-schema.ts';
import type { ConnectField, ConnectSchema } from './envelope/connect-schema.ts';
import { isObject, type Exactness } from './envelope/exact-number.ts';
import type { SentRow } from './forms/form.ts';
import type { ValueSource } from './column.ts';
import { columnNames } from './names.ts';
import { TableCodecs, type RowReading } from './row-codec.ts';

type Json = Readonly<Record<string, unknown>>;
type Chooser = (name: string) => boolean;

/** Where the key's columns are in rows of one shape. */
interface KeyPart {
  readonly shape: RowShape;
  readonly places: readonly number[];
  readonly isWhole: boolean;
}

export class TableReader {
  readonly table: TableSchema;
  readonly #codecs: TableCodecs;
  readonly #isKey: Chooser;
  /** Fields that a form added to a row, and no column has, are not read. */
  readonly #isOwn: Chooser;
  readonly #isColumn: Chooser;
  readonly #keyFields = new WeakMap<readonly ConnectField[], readonly ConnectField[]>();
  readonly #ownFields = new WeakMap<readonly ConnectField[], readonly ConnectField[]>();
  readonly #keyParts = new WeakMap<RowShape, KeyPart>();
  readonly #readings: Readonly<
    Record<Exactness, Readonly<Record<'whole' | 'partial', RowReading>>>
  >;

  /** `onDoubtfulNull` is told of every NULL that may stand for a value that was not sent. */
  constructor(table: TableSchema, source: ValueSource, onDoubtfulNull: (column: string) => void) {
    this.table = table;
    this.#codecs = new TableCodecs(table, source);
    const columns = table.columns.map((column) => column.name);
    const sentAs = columnNames(columns, source.modes.names ?? 'none');
    const nameOf = (sent: string): string => columnNow(table, sentAs(sent)) ?? sent;
    const key = new Set(table.key);
    const known = new Set(columns);
    this.#isKey = (sent) => key.has(nameOf(sent));
    this.#isColumn = (sent) => known.has(nameOf(sent));
    this.#isOwn = (sent) => !sent.startsWith('__') || known.has(nameOf(sent));
    const readings = (exactness: Exactness) => ({
      whole: { exactness, partial: false, onDoubtfulNull },
      partial: { exactness, partial: true, onDoubtfulNull },
    });
    this.#readings = { native: readings('native'), exact: readings('exact') };
  }

  /** How rows are read; `partial`: columns may be missing although their field is there. */
  reading(exactness: Exactness, partial: boolean): RowReading {
    return this.#readings[exactness][partial ? 'partial' : 'whole'];
  }

  /**
   * The columns of the table's key, from a message key or a row; null if not all are there.
   * Throws a Problem or NeedExact.
   */
  key(schema: ConnectSchema | null, row: unknown, reading: RowReading): RowImage | null {
    const { key } = this.table;
    if (key.length === 0 || !isObject(row)) return null;
    const part = this.#part(schema, row, this.#isKey, this.#keyFields);
    const { length } = part.fields ?? Object.keys(part.row);
    if (length < key.length) return null;
    const image = this.#read(part, reading);
    return image.values.every(isThere) ? image : null;
  }

  /** As `key`, of a message key; null too if that has what is no column of the table. */
  wholeKey(schema: ConnectSchema | null, row: unknown, reading: RowReading): RowImage | null {
    if (!isObject(row) || !Object.keys(row).every(this.#isColumn)) return null;
    return this.key(schema, row, reading);
  }

  /** The columns of the table's key, of a row that was read; null if not all are there. */
  keyIn(row: RowImage): RowImage | null {
    const { shape, values } = row;
    let part = this.#keyParts.get(shape);
    if (part === undefined) {
      const key = new Set(this.table.key);
      const columns = shape.columns.filter((column) => key.has(column));
      const places = columns.map((column) => shape.columns.indexOf(column));
      part = { shape: new RowShape(columns), places, isWhole: places.length === key.size };
      this.#keyParts.set(shape, part);
    }
    if (!part.isWhole || part.places.length === 0) return null;
    const image = { shape: part.shape, values: part.places.map((i) => values[i] ?? null) };
    return image.values.every(isThere) ? image : null;
  }

  /** A row. Throws a Problem or NeedExact. */
  row(sent: SentRow, reading: RowReading): RowImage {
    const { schema, row, extended } = sent;
    if (!extended || !isObject(row)) {
      return this.#read({ fields: schema?.fields ?? null, row }, reading);
    }
    return this.#read(this.#part(schema, row, this.#isOwn, this.#ownFields), reading);
  }

  #read(
    part: { readonly fields: readonly ConnectField[] | null; readonly row: unknown },
    reading: RowReading,
  ): RowImage {
    const codec =
      part.fields === null ? this.#codecs.forRow(part.row) : this.#codecs.forFields(part.fields);
    return codec.read(part.row, reading);
  }

  /** The chosen fields of a row: of its schema, found once, else of its own names. */
  #part(
    schema: ConnectSchema | null,
    row: Json,
    chosen: Chooser,
    cache: WeakMap<readonly ConnectField[], readonly ConnectField[]>,
  ): { readonly fields: readonly ConnectField[] | null; readonly row: Json } {
    const fields = schema?.fields;
    if (fields !== undefined) {
      let part = cache.get(fields);
      if (part === undefined) {
        part = fields.every(({ field }) => chosen(field))
          ? fields
          : fields.filter(({ field }) => chosen(field));
        cache.set(fields, part);
      }
      return { fields: part, row };
    }
    const names = Object.keys(row);
    if (names.every(chosen)) return { fields: null, row };
    const some = names.filter(chosen).map((name) => [name, row[name]] as const);
    return { fields: null, row: Object.fromEntries(some) };
  }
}

function isThere(value: ColumnValue): boolean {
  return value !== null && value !== UNAVAILABLE && value !== UNSURE;
}

/** Are two images of the table's key the same key? */
export function sameKey(table: TableSchema, a: RowImage, b: RowImage): boolean {
  return table.key.every((column) => {
    const left = imageValue(a, column);
    const right = imageValue(b, column);
    return isKnown(left) && isKnown(right) && sameValue(left, right);
  });
}

function isKnown(value: ColumnValue): value is KnownValue {
  return value !== UNAVAILABLE && value !== UNSURE;
}

function sameValue(a: KnownValue, b: KnownValue): boolean {
  if (a instanceof Uint8Array) return b instanceof Uint8Array && Buffer.compare(a, b) === 0;
  if (Array.isArray(a)) {
    return (
      Array.isArray(b) &&
      a.length === b.length &&
      a.every((item, i) => sameValue(item as KnownValue, (b[i] ?? null) as KnownValue))
    );
  }
  return a === b;
}
