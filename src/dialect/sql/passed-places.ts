/**
 * Where production's log stood when a candidate first wrote a row: places are noted as they are passed, by the
 * server's clock, and looked up by when the row was written. No trigger asks for them.
 */
import { steadyNow } from '../../util/clock.ts';

/** A place that is looked up was passed so long before, at most; longer where production wrote nothing. */
const APART_MS = 5_000;

/** Of one process's sessions on a database: when the next place is to be noted. */
export class PassedPlaces {
  #notedAt: number | null = null;

  /** Notes with the first batch that is applied, and then now and then. */
  async noted(isRollout: boolean, note: () => Promise<unknown>): Promise<void> {
    if (!isRollout) return;
    if (this.#notedAt !== null && steadyNow() - this.#notedAt < APART_MS) return;
    await note();
    this.#notedAt = steadyNow();
  }
}
