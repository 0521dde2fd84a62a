/**
 * Cares beside a running follower for what is new: keeps the records of dead letters, tells of them,
 * and keeps the ids of topics.
 */
import { keepLetters } from './letter-keeper.ts';
import { tellLetters } from './letter-teller.ts';
import { keepTopicIds } from './new-topics.ts';
import type { Stage } from './stage.ts';

/** How often it is looked whether there are new ones. */
const LOOK_MS = 1_000;
/** After a failure. */
const PAUSE_MS = 15_000;

/** Topics are new seldom, and who looks for them asks for all. */
const TOPICS_MS = 15_000;

const CARES = [
  { care: keepLetters, everyMs: 0, failed: 'records that were set aside could not be kept' },
  { care: tellLetters, everyMs: 0, failed: 'dead letters could not be told' },
  { care: keepTopicIds, everyMs: TOPICS_MS, failed: 'topics could not be kept' },
] as const;

/** From time to time. What fails is logged and tried again. */
export class LetterTender {
  readonly #stage: Stage;
  #due = performance.now();
  readonly #dueOf = new Map<(typeof CARES)[number], number>();
  #running: Promise<void> | null = null;

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  /** Begins if it is time and nothing is under way. */
  tend(): void {
    if (this.#running !== null || performance.now() < this.#due) return;
    this.#running = this.#care().finally(() => {
      this.#running = null;
    });
  }

  /** Waits for what is under way. */
  async pause(): Promise<void> {
    await this.#running;
  }

  async #care(): Promise<void> {
    const { context, database } = this.#stage;
    this.#due = performance.now() + LOOK_MS;
    for (const one of CARES) {
      const { care, everyMs, failed } = one;
      if (performance.now() < (this.#dueOf.get(one) ?? 0)) continue;
      this.#dueOf.set(one, performance.now() + everyMs);
      try {
        await care(this.#stage);
      } catch (error) {
        if (this.#stage.closed) return;
        this.#dueOf.set(one, performance.now() + PAUSE_MS);
        context.logger.warn(failed, { database: database.name, error });
      }
    }
  }
}
