import type { ChangeEvent } from '../change/record.ts';
import { GivenUp, isNote } from './given-up.ts';
import { RecentIds } from './recent-ids.ts';

/** What of a transaction goes now, and what is to be stored when it has gone. */
type Going = ReturnType<GivenUp['screen']>;
type ByPartition = ReadonlyMap<string, readonly ChangeEvent[]>;

const NOTHING: Going = { fresh: [], notes: [] };

/** How transactions went that were released. */
export class Outcomes {
  /** Released whole: events of theirs that come later are second deliveries. */
  readonly done: RecentIds;
  /** Given up, or without END: their events go as they come. */
  readonly open: RecentIds;
  readonly #givenUp: GivenUp;

  /** `told`: what was stored of those that former assemblers released, the oldest first. */
  constructor(told: readonly string[]) {
    this.done = new RecentIds(told.filter((text) => !isNote(text)));
    this.#givenUp = new GivenUp(told);
    this.open = new RecentIds(this.#givenUp.ids());
  }

  /** Are its events and boundaries waited for no more? Of what went whole nothing is missed. */
  goesAsItComes(id: string): boolean {
    return this.open.has(id) || this.done.has(id);
  }

  /** Of a transaction that is whole: all goes, but for what went when it was given up. */
  whole(id: string, events: ByPartition): Going {
    const repeated = this.done.has(id);
    this.done.add(id);
    if (repeated) return NOTHING;
    this.#givenUp.released();
    if (this.#givenUp.has(id)) return this.#screen(id, events, false);
    const notes = this.#givenUp.closedBy(id, events.keys());
    return { fresh: [...events.values()].flat(), notes };
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

  /** All parts went. The notes tell of one that may not have been whole. */
  endOfParts(id: string, isWhole: boolean): readonly string[] {
    this.#givenUp.released();
    if (!isWhole) return [this.#givenUp.noteOf(id)];
    this.done.add(id);
    this.#givenUp.forget(id);
    return [];
  }
}
