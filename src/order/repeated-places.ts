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
 * Several changes may have one place: both halves of a key change, the delete first, and rows that PostgreSQL
 * writes with one record, as COPY does. They are counted, so that a second run over them ends where the
 * first did. Where it begins with them, their numbers in their transaction tell; rows without are taken for
 * new, which does no harm: nothing has changed them since.
 *
 * How far each partition came is stored with its position, as a note: who goes on from there must know it.
 */
import type { SourcePosition } from '../change/position.ts';
import type { ChangeEvent } from '../change/record.ts';
import { parseSource, sourceText } from '../change/stored-source.ts';
import { tableName } from '../change/table-id.ts';

export interface RepeatedPlacesOptions {
  /** Where `a` stands seen from `b`, if both are certainly of one log. */
  readonly compareInLog: (
    a: SourcePosition,
    b: SourcePosition,
  ) => 'before' | 'equal' | 'after' | 'incomparable';
}

/** `behind`: it lies before what came before it. `again`: it lies where that lies, and is the same. */
export type Coming = 'new' | 'behind' | 'again';

/** How far a table's changes in a partition came. */
interface Reach {
  source: SourcePosition;
  /** The latest time that came, epoch milliseconds. */
  timeMs: number;
  /** How many changes have that place. */
  count: number;
  /** The number of the one that came last in its transaction; null if it has none, or it is not known. */
  number: bigint | null;
  /** Of them, how many came again in the run that is going on; null before it goes back. */
  again: number | null;
}

/** A note as it is stored: behind its mark, in JSON. */
interface Note {
  readonly lane: string;
  readonly place: string;
  readonly timeMs: number;
  readonly count: number;
  readonly number: string | null;
  readonly again: number | null;
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
      const { lane, place, number, ...rest } = JSON.parse(text.slice(MARK.length)) as Note;
      const reach = { source: parseSource(place), number: number === null ? null : BigInt(number) };
      this.#read.set(lane, { ...reach, ...rest });
      this.#gone.set(lane, { ...reach, ...rest });
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

  /** What is to be stored of what went since this was asked last: a note for each that went on. */
  notes(): ReadonlyMap<string, string> {
    if (this.#told.size === 0) return NONE;
    const notes = new Map<string, string>();
    for (const lane of this.#told) {
      const reach = this.#gone.get(lane);
      if (reach === undefined) continue;
      const { source, number, ...rest } = reach;
      const place = sourceText(source);
      const note: Note = { lane, place, number: number === null ? null : String(number), ...rest };
      notes.set(lane, MARK + JSON.stringify(note));
    }
    this.#told.clear();
    return notes;
  }

  /** Takes it in: is it a second delivery? */
  #step(reaches: Map<string, Reach>, lane: string, event: ChangeEvent): Coming {
    const { source, eventTimeMs } = event;
    if (eventTimeMs === null || !tellsPlace(source)) return 'new';
    const reach = reaches.get(lane);
    if (reach === undefined) {
      const number = numberOf(event);
      reaches.set(lane, { source, timeMs: eventTimeMs, count: 1, number, again: null });
      return 'new';
    }
    const isOld = eventTimeMs <= reach.timeMs;
    const at = this.#options.compareInLog(source, reach.source);
    if (at === 'before' && isOld) {
      reach.again = 0;
      return 'behind';
    }
    if (at === 'equal' && isOld) {
      // Of a key change the delete comes first; nothing else has a place that others have.
      if (event.op !== 'create') {
        reach.again = 1;
        return 'again';
      }
      const number = numberOf(event);
      const begins = number !== null && reach.number !== null && number <= reach.number;
      if (begins) reach.again = 0;
      reach.number = number;
      if (reach.again !== null) {
        reach.again += 1;
        if (reach.again <= reach.count) return 'again';
      }
      reach.count += 1;
      return 'new';
    }
    reach.source = source;
    reach.timeMs = Math.max(reach.timeMs, eventTimeMs);
    reach.count = 1;
    reach.number = numberOf(event);
    reach.again = null;
    return 'new';
  }
}

function numberOf({ transaction }: ChangeEvent): bigint | null {
  return transaction?.totalOrder ?? null;
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
