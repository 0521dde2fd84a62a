/**
 * Which rows of a table without key a connector sends a second time, where no transactions tell it.
 *
 * Such a row's record has no key, so that it lies in any partition, and in another one when it comes
 * again. So each is known by itself: its place in production's log, its time (a log that began anew has
 * the same places), and its number in its transaction, as several rows may have one place. The last ones
 * are remembered, and stored as notes with what went.
 *
 * Not known: a row with the place of others (PostgreSQL's COPY) of which a connector that was restarted
 * inside the transaction counts anew.
 */
import type { ChangeEvent } from '../change/record.ts';
import { tableName } from '../change/table-id.ts';
import { RecentIds } from './recent-ids.ts';

const MARK = 'row ';

/** Is it a note of this? Ids of transactions, and other notes, look otherwise. */
export function isRowNote(text: string): boolean {
  return text.startsWith(MARK);
}

export class RepeatedRows {
  readonly #seen: RecentIds;
  /** Those that came and did not go. */
  readonly #waiting = new Set<string>();
  #told: string[] = [];

  /** `stored`: notes, and what else is stored beside them; the oldest first. */
  constructor(stored: Iterable<string>) {
    this.#seen = new RecentIds([...stored].filter(isRowNote));
  }

  /** To be asked of each change once, as it comes: does it come a second time? Null: it is not told here. */
  came(event: ChangeEvent): boolean | null {
    const id = idOf(event);
    if (id === null) return null;
    if (this.#seen.has(id)) return true;
    this.#seen.add(id);
    this.#waiting.add(id);
    return false;
  }

  /** Of one that comes a second time: where the first one is, as far as is known here. */
  first(event: ChangeEvent): 'waits' | 'went' | 'unknown' {
    const id = idOf(event) ?? '';
    return this.#waiting.has(id) ? 'waits' : this.#seen.has(id) ? 'went' : 'unknown';
  }

  /** To be told of each change that goes, and did not come a second time. */
  went(event: ChangeEvent): void {
    const id = idOf(event);
    if (id === null) return;
    this.#waiting.delete(id);
    this.#told.push(id);
  }

  /** What is to be stored of what went since this was asked last. */
  notes(): readonly string[] {
    const notes = this.#told;
    if (notes.length > 0) this.#told = [];
    return notes;
  }
}

/** Null where its place is not told, or is no row's. */
function idOf({ table, source, op, eventTimeMs, transaction }: ChangeEvent): string | null {
  const places =
    'lsn' in source
      ? [source.lsn]
      : source.pos === null
        ? [null]
        : [source.pos, source.row, source.file, source.gtid];
  if (op === 'truncate' || places[0] === null) return null;
  const number = op === 'create' ? transaction?.totalOrder : undefined;
  return `${MARK}${[tableName(table), eventTimeMs, number, ...places].map(String).join(' ')}`;
}
