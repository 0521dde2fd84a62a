/** What a connector sends a second time of rows that may lie in several partitions, without transactions. */
import type { ChangeEvent } from '../change/record.ts';
import type { Lane, Waiting } from './lane.ts';
import { REMEMBERED_IDS } from './recent-ids.ts';
import { isPlaceNote, RepeatedPlaces, type RepeatedPlacesOptions } from './repeated-places.ts';
import { isRowNote, RepeatedRows } from './repeated-rows.ts';
import { isTruncateNote, StoredTruncates } from './stored-truncates.ts';

export interface SecondDeliveriesOptions extends RepeatedPlacesOptions {
  /**
   * May rows of its table lie in several partitions, and why (barriers.ts)? Of others only what a truncate
   * of before removed is passed over.
   */
  readonly spreadOf: (event: ChangeEvent) => 'spelled' | 'keyless' | null;
}

/** Is it a note of this? Ids of transactions, and notes of given-up ones, look otherwise. */
export function isDeliveryNote(text: string): boolean {
  return isPlaceNote(text) || isRowNote(text) || isTruncateNote(text);
}

/** After so many notes those that stay what they are are stored again, before they are forgotten. */
const RENEWED_AFTER = REMEMBERED_IDS / 4;

export class SecondDeliveries {
  readonly #spreadOf: SecondDeliveriesOptions['spreadOf'];
  readonly #places: RepeatedPlaces;
  readonly #rows: RepeatedRows;
  readonly #truncates: StoredTruncates;
  /** Notes since all were stored. */
  #noted = 0;

  /** `stored`: notes, and what else is stored beside them; the oldest first. */
  constructor(options: SecondDeliveriesOptions, stored: readonly string[]) {
    this.#spreadOf = options.spreadOf;
    this.#places = new RepeatedPlaces(options, stored);
    this.#rows = new RepeatedRows(stored);
    this.#truncates = new StoredTruncates(options, stored);
    this.#noted = stored.length;
  }

  /** To be asked of each change once, as it comes: does it come a second time? Null: it is not told here. */
  came({ key }: Lane<ChangeEvent>, event: ChangeEvent): boolean | null {
    if (!isTold(event)) return null;
    const isOver = this.#truncates.isOver(event) || null;
    switch (this.#spreadOf(event)) {
      case 'spelled':
        return this.#places.came(key, event) !== 'new' || isOver === true;
      case 'keyless':
        // Behind what came later the first one was sent, though another partition has it, and it may be unread.
        if (this.#places.came(key, event) !== 'behind') return isOver ?? this.#rows.came(event);
        this.#rows.recognizes(event);
        return true;
      case null:
        return isOver;
    }
  }

  /** To be told of a change that is not to be applied, since what a copy has includes it. */
  skipped(event: ChangeEvent): void {
    if (!isTold(event) || this.#spreadOf(event) !== 'keyless') return;
    if (this.#rows.came(event) === false) this.#rows.went(event);
  }

  /**
   * Of one that comes a second time: may it be passed over? Not before the first one went, so that what
   * partitions have before their positions is what was applied. `unless-unread`: if all has come that was
   * sent before it.
   */
  mayPass(event: ChangeEvent): 'yes' | 'no' | 'unless-unread' {
    if (this.#spreadOf(event) !== 'keyless' || this.#truncates.isOver(event)) return 'yes';
    const first = this.#rows.first(event);
    return first === 'waits' ? 'no' : first === 'went' ? 'yes' : 'unless-unread';
  }

  /** To be told of each change as it goes, or is passed over. */
  went({ key }: Lane<ChangeEvent>, { record, isAgain }: Waiting<ChangeEvent>): void {
    if (!isTold(record)) return;
    if (isAgain !== true) this.#truncates.went(record);
    switch (this.#spreadOf(record)) {
      case 'spelled':
        this.#places.went(key, record);
        return;
      case 'keyless':
        this.#places.went(key, record);
        if (isAgain !== true) this.#rows.went(record);
        return;
      case null:
    }
  }

  /** See Release: of what went since this was asked last. */
  stored(): { readonly places: ReadonlyMap<string, string>; readonly notes: readonly string[] } {
    const notes = this.#rows.notes();
    const all = this.#noted > RENEWED_AFTER;
    const [places, truncates] = [this.#places.notes(all), this.#truncates.notes(all)];
    this.#noted = (all ? 0 : this.#noted) + notes.length + places.size + truncates.size;
    return { places: truncates.size === 0 ? places : new Map([...places, ...truncates]), notes };
  }
}

function isTold(event: ChangeEvent): boolean {
  return event.op !== 'unread' && event.snapshot === 'no';
}
