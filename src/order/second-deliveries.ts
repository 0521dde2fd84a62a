/** What a connector sends a second time of rows that may lie in several partitions, without transactions. */
import type { ChangeEvent } from '../change/record.ts';
import type { Lane, Waiting } from './lane.ts';
import { isPlaceNote, RepeatedPlaces, type RepeatedPlacesOptions } from './repeated-places.ts';
import { isRowNote, RepeatedRows } from './repeated-rows.ts';

export interface SecondDeliveriesOptions extends RepeatedPlacesOptions {
  /**
   * May rows of its table lie in several partitions, and why (barriers.ts)? Only of such anything is
   * passed over.
   */
  readonly spreadOf: (event: ChangeEvent) => 'spelled' | 'keyless' | null;
}

/** Is it a note of this? Ids of transactions, and notes of given-up ones, look otherwise. */
export function isDeliveryNote(text: string): boolean {
  return isPlaceNote(text) || isRowNote(text);
}

export class SecondDeliveries {
  readonly #spreadOf: SecondDeliveriesOptions['spreadOf'];
  readonly #places: RepeatedPlaces;
  readonly #rows: RepeatedRows;

  /** `stored`: notes, and what else is stored beside them; the oldest first. */
  constructor(options: SecondDeliveriesOptions, stored: readonly string[]) {
    this.#spreadOf = options.spreadOf;
    this.#places = new RepeatedPlaces(options, stored);
    this.#rows = new RepeatedRows(stored);
  }

  /** To be asked of each change once, as it comes: does it come a second time? Null: it is not told here. */
  came({ key }: Lane<ChangeEvent>, event: ChangeEvent): boolean | null {
    switch (this.#told(event)) {
      case 'spelled':
        return this.#places.came(key, event) !== 'new';
      case 'keyless':
        // Behind what came later the first one was sent, though another partition has it, and it may be unread.
        return this.#places.came(key, event) === 'behind' || this.#rows.came(event);
      case null:
        return null;
    }
  }

  /**
   * Of one that comes a second time: may it be passed over? Not before the first one went, so that what
   * partitions have before their positions is what was applied. `unless-unread`: if all has come that was
   * sent before it.
   */
  mayPass(event: ChangeEvent): 'yes' | 'no' | 'unless-unread' {
    if (this.#told(event) !== 'keyless') return 'yes';
    const first = this.#rows.first(event);
    return first === 'waits' ? 'no' : first === 'went' ? 'yes' : 'unless-unread';
  }

  /** To be told of each change as it goes, or is passed over. */
  went({ key }: Lane<ChangeEvent>, { record, isAgain }: Waiting<ChangeEvent>): void {
    switch (this.#told(record)) {
      case 'spelled':
        this.#places.went(key, record);
        return;
      case 'keyless':
        this.#places.went(key, record);
        if (isAgain === false) this.#rows.went(record);
        return;
      case null:
    }
  }

  /** See Release: of what went since this was asked last. */
  stored(): { readonly places: ReadonlyMap<string, string>; readonly notes: readonly string[] } {
    return { places: this.#places.notes(), notes: this.#rows.notes() };
  }

  #told(event: ChangeEvent): ReturnType<SecondDeliveriesOptions['spreadOf']> {
    return event.op === 'unread' || event.snapshot !== 'no' ? null : this.#spreadOf(event);
  }
}
