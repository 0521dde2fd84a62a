/** How long a batch is refused by locks of the candidate's before the keys that are locked wait instead. */
import { isUnderstudyError } from '../../errors/understudy-error.ts';
import { steadyNow } from '../../util/clock.ts';

/** An applier gives way to what a candidate is just doing, which is over soon as a rule. */
const PATIENCE_MS = 1_000;
/** Of a part of a large transaction, whose own locks may be in the candidate's way: see persistPart. */
export const PART_PATIENCE_MS = 200;

export class LockPatience {
  readonly #isBlocked: (error: unknown) => boolean;
  readonly #patienceMs: number;
  #since: number | null = null;

  /** `isBlocked`: by the server's word, it met a lock, a deadlock or a moved row. */
  constructor(isBlocked: (error: unknown) => boolean, patienceMs = PATIENCE_MS) {
    this.#isBlocked = isBlocked;
    this.#patienceMs = patienceMs;
  }

  /** Runs one try of an act, which is told whether locked keys are to wait. */
  async try<T>(act: (parks: boolean) => Promise<T>): Promise<T> {
    const isOver = this.#since !== null && steadyNow() - this.#since > this.#patienceMs;
    try {
      const done = await act(isOver);
      this.#since = null;
      return done;
    } catch (error) {
      const isBlocked = isUnderstudyError(error, 'APPLY_BLOCKED') || this.#isBlocked(error);
      if (isBlocked) this.#since ??= steadyNow();
      throw error;
    }
  }
}
