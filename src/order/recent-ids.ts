/**
 * How many ids are remembered. After a crash a connector delivers again what it wrote since it last
 * saved its offsets, by default up to a minute: of 1,600 transactions a second. It is far less than
 * the four billion after which PostgreSQL uses an id again.
 */
export const REMEMBERED_IDS = 100_000;

/** A set that remembers the last ids only: transaction ids are used again one day. */
export class RecentIds {
  readonly #ids = new Set<string>();

  /** `ids`: the oldest first. */
  constructor(ids: Iterable<string> = []) {
    for (const id of ids) this.add(id);
  }

  has(id: string): boolean {
    return this.#ids.has(id);
  }

  add(id: string): void {
    this.#ids.delete(id);
    this.#ids.add(id);
    if (this.#ids.size > REMEMBERED_IDS) deleteOldest(this.#ids);
  }
}

/** Deletes what was put into a map or a set first. */
export function deleteOldest(from: Map<string, unknown> | Set<string>): void {
  for (const oldest of from.keys()) {
    from.delete(oldest);
    return;
  }
}
