/** Lets acts run one after another, in the order they asked. */
export class Mutex {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs `act` when all that asked before have settled. */
  run<T>(act: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(act, act);
    // The next one waits for this one, whatever came of it.
    this.#last = mine.catch(() => undefined);
    return mine;
  }
}
