/**
 * A wake-up call between two loops of one process: `wait` resolves at the next `notify`, or at
 * once if one came since the last `wait`. Exactly one waiter.
 */
export class Wakeup {
  #pending = false;
  #resolve: (() => void) | null = null;

  notify(): void {
    this.#pending = true;
    const resolve = this.#resolve;
    this.#resolve = null;
    resolve?.();
  }

  /** Waits for a notification, at most `timeoutMs`. Returns false when the time ran out. */
  async wait(timeoutMs: number): Promise<boolean> {
    if (!this.#pending) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(() => {
          this.#resolve = null;
          resolve();
        }, timeoutMs);
        this.#resolve = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    const notified = this.#pending;
    this.#pending = false;
    return notified;
  }
}

/** What others wait for may hold now. */
export class News {
  #waiters: (() => void)[] = [];

  tell(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter();
  }

  /** Waits until `condition` holds; it is tested whenever there are news. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        this.#waiters.push(resolve);
      });
    }
  }
}
