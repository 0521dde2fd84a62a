/**
 * Which changes of a partition a connector sends a second time, where no transactions tell it.
 *
 * A connector that restarts goes back and sends again all that it sent since it last saved how far it had
 * come. Of a row that is in one partition that ends well by itself: its later changes come again too. Of one
 * that lies in several partitions (barriers.ts) it does not: an old delete of `A` would go behind a new `a`
 * of another partition. So of such tables second deliveries are passed over. (Rows of tables without key
 * come again in other partitions: repeated-rows.ts.)
 *
 * What it builds on: within a partition the first deliveries stand in the order of production's log, so
 * that what is before the latest that came was sent before. Only of one log: a server that was restored,
 * or that took over, may write lower places, at later times. So what counts as a second delivery is not
 * later than the latest time either; what cannot be told is taken for new.
 *
 * Several changes may have one place: the rows of one statement, both halves of a key change, rows that
 * PostgreSQL's COPY writes with one record. Of those the same change does not come twice, so that what is
 * the same as one of them is that one again. But for transactions that a server compresses into one event:
 * all of it has one place, and a row may be inserted, deleted and inserted again. There the rows' numbers,
 * which count within a statement, go back for a change that did not come; from then on whatever has that
 * place is taken for new.
 *
 * How far each partition came is stored with its position, as a note: who goes on from there must know it.
 */
import type { SourcePosition } from '../change/position.ts';
import type { ChangeEvent } from '../change/record.ts';
import { parseSource, sourceText } from '../change/stored-source.ts';
import { tableName } from '../change/table-id.ts';
import { fingerprint } from './fingerprint.ts';
import { isHalf } from './key-changes.ts';

export interface RepeatedPlacesOptions {
  /** Where the statement, or record, of `a` stands seen from that of `b`, if both are of one log. */
  readonly compareInLog: (
    a: SourcePosition,
    b: SourcePosition,
  ) => 'before' | 'equal' | 'after' | 'incomparable';
}

/** `behind`: it lies before what came before it. `again`: it lies where that lies, and came already. */
export type Coming = 'new' | 'behind' | 'again';

/** How far a table's changes in a partition came. */
interface Reach {
  source: SourcePosition;
  /** The latest time that came, epoch milliseconds. */
  timeMs: number;
  /** Fingerprints of what came with that place. */
  seen: Set<string>;
  /** The highest number of a row there. */
  row: number;
  /** Numbers went back: several statements have that place. */
  packed: boolean;
}

/** A note as it is stored: behind its mark, in JSON. */
interface Note {
  readonly lane: string;
  readonly place: string;
  readonly timeMs: number;
  readonly seen: readonly string[];
  readonly row: number;
  readonly packed: boolean;
}

const MARK = 'place ';
const NONE: ReadonlyMap<string, string> = new Map();

/** Is it a note of this? Ids of transactions, and notes of given-up ones, look otherwise. */
export function isPlaceNote(text: string): boolean {
  return text.startsWith(MARK);
}

export class RepeatedPlaces {
  readonly #options: RepeatedPlacesOptions;
  /** As far as was read. */
  readonly #read = new Map<string, Reach>();
  /** As far as went. */
  readonly #gone = new Map<string, Reach>();
  readonly #told = new Set<string>();

  /** `stored`: notes, and what else is stored beside them; the oldest first. */
  constructor(options: RepeatedPlacesOptions, stored: Iterable<string>) {
    this.#options = options;
    for (const text of stored) {
      if (!isPlaceNote(text)) continue;
      const { lane, place, seen, ...rest } = JSON.parse(text.slice(MARK.length)) as Note;
      for (const reaches of [this.#read, this.#gone]) {
        reaches.set(lane, { source: parseSource(place), seen: new Set(seen), ...rest });
      }
    }
  }

  /** To be asked of each change once, as it comes: does it come a second time? */
  came(partition: string, event: ChangeEvent): Coming {
    return this.#step(this.#read, laneOf(partition, event), event);
  }

  /** To be told of each change as it goes, or is passed over. */
  went(partition: string, event: ChangeEvent): void {
    const lane = laneOf(partition, event);
    this.#step(this.#gone, lane, event);
    this.#told.add(lane);
  }

  /** What is to be stored of what went since this was asked last: a note for each that went on. `all`: of all. */
  notes(all: boolean): ReadonlyMap<string, string> {
    if (!all && this.#told.size === 0) return NONE;
    const notes = new Map<string, string>();
    for (const [lane, { source, seen, ...rest }] of this.#gone) {
      if (!all && !this.#told.has(lane)) continue;
      const note: Note = { lane, place: sourceText(source), seen: [...seen], ...rest };
      notes.set(lane, MARK + JSON.stringify(note));
    }
    this.#told.clear();
    return notes;
  }

  /** Takes it in: is it a second delivery? */
  #step(reaches: Map<string, Reach>, lane: string, event: ChangeEvent): Coming {
    const { source, eventTimeMs: timeMs } = event;
    if (timeMs === null || !tellsPlace(source)) return 'new';
    const row = 'row' in source ? source.row : 0;
    const reach = reaches.get(lane);
    const at = reach && this.#options.compareInLog(source, reach.source);
    if (reach === undefined || at === undefined || !isOld(timeMs, source, reach)) {
      reaches.set(lane, begin(event, source, Math.max(timeMs, reach?.timeMs ?? 0), row));
      return 'new';
    }
    switch (at) {
      case 'before':
        return 'behind';
      case 'equal': {
        const print = fingerprint(event);
        if (!reach.packed && reach.seen.has(print)) return 'again';
        // Both halves of a key change are of one row.
        if ('row' in source && row <= reach.row && !isHalf(event)) reach.packed = true;
        reach.row = Math.max(reach.row, row);
        reach.seen.add(print);
        return 'new';
      }
      case 'after':
      case 'incomparable':
        reaches.set(lane, begin(event, source, Math.max(timeMs, reach.timeMs), row));
        return 'new';
    }
  }
}

function begin(event: ChangeEvent, source: SourcePosition, timeMs: number, row: number): Reach {
  return { source, timeMs, seen: new Set([fingerprint(event)]), row, packed: false };
}

/** Where no server's name tells them apart, another one's log may have files of the same names. */
function isOld(timeMs: number, source: SourcePosition, reach: Reach): boolean {
  if (!('gtid' in source) || !('gtid' in reach.source)) return timeMs <= reach.timeMs;
  const isTold = source.gtid !== null || source.file === reach.source.file;
  return isTold ? timeMs <= reach.timeMs : timeMs < reach.timeMs;
}

/** Several tables may be in one topic, and have one place: one statement truncates them. */
function laneOf(partition: string, { table }: ChangeEvent): string {
  return `${partition} ${tableName(table)}`;
}

/** A connector that starts anew does not, nor do rows that it reads itself. */
function tellsPlace(source: SourcePosition): boolean {
  return 'lsn' in source
    ? source.lsn !== null && source.lastCommitLsn !== null
    : source.pos !== null;
}
