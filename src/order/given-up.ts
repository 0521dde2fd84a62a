/**
 * What was released of transactions that were given up, so that of a second delivery exactly the
 * events go that never went.
 *
 * Invariant: an event goes the first time that its partition brings it, and never again. As the
 * connector writes a partition in production's order, and leaves no gap in it that it does not fill
 * before it writes what is later, first comings are in production's order, whatever of before comes
 * again between them. So what is missing may be let go when it comes: no later change of its row can
 * have gone before it.
 *
 * Of a transaction, then, a partition's events went up to a place in production's log (its numbers
 * start anew where the connector was restarted inside it, and count only where places do not tell),
 * and none is missing any more (*closed*) once one of another transaction came for the first time
 * behind them. A change that could not be read came, and was set aside: what is later shuts it out,
 * and its letter or the parked row tells that it is missing. Were it let go then, it would stand
 * over newer values.
 *
 * What has no key (rows of a table without, truncates) lies in another partition at each delivery.
 * There each event is known by itself: place, content, and number. Where numbers started anew, place
 * and content count alone; only rows that are equal to the letter and were written at one place (a
 * COPY) are then taken for one.
 *
 * Not known again: events of a compressed transaction of the binlog, which all have one place, where
 * numbers started anew inside it (`doctor` warns of such a production); events of which the place
 * changed (another server took over, MySQL's files are named otherwise) and the number too; keys
 * whose partition changed; and rows without key whose numbers started anew where no number shows it.
 *
 * It is stored as notes, each with the release that it tells of, among the ids of what went whole.
 * They are forgotten with these.
 */
import { createHash } from 'node:crypto';
import type { ChangeEvent, TransactionMark } from '../change/record.ts';
import { tableName } from '../change/table-id.ts';
import { imageText } from './key-text.ts';
import { REMEMBERED_IDS } from './recent-ids.ts';
import type { Times } from './reused-ids.ts';

/** How far a transaction went from a partition. */
interface Reach {
  /** Null where the log's places are not known. */
  readonly place: Place | null;
  readonly order: bigint;
  /** What went of this very place. */
  readonly here: ReadonlySet<string>;
}

interface Place {
  /** Of two places with different files nothing is known. */
  readonly file: string;
  readonly pos: bigint;
  readonly row: number;
}

interface Torn {
  /** By partition; null where none is missing any more. */
  readonly reaches: Map<string, Reach | null>;
  /** Events without key, with their numbers. */
  readonly loose: Map<string, Set<string>>;
  renumbered: boolean;
  /** When it was noted last, in transactions. */
  age: number;
}

/** A note as it is stored, in JSON. */
interface Note {
  readonly id: string;
  readonly reaches: readonly (readonly [partition: string, StoredReach | null])[];
  readonly loose: readonly (readonly [event: string, order: string])[];
  readonly renumbered: boolean;
  /** Absent where its records tell no time, and in notes of before times were stored. */
  readonly times?: Times;
}

interface StoredReach {
  readonly place: readonly [file: string, pos: string, row: number] | null;
  readonly order: string;
  readonly here: readonly string[];
}

/** Is it a note? Ids of transactions, which are stored beside notes, look otherwise. */
export function isNote(text: string): boolean {
  return text.startsWith('{');
}

/** Of a note: which transaction it tells of, and when that was. */
export function parseNote(text: string): Pick<Note, 'id' | 'times'> {
  return JSON.parse(text) as Note;
}

export class GivenUp {
  readonly #torn = new Map<string, Torn>();
  /** By partition: whose events came last for the first time, if it may lack more of them. */
  readonly #last = new Map<string, string>();
  #clock = 0;

  readonly #timesOf: (id: string) => Times | null;

  /** `told`: what was stored of released transactions, the oldest first. */
  constructor(told: Iterable<string>, timesOf: (id: string) => Times | null) {
    this.#timesOf = timesOf;
    for (const text of told) {
      this.released();
      if (isNote(text)) this.#learn(JSON.parse(text) as Note);
    }
  }

  /** Those that were given up. */
  ids(): Iterable<string> {
    return this.#torn.keys();
  }

  has(id: string): boolean {
    return this.#torn.has(id);
  }

