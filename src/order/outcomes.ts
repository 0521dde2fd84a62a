import type { ChangeEvent, TransactionBoundary } from '../change/record.ts';
import { GivenUp, isNote, parseNote } from './given-up.ts';
import { RecentIds } from './recent-ids.ts';
import { isDeliveryNote } from './second-deliveries.ts';
import { parseWhole, ReusedIds, wholeText } from './reused-ids.ts';

/** What of a transaction goes now, and what is to be stored when it has gone. */
type Going = ReturnType<GivenUp['screen']>;
type ByPartition = ReadonlyMap<string, readonly ChangeEvent[]>;

const NOTHING: Going = { fresh: [], notes: [] };

/** How transactions went that were released. */
export class Outcomes {
  /** Released whole: events of theirs that come later are second deliveries. */
  readonly done = new RecentIds();
  /** Given up, or without END: their events go as they come. */
  readonly open: RecentIds;
  readonly #givenUp: GivenUp;
  readonly #uses = new ReusedIds();

  /** `told`: what was stored of those that former assemblers released, the oldest first. */
  constructor(told: readonly string[]) {
    for (const text of told) {
      if (isDeliveryNote(text)) continue;
      if (isNote(text)) {
        const { id, times } = parseNote(text);
        this.#uses.learn(id, times ?? null);
      } else {
        const { name, times } = parseWhole(text);
        this.#uses.learn(name, times);
        this.done.add(name);
      }
    }
    this.#givenUp = new GivenUp(told, (id) => this.#uses.timesOf(id));
    this.open = new RecentIds(this.#givenUp.ids());
  }

  /** The change, with a name for its transaction that no other has, though it may have its id. */
  named(event: ChangeEvent): ChangeEvent {
    return this.#uses.change(event);
  }

  /** As `named`. */
  namedBoundary(record: TransactionBoundary): TransactionBoundary {
    return this.#uses.boundary(record);
  }

  /** Are its events and boundaries waited for no more? Of what went whole nothing is missed. */
  goesAsItComes(id: string): boolean {
    return this.open.has(id) || this.done.has(id);
  }

  /**
   * Lets it go as it comes. What is to be stored with its boundaries: counts of an END that comes when
   * the connector was restarted inside it would else be taken for all of it.
   */
  giveUp(id: string, hasEnd: boolean): readonly string[] {
    this.open.add(id);
    return !hasEnd || this.done.has(id) || this.#givenUp.has(id) ? [] : [this.#givenUp.noteOf(id)];
  }

  /** Of a transaction that is whole: all goes, but for what went when it was given up. */
  whole(id: string, events: ByPartition): Going {
    if (this.done.has(id)) {
      this.done.add(id);
      return NOTHING;
    }
    this.#givenUp.released();
    const { fresh, notes } = this.#givenUp.has(id)
      ? this.#screen(id, events, false)
      : {
          fresh: [...events.values()].flat(),
          notes: this.#givenUp.closedBy(id, events.keys()),
        };
    return { fresh, notes: [...notes, this.#wentWhole(id)] };
  }

  /** Of one that may not be whole: what never went. `restarted`: the connector was, inside it. */
  unsure(id: string, events: ByPartition, restarted: boolean): Going {
    if (this.done.has(id)) return NOTHING;
    this.#givenUp.released();
    return this.#screen(id, events, restarted);
  }

  #screen(id: string, events: ByPartition, renumbered: boolean): Going {
    return this.#givenUp.screen(id, events, { renumbered, quietly: false });
  }

  /** Of one that goes in parts: what never went. */
  part(id: string, events: ByPartition): Going {
    return this.#givenUp.screen(id, events, { renumbered: false, quietly: true });
  }

  /** All parts went: what is to be stored of it. */
  endOfParts(id: string, isWhole: boolean): readonly string[] {
    this.#givenUp.released();
    if (!isWhole) return [this.#givenUp.noteOf(id)];
    this.#givenUp.forget(id);
    return [this.#wentWhole(id)];
  }

  /** What is to be stored of it: once, though it may come again. */
  #wentWhole(id: string): string {
    this.done.add(id);
    this.#uses.whole(id);
    return wholeText(id, this.#uses.timesOf(id));
  }
}
