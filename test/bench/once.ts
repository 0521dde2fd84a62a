/** What several cases use is made once, when it is first asked for. */
export class Once {
  readonly #made = new Map<string, Promise<unknown>>();

  /** What `make` gives, or gave under this name. */
  get<T>(name: string, make: () => Promise<T>): Promise<T> {
    const made = (this.#made.get(name) as Promise<T> | undefined) ?? make();
    this.#made.set(name, made);
    return made;
  }
}
