/**
 * The last truncate of each table that went, stored as a note, for who goes on after a restart: what a
 * connector sends again of before it was removed by it, and the truncate itself must not go again, behind
 * rows that are not sent again, or are passed over.
 *
 * Not of a log that began anew, which has lower places at later times.
 */
import type { SourcePosition } from '../change/position.ts';
import type { ChangeEvent } from '../change/record.ts';
import { parseSource, sourceText } from '../change/stored-source.ts';
import { tableName } from '../change/table-id.ts';
import type { RepeatedPlacesOptions } from './repeated-places.ts';

const MARK = 'truncate ';

/** Is it a note of this? */
export function isTruncateNote(text: string): boolean {
  return text.startsWith(MARK);
}

interface Note {
  readonly table: string;
  readonly place: string;
  readonly timeMs: number;
}

export class StoredTruncates {
  readonly #compareInLog: RepeatedPlacesOptions['compareInLog'];
  readonly #before = new Map<string, { source: SourcePosition; timeMs: number }>();
  /** By table. */
  readonly #notes = new Map<string, string>();
  readonly #told = new Set<string>();

  /** `stored`: notes, and what else is stored beside them; the oldest first. */
  constructor({ compareInLog }: RepeatedPlacesOptions, stored: Iterable<string>) {
    this.#compareInLog = compareInLog;
    for (const text of stored) {
      if (!isTruncateNote(text)) continue;
      const { table, place, timeMs } = JSON.parse(text.slice(MARK.length)) as Note;
      this.#before.set(table, { source: parseSource(place), timeMs });
      this.#notes.set(table, text);
    }
  }

  /** Did a truncate that went before this process began remove it, or is it that one? */
  isOver({ op, table, source, eventTimeMs }: ChangeEvent): boolean {
    if (this.#before.size === 0 || eventTimeMs === null) return false;
    const truncate = this.#before.get(tableName(table));
    if (truncate === undefined || eventTimeMs > truncate.timeMs) return false;
    const at = this.#compareInLog(source, truncate.source);
    return at === 'before' || (op === 'truncate' && at === 'equal');
  }

  /** To be told of each change that goes. */
  went({ op, table, source, eventTimeMs }: ChangeEvent): void {
    if (op !== 'truncate' || eventTimeMs === null) return;
    const name = tableName(table);
    const note: Note = { table: name, place: sourceText(source), timeMs: eventTimeMs };
    this.#notes.set(name, MARK + JSON.stringify(note));
    this.#told.add(name);
  }

  /** What is to be stored of what went since this was asked last. `all`: of all. */
  notes(all: boolean): ReadonlyMap<string, string> {
    if (!all && this.#told.size === 0) return NONE;
    const told = [...this.#notes].filter(([table]) => all || this.#told.has(table));
    this.#told.clear();
    return new Map(told.map(([table, note]) => [`${MARK}${table}`, note]));
  }
}

const NONE: ReadonlyMap<string, string> = new Map();
