/** Prints how long each phase of a long test took. */
export class Phases {
  readonly #what: string;
  #since = performance.now();

  /** The first phase begins now. */
  constructor(what: string) {
    this.#what = what;
  }

  /** Ends a phase and begins the next. */
  done(phase: string): void {
    const now = performance.now();
    console.log(`${this.#what}: ${phase} (${((now - this.#since) / 1000).toFixed(1)} s)`);
    this.#since = now;
  }
}
