/** What is done from time to time beside a running follower. */
import type { Stage } from './stage.ts';

export interface Care {
  /** Does it, or a part of it until the signal comes. Returns in how long it is due again. */
  readonly act: (signal: AbortSignal) => Promise<number>;
  /** For the log, when it failed. */
  readonly failed: string;
  /** After a failure. */
  readonly pauseMs: number;
}

/** One care for one stage. What fails is logged and tried again. */
export class Beside {
  readonly #stage: Stage;
  readonly #care: Care;
  #due = performance.now();
  #running: { readonly done: Promise<void>; readonly stop: AbortController } | null = null;

  constructor(stage: Stage, care: Care) {
    this.#stage = stage;
    this.#care = care;
  }

  /** Begins if it is time and nothing is under way. */
  tend(): void {
    if (this.#running !== null || performance.now() < this.#due) return;
    const stop = new AbortController();
    const done = this.#act(stop.signal).finally(() => {
      this.#running = null;
    });
    this.#running = { done, stop };
  }

  /** Lets what is under way end its part; the rest is done later. */
  async pause(): Promise<void> {
    this.#running?.stop.abort();
    await this.#running?.done;
  }

  async #act(signal: AbortSignal): Promise<void> {
    const { context, database } = this.#stage;
    const { act, failed, pauseMs } = this.#care;
    try {
      const dueMs = await act(signal);
      this.#due = performance.now() + dueMs;
    } catch (error) {
      if (this.#stage.closed) return;
      this.#due = performance.now() + pauseMs;
      context.logger.warn(failed, { database: database.name, error });
    }
  }
}
