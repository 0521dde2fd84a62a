import type { LogRecord } from '../../change/record.ts';

/** Decides when a record of a recording may be handed out. */
export interface PlaybackGate {
  /**
   * Called for each record in recorded order, with its number in the file from 0 on. Undefined
   * lets it pass at once; a promise holds the playback until it resolves.
   */
  pass(index: number, record: LogRecord): Promise<void> | undefined;
}

/** Plays a recording in stages: up to a mark, and on when told to. */
export class StagedGate implements PlaybackGate {
  #mark = Infinity;
  #moved: (() => void)[] = [];
  #arrived: (() => void)[] = [];
  /** Number of the record that waits; null when none does. */
  #waiting: number | null = null;

  /** The record with this number, and all after it, wait. */
  holdAt(index: number): void {
    this.#mark = index;
    this.#wake();
  }

  /** Nothing waits any more, until the next mark. */
  release(): void {
    this.holdAt(Infinity);
  }

  /** Resolves when the playback waits at a mark. Everything before was handed out. */
  async untilHeld(): Promise<void> {
    if (this.#waiting !== null && this.#waiting >= this.#mark) return;
    await new Promise<void>((resolve) => {
      this.#arrived.push(resolve);
    });
  }

  pass(index: number): Promise<void> | undefined {
    return index < this.#mark ? undefined : this.#hold(index);
  }

  async #hold(index: number): Promise<void> {
    while (index >= this.#mark) {
      this.#waiting = index;
      const arrived = this.#arrived;
      this.#arrived = [];
      for (const resolve of arrived) resolve();
      await new Promise<void>((resolve) => {
        this.#moved.push(resolve);
      });
    }
    this.#waiting = null;
  }

  #wake(): void {
    const moved = this.#moved;
    this.#moved = [];
    for (const resolve of moved) resolve();
  }
}