  /** One more transaction went: forgets what is too old. */
  released(): void {
    this.#clock += 1;
    for (const [id, { age }] of this.#torn) {
      if (this.#clock - age <= REMEMBERED_IDS) return;
      this.#torn.delete(id);
    }
  }

  /** Notes what a whole transaction did: it came for the first time behind others. */
  closedBy(id: string, partitions: Iterable<string>): readonly string[] {
    return [...partitions].flatMap((partition) => this.#close(id, partition));
  }

  /** It went whole after all. */
  forget(id: string): void {
    this.#torn.delete(id);
  }

  /** All that is known of it, as one note. */
  noteOf(id: string): string {
    const torn = this.#tornOf(id);
    const note: Note = {
      id,
      reaches: [...torn.reaches].map(([partition, reach]) => [
        partition,
        reach === null ? null : stored(reach),
      ]),
      loose: [...torn.loose].flatMap(([name, orders]) =>
        [...orders].map((order) => [name, order] as const),
      ),
      renumbered: torn.renumbered,
    };
    return this.#text(note);
  }

  #text(note: Note): string {
    const times = this.#timesOf(note.id);
    return JSON.stringify(times === null ? note : { ...note, times });
  }

  /**
   * Which events of a transaction that is given up went never before, and the notes that tell of
   * them. `events`: by partition, in its order. `renumbered`: the connector was restarted inside.
   * `quietly`: with no note of its own, see `noteOf`.
   */
  screen(
    id: string,
    events: ReadonlyMap<string, readonly ChangeEvent[]>,
    how: { readonly renumbered: boolean; readonly quietly: boolean },
  ): { readonly fresh: readonly ChangeEvent[]; readonly notes: readonly string[] } {
    const torn = this.#tornOf(id);
    torn.renumbered ||= how.renumbered;
    const fresh: ChangeEvent[] = [];
    const notes: string[] = [];
    const reaches: (readonly [string, StoredReach | null])[] = [];
    const loose: (readonly [string, string])[] = [];
    for (const [partition, items] of events) {
      const before = torn.reaches.get(partition);
      let reach = before;
      for (const event of items) {
        const mark = event.transaction;
        if (mark === null) continue;
        if (event.key === null) {
          const name = digest(
            [placeText(event), imageText(event.before), imageText(event.after)],
            event,
          );
          const order = String(mark.totalOrder);
          if (knows(torn, name, order)) continue;
          torn.loose.set(name, (torn.loose.get(name) ?? new Set()).add(order));
          if (!how.quietly) loose.push([name, order]);
        } else {
          if (reach === null) continue;
          const next = reachedBy(reach, event, mark);
          if (next === null) continue;
          reach = next;
        }
        fresh.push(event);
      }
      if (reach === undefined || reach === null || reach === before) continue;
      torn.reaches.set(partition, reach);
      reaches.push([partition, stored(reach)]);
      notes.push(...this.#close(id, partition));
      this.#last.set(partition, id);
    }
    if (fresh.length > 0 && !how.quietly) {
      const note: Note = { id, reaches, loose, renumbered: torn.renumbered };
      notes.push(this.#text(note));
    }
    return { fresh, notes };
  }

  #tornOf(id: string): Torn {
    const known = this.#torn.get(id);
    const torn = known ?? { reaches: new Map(), loose: new Map(), renumbered: false, age: 0 };
    // The oldest stand first.
    this.#torn.delete(id);
    this.#torn.set(id, torn);
    torn.age = this.#clock;
    return torn;
  }

  #close(by: string, partition: string): readonly string[] {
    const id = this.#last.get(partition);
    if (id === undefined || id === by) return [];
    this.#last.delete(partition);
    const torn = this.#torn.get(id);
    if (torn === undefined) return [];
    torn.reaches.set(partition, null);
    const note: Note = { id, reaches: [[partition, null]], loose: [], renumbered: false };
    return [JSON.stringify(note)];
  }

  #learn({ id, reaches, loose, renumbered }: Note): void {
    const torn = this.#tornOf(id);
    torn.renumbered ||= renumbered;
    for (const [partition, reach] of reaches) {
      torn.reaches.set(partition, reach === null ? null : restored(reach));
      if (reach !== null) this.#last.set(partition, id);
      else if (this.#last.get(partition) === id) this.#last.delete(partition);
    }
    for (const [name, order] of loose) {
      torn.loose.set(name, (torn.loose.get(name) ?? new Set()).add(order));
    }
  }
}

function knows(torn: Torn, name: string, order: string): boolean {
  const orders = torn.loose.get(name);
  if (orders === undefined) return false;
  if (orders.has(order)) return true;
  // A number that goes back, or that another event has, shows that numbers started anew.
  torn.renumbered ||=
    [...orders].every((known) => BigInt(order) < BigInt(known)) ||
    [...torn.loose.values()].some((others) => others.has(order));
  return torn.renumbered;
}

/** How far it is with this event; null if the event went before. */
function reachedBy(
  reach: Reach | undefined,
  event: ChangeEvent,
  { totalOrder }: TransactionMark,
): Reach | null {
  const place = placeOf(event);
  const name = digest(
    [imageText(event.key), imageText(event.before), imageText(event.after)],
    event,
  );
  const alone = { place, order: totalOrder, here: new Set([name]) };
  if (reach === undefined) return alone;
  const known = reach.place;
  if (place === null || known?.file !== place.file) return totalOrder > reach.order ? alone : null;
  // Of one statement, or of a compressed transaction, where rows start anew with each event.
  if ('pos' in event.source && place.pos === known.pos && totalOrder > reach.order) return alone;
  if (place.pos < known.pos || (place.pos === known.pos && place.row < known.row)) return null;
  if (place.pos > known.pos || place.row > known.row) return alone;
  if (reach.here.has(name)) return null;
  return { place, order: totalOrder, here: new Set([...reach.here, name]) };
}

function placeOf({ source }: ChangeEvent): Place | null {
  if ('lsn' in source) return source.lsn === null ? null : { file: '', pos: source.lsn, row: 0 };
  if (source.file === null || source.pos === null) return null;
  return { file: source.file, pos: source.pos, row: source.row };
}

function placeText(event: ChangeEvent): string {
  const place = placeOf(event);
  return place === null ? '' : `${place.file}/${place.pos}/${place.row}`;
}

/** Short, whatever the row holds. */
function digest(parts: readonly string[], { table, op }: ChangeEvent): string {
  const hash = createHash('sha256').update(JSON.stringify([tableName(table), op, ...parts]));
  return hash.digest('base64').slice(0, 22);
}

function stored({ place, order, here }: Reach): StoredReach {
  return {
    place: place === null ? null : [place.file, String(place.pos), place.row],
    order: String(order),
    here: [...here],
  };
}

function restored({ place, order, here }: StoredReach): Reach {
  return {
    place: place === null ? null : { file: place[0], pos: BigInt(place[1]), row: place[2] },
    order: BigInt(order),
    here: new Set(here),
  };
}
