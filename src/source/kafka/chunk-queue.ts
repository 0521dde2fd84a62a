import type { LogChunk } from '../change-source.ts';

/** Places of chunks that were read, of which the list is freed at once. */
const FREED = 64;

/**
 * Hands chunks from the fetchers to the one reader of a stream, in the order they were pushed.
 * Unbounded by itself: the byte budget stops the fetchers. Keeps no chunk that was read: a backlog
 * may never leave it empty.
 */
export class ChunkQueue implements AsyncIterable<LogChunk> {
  #chunks: (LogChunk | undefined)[] = [];
  #at = 0;
  #done = false;
  #failure: unknown = null;
  #wake: (() => void) | null = null;

  push(chunk: LogChunk): void {
    if (this.#done) return;
    this.#chunks.push(chunk);
    this.#notify();
  }

  /** No more chunks; those not yet read are dropped, since nobody will apply them. */
  close(): void {
    if (this.#done) return;
    this.#done = true;
    this.#chunks = [];
    this.#at = 0;
    this.#notify();
  }

  /** The reader gets what was pushed before, then the error. */
  fail(error: unknown): void {
    if (this.#done) return;
    this.#done = true;
    this.#failure = error;
    this.#notify();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<LogChunk> {
    for (;;) {
      const chunk = this.#chunks[this.#at];
      if (chunk !== undefined) {
        this.#chunks[this.#at] = undefined;
        this.#at += 1;
        if (this.#at === this.#chunks.length || this.#at >= FREED) {
          this.#chunks.splice(0, this.#at);
          this.#at = 0;
        }
        yield chunk;
      } else if (this.#done) {
        if (this.#failure !== null) throw this.#failure;
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }
}
