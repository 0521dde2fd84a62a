/**
 * What is set aside in a shadow database, whatever its engine: written with the batch that sets it
 * aside, and read. An engine brings the statements, in its own SQL.
 */
import type { LogOffset } from '../../change/position.ts';
import { tableName, type TableId } from '../../change/table-id.ts';
import type { KnownValue } from '../../change/value.ts';
import type { DeadState } from '../../order/dead-keys.ts';
import type { DeadEvent, DeadKey, DeadNotes, NewLetter } from '../../order/dead-notes.ts';
import type { SchemaCatalogue, ColumnSchema } from '../../schema/table-schema.ts';
import type { DeadLetter, KeptRecord } from '../dead-letters.ts';

export interface LetterRow extends TableId, LogOffset {
  readonly id: string;
  readonly code: string;
  readonly message: string;
  readonly transactionId: string | null;
  readonly hidden: number;
  /** Epoch milliseconds, and since then, by the server's clock. */
  readonly sinceMs: number;
  readonly ageMs: number;
}

export interface KeyRow extends TableId {
  readonly letter: string;
  readonly id: string;
  /** As text, in key order; null for all rows of the table. */
  readonly key: readonly string[] | null;
}

/** Events of a letter that are alike. */
export interface EventsRow extends TableId, Omit<LogOffset, 'offset'> {
  readonly letter: string;
  readonly unread: boolean;
  readonly count: number;
}

/** A part of what is kept of a record. */
export interface KeptPart {
  /** From 0 on. */
  readonly part: number;
  readonly keyId: string | null;
  readonly why: string | null;
  readonly bytes: Buffer;
}

/** Far below what any server takes in one statement. */
const PART_BYTES = 1024 * 1024;

/** The statements, in the caller's transaction. `ids` null: of all letters. */
export interface DeadLetterTables {
  /** A savepoint's statement. */
  run(statement: string): Promise<unknown>;
  /** The oldest first. */
  letters(ids: readonly string[] | null): Promise<readonly LetterRow[]>;
  /** Ids of letters that nobody was told of. */
  untold(limit: number): Promise<readonly string[]>;
  told(ids: readonly string[]): Promise<void>;
  keys(ids: readonly string[] | null): Promise<readonly KeyRow[]>;
  events(ids: readonly string[] | null): Promise<readonly EventsRow[]>;
  /** In the order in which they were set aside. */
  queue(ids: readonly string[]): Promise<readonly LogOffset[]>;
  /** Places of events without any part. */
  unkept(limit: number): Promise<readonly LogOffset[]>;
  /** In order. */
  parts(at: LogOffset): Promise<readonly KeptPart[]>;
  /** If an event is queued there that has no such part. */
  addPart(at: LogOffset, part: KeptPart): Promise<void>;
  addLetter(letter: NewLetter): Promise<void>;
  addKey(key: Omit<DeadKey, 'key'> & Pick<KeyRow, 'key'>): Promise<void>;
  addEvents(events: readonly DeadEvent[]): Promise<void>;
  /** Keys and events of one letter belong to another from now on. */
  move(from: string, into: string): Promise<void>;
  /** With keys, events and what is kept of them; how many letters there were. */
  remove(ids: readonly string[]): Promise<number>;
}

/** In the transaction of the batch that sets it aside. */
export async function saveDeadNotes(
  tables: DeadLetterTables,
  notes: DeadNotes,
  renderText: (value: KnownValue) => string | null,
): Promise<void> {
  for (const { from, into } of notes.merged) {
    await tables.move(from, into);
    await tables.remove([from]);
  }
  if (notes.cleared.length > 0) await tables.remove(notes.cleared);
  for (const letter of notes.letters) await tables.addLetter(letter);
  for (const { key, ...dead } of notes.keys) {
    const text = key === null ? null : key.map((value) => renderText(value) ?? '');
    await tables.addKey({ ...dead, key: text });
  }
  if (notes.events.length > 0) await tables.addEvents(notes.events);
}

