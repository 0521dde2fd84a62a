import type { PassedOver } from '../change/record.ts';
import { deleteOldest } from './recent-ids.ts';

/** So many are remembered, of which each waits for its END. */
const MOST = 10_000;

/**
 * Of transactions, the tables of which records were passed over: they are of tables of before, whose names
 * others have. Their ENDs count them, and they do not come.
 */
export class PassedOverRecords {
  readonly #collections = new Map<string, Set<string>>();

  add({ transaction, collection }: PassedOver): void {
    const known = this.#collections.get(transaction) ?? new Set();
    this.#collections.set(transaction, known.add(collection));
    if (this.#collections.size > MOST) deleteOldest(this.#collections);
  }

  /** Were there any of this collection in the transaction? Then no others of it were. */
  has(transaction: string, collection: string): boolean {
    return this.#collections.get(transaction)?.has(collection) === true;
  }
}
