import type { OffsetMap } from '../../change/position.ts';
import { sleep } from '../../util/wait.ts';
import { classifyFailure } from './failures.ts';

/**
 * Sends the latest offsets to the consumer group, at most once per interval: they only serve lag
 * tools, and the database's own position is what counts. A failed commit is told and tried again
 * with the next one; it never stops the stream.
 */
export class Committer {
  readonly #everyMs: number;
  readonly #send: (offsets: OffsetMap) => Promise<void>;
  readonly #told: (trouble: string | null) => void;
  #latest: OffsetMap | null = null;

  constructor(options: {
    readonly everyMs: number;
    readonly send: (offsets: OffsetMap) => Promise<void>;
    /** What is wrong with the commits; null when they work. */
    readonly told: (trouble: string | null) => void;
  }) {
    this.#everyMs = options.everyMs;
    this.#send = options.send;
    this.#told = options.told;
  }

  offer(offsets: OffsetMap): void {
    this.#latest = offsets;
  }

  /** Sends what is offered until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.flush();
      // The signal's reason is the caller's own; the loop condition ends the loop.
      await sleep(this.#everyMs, signal).catch(() => undefined);
    }
  }

  async flush(): Promise<void> {
    const offsets = this.#latest;
    if (offsets === null || offsets.size === 0) return;
    this.#latest = null;
    try {
      await this.#send(offsets);
      this.#told(null);
    } catch (error) {
      this.#latest ??= offsets;
      this.#told(describeTrouble(error));
    }
  }
}

function describeTrouble(error: unknown): string {
  const failure = classifyFailure(error);
  switch (failure.kind) {
    case 'foreign-member':
      return (
        'offsets are not committed: a consumer that is not understudy is a member of the ' +
        'consumer group; nothing is lost, but lag tools do not see our progress'
      );
    case 'ours':
      return `offsets are not committed: ${failure.error.message}`;
    case 'refused':
    case 'unexpected':
    case 'unreachable':
      return `offsets are not committed: ${failure.detail}`;
  }
}