export async function keepRecord(
  tables: DeadLetterTables,
  { at, sealed, why }: KeptRecord,
): Promise<void> {
  const bytes = sealed?.bytes ?? Buffer.alloc(0);
  const keyId = sealed?.keyId ?? null;
  for (let from = 0; from === 0 || from < bytes.length; from += PART_BYTES) {
    const part = { part: from / PART_BYTES, keyId, why };
    await tables.addPart(at, { ...part, bytes: bytes.subarray(from, from + PART_BYTES) });
  }
}

export async function readKept(
  tables: DeadLetterTables,
  at: LogOffset,
): Promise<KeptRecord | null> {
  const parts = await tables.parts(at);
  const [first] = parts;
  if (first === undefined) return null;
  const { keyId, why } = first;
  const bytes = (): Buffer => Buffer.concat(parts.map((part) => part.bytes));
  return { at, sealed: keyId === null ? null : { keyId, bytes: bytes() }, why };
}

/** In the transaction that writes their events: the letters are gone. False if one was not there. */
export async function takeReplayed(
  tables: DeadLetterTables,
  ids: readonly string[],
): Promise<boolean> {
  if ((await tables.letters(ids)).length !== ids.length) return false;
  await tables.remove(ids);
  return true;
}

export async function readDeadState(
  tables: DeadLetterTables,
  exact: ReadonlySet<string>,
): Promise<DeadState> {
  const events = Map.groupBy(await tables.events(null), ({ letter }) => letter);
  const letters = (await tables.letters(null)).map(({ id, schema, name }) => {
    const own = events.get(id) ?? [];
    return {
      ...{ id, table: { schema, name } },
      tables: own.map((event) => ({ schema: event.schema, name: event.name })),
      unread: own
        .filter(({ unread }) => unread)
        .map(({ topic, partition }) => ({ topic, partition })),
    };
  });
  const keys = (await tables.keys(null)).map(({ letter, id, schema, name }) => ({
    ...{ letter, id, table: { schema, name } },
  }));
  return { exact, letters, keys };
}

export async function readLetters(
  tables: DeadLetterTables,
  ids: readonly string[] | null,
): Promise<readonly DeadLetter[]> {
  const keys = Map.groupBy(await tables.keys(ids), ({ letter }) => letter);
  const events = Map.groupBy(await tables.events(ids), ({ letter }) => letter);
  return (await tables.letters(ids)).map(
    ({ id, schema, name, topic, partition, offset, sinceMs, ...told }): DeadLetter => ({
      ...{ id, table: { schema, name }, at: { topic, partition, offset } },
      keys: (keys.get(id) ?? []).map(({ key }) => key).toSorted(byText),
      ...told,
      since: new Date(sinceMs),
      queued: (events.get(id) ?? []).reduce((sum, { count }) => sum + count, 0),
    }),
  );
}

function byText(a: KeyRow['key'], b: KeyRow['key']): number {
  const [one, other] = [JSON.stringify(a), JSON.stringify(b)];
  return one < other ? -1 : one > other ? 1 : 0;
}

/** Tables, by `tableName()`, all of whose key's columns are exact. */
export function exactTables(
  catalogue: SchemaCatalogue,
  isExact: (table: string, column: ColumnSchema) => boolean,
): ReadonlySet<string> {
  const exact = new Set<string>();
  for (const [name, { key, columns }] of catalogue) {
    const told = columns.filter((column) => key.includes(column.name) && isExact(name, column));
    if (key.length > 0 && told.length === key.length) exact.add(name);
  }
  return exact;
}

/** The dead keys, by `tableName()`. */
export function keysByTable(rows: readonly KeyRow[]): ReadonlyMap<string, readonly KeyRow[]> {
  return Map.groupBy(rows, (row) => tableName(row));
}
