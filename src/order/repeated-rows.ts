/**
 * Which rows of a table without key a connector sends a second time, where no transactions tell it.
 *
 * Such a row's record has no key, so that it lies in any partition, and in another one when it comes
 * again. So each is known by itself: its place in production's log, its time (a log that began anew has
 * the same places) and all that it says. The last ones are remembered, and stored as notes with what went.
 *
 * Rows that are alike to the byte may have one place, of PostgreSQL's COPY and of transactions that a server
 * compresses. Their numbers in the transaction tell them apart, which every row of such a table has. But a
 * connector that was restarted inside a transaction numbers anew, from below. Where a place is mostly one
 * row's, of a binlog, a lower number is taken for that; so of compressed transactions one of several rows
 * that are alike may be taken for another, if it is read late. Where it is not, of PostgreSQL, a lower number is
 * another row's; so what is sent again with other numbers is taken for new.
 */
import type { ChangeEvent } from '../change/record.ts';
import { tableName } from '../change/table-id.ts';
import { fingerprint } from './fingerprint.ts';
import { deleteOldest, REMEMBERED_IDS } from './recent-ids.ts';

const MARK = 'row ';

/** Is it a note of this? Ids of transactions, and other notes, look otherwise. */
export function isRowNote(text: string): boolean {
  return text.startsWith(MARK);
}

interface Row {
  readonly id: string;
  readonly number: bigint;
  /** A lower number is another row's. */
  readonly isExact: boolean;
}

export class RepeatedRows {
  /** By id, the numbers. */
  readonly #seen = new Map<string, ReadonlySet<bigint>>();
  /** Those that came and did not go: their numbers. */
  readonly #waiting = new Map<string, bigint[]>();
  /** Of those that come a second time: the first one's number. */
  readonly #firsts = new WeakMap<ChangeEvent, bigint>();
  #told: string[] = [];

  /** `stored`: notes, and what else is stored beside them; the oldest first. */
  constructor(stored: Iterable<string>) {
    for (const text of stored) {
      if (!isRowNote(text)) continue;
      const cut = text.lastIndexOf(' ');
      this.#see(text.slice(0, cut), BigInt(text.slice(cut + 1)));
    }
  }

  /** To be asked of each change once, as it comes: does it come a second time? Null: it is not told here. */
  came(event: ChangeEvent): boolean | null {
    const row = rowOf(event);
    if (row === null) return null;
    if (this.recognizes(event)) return true;
    const { id, number } = row;
    this.#see(id, number);
    this.#waiting.set(id, [...(this.#waiting.get(id) ?? []), number]);
    return false;
  }

  /** Is it one that came before? */
  recognizes(event: ChangeEvent): boolean {
    const row = rowOf(event);
    if (row === null) return false;
    const { id, number, isExact } = row;
    const known = [...(this.#seen.get(id) ?? []), ...(this.#waiting.get(id) ?? [])];
    const first = known.find((one) => (isExact ? one === number : one >= number));
    if (first !== undefined) this.#firsts.set(event, first);
    return first !== undefined;
  }

  /** Of one that comes a second time: where the first one is, as far as is known here. */
  first(event: ChangeEvent): 'waits' | 'went' | 'unknown' {
    const first = this.#firsts.get(event);
    if (first === undefined) return 'unknown';
    return this.#waiting.get(rowOf(event)?.id ?? '')?.includes(first) === true ? 'waits' : 'went';
  }

  /** To be told of each change that goes, and did not come a second time. */
  went(event: ChangeEvent): void {
    const row = rowOf(event);
    if (row === null) return;
    const left = (this.#waiting.get(row.id) ?? []).filter((number) => number !== row.number);
    if (left.length === 0) this.#waiting.delete(row.id);
    else this.#waiting.set(row.id, left);
    this.#told.push(`${row.id} ${String(row.number)}`);
  }

  /** What is to be stored of what went since this was asked last. */
  notes(): readonly string[] {
    const notes = this.#told;
    if (notes.length > 0) this.#told = [];
    return notes;
  }

  #see(id: string, number: bigint): void {
    const before = this.#seen.get(id) ?? [];
    this.#seen.delete(id);
    this.#seen.set(id, new Set([...before, number]));
    if (this.#seen.size > REMEMBERED_IDS) deleteOldest(this.#seen);
  }
}

/** Null where its place is not told, or is no row's, or where it has no transaction: it is refused then. */
function rowOf(event: ChangeEvent): Row | null {
  const { table, source, op, eventTimeMs, transaction } = event;
  const places =
    'lsn' in source
      ? [source.lsn]
      : source.pos === null
        ? [null]
        : [source.pos, source.row, source.file, source.gtid];
  if (op === 'truncate' || places[0] === null || transaction === null) return null;
  const parts = [tableName(table), eventTimeMs, ...places, fingerprint(event)];
  const id = MARK + parts.map(String).join(' ');
  return { id, number: transaction.totalOrder, isExact: 'lsn' in source };
}
