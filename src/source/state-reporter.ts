import { steadyNow } from '../util/clock.ts';
import type { SourceState } from './change-source.ts';

/** Tells a stream's state to whoever asked for it, once per change. */
export class StateReporter {
  readonly #tell: ((state: SourceState) => void) | undefined;
  #current: SourceState | null = null;

  constructor(tell: ((state: SourceState) => void) | undefined) {
    this.#tell = tell;
  }

  get state(): SourceState['state'] | null {
    return this.#current?.state ?? null;
  }

  /** `since` is kept while only the detail changes. */
  report(state: SourceState['state'], detail: string | null = null): void {
    const before = this.#current;
    if (before !== null && before.state === state && before.detail === detail) return;
    const since = before !== null && before.state === state ? before.since : steadyNow();
    this.#current = { state, since, detail };
    this.#tell?.(this.#current);
  }
}
