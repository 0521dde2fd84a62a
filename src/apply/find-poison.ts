/** Finds out which rows of a refused batch are to blame, by trying without some of them. */

/** Changes that stand or fall together: of one row, or of rows whose keys changed into each other. */
export interface Unit<Change> {
  /** In order; at least one. */
  readonly changes: readonly Change[];
  /** They concern one key, so that the first of them make sense without the others. */
  readonly single: boolean;
}

export interface Poison<Change, Refusal> {
  readonly change: Change;
  readonly refusal: Refusal;
}

/** Units to blame up to which all choices among them are tried. */
const FEW = 6;

/**
 * The first change of each unit that cannot be written, so that the batch can be without them and
 * what comes after them in their units. No fewer would do by itself: with any one of the units
 * whole, the batch is refused. A row that is refused only because another one is missing is blamed
 * only where no smaller choice is found.
 *
 * `refused` tells why the batch without some changes cannot be written, null if it can; it is asked
 * about `k · log n` times. Null if the batch is refused without all units too.
 */
export async function findPoison<Change, Refusal>(
  units: readonly Unit<Change>[],
  refused: (without: ReadonlySet<Change>) => Promise<Refusal | null>,
): Promise<readonly Poison<Change, Refusal>[] | null> {
  return new Search(units, refused).run();
}

class Search<Change, Refusal> {
  readonly #units: readonly Unit<Change>[];
  readonly #refused: (without: ReadonlySet<Change>) => Promise<Refusal | null>;

  constructor(
    units: readonly Unit<Change>[],
    refused: (without: ReadonlySet<Change>) => Promise<Refusal | null>,
  ) {
    this.#units = units;
    this.#refused = refused;
  }

  async run(): Promise<readonly Poison<Change, Refusal>[] | null> {
    const all = new Set(this.#units);
    if ((await this.#without(all)) !== null) return null;
    let blamed = await this.#narrow([...this.#units], all);
    // What was refused for want of others may do now that they are in.
    for (let before = Infinity; blamed.length > 1 && blamed.length < before;) {
      before = blamed.length;
      blamed = await this.#narrow(blamed, new Set(blamed));
    }
    if (blamed.length > 1 && blamed.length <= FEW) blamed = await this.#fewest(blamed);
    return this.#name(blamed);
  }

  /** Why it cannot be written without these units. */
  #without(units: Iterable<Unit<Change>>): Promise<Refusal | null> {
    return this.#refused(new Set([...units].flatMap(({ changes }) => changes)));
  }

  /** Those of `suspects` that cannot be taken in. Without all of `out` it can be written. */
  async #narrow(
    suspects: readonly Unit<Change>[],
    out: ReadonlySet<Unit<Change>>,
  ): Promise<readonly Unit<Change>[]> {
    const rest = new Set(out);
    for (const unit of suspects) rest.delete(unit);
    if (suspects.length === 0 || (await this.#without(rest)) === null) return [];
    if (suspects.length === 1) return suspects;
    const middle = suspects.length >>> 1;
    const left = await this.#narrow(suspects.slice(0, middle), out);
    const without = new Set(out);
    for (const unit of suspects.slice(0, middle)) if (!left.includes(unit)) without.delete(unit);
    return [...left, ...(await this.#narrow(suspects.slice(middle), without))];
  }

  /** The smallest choice of `blamed` without which it can be written. */
  async #fewest(blamed: readonly Unit<Change>[]): Promise<readonly Unit<Change>[]> {
    const choices = Array.from({ length: 2 ** blamed.length - 2 }, (_, i) =>
      blamed.filter((_unit, bit) => (((i + 1) >>> bit) & 1) === 1),
    );
    choices.sort((a, b) => a.length - b.length);
    for (const choice of choices) if ((await this.#without(choice)) === null) return choice;
    return blamed;
  }

  async #name(blamed: readonly Unit<Change>[]): Promise<readonly Poison<Change, Refusal>[]> {
    const found: Poison<Change, Refusal>[] = [];
    const out = new Set(blamed.flatMap(({ changes }) => changes));
    for (const unit of blamed) {
      const { changes, single } = unit;
      // How many of the changes can be written, and how many cannot.
      let [can, cannot] = [0, changes.length];
      let refusal = await this.#with(out, changes, cannot);
      while (single && refusal !== null && cannot - can > 1) {
        const middle = (can + cannot) >>> 1;
        const why = await this.#with(out, changes, middle);
        if (why === null) can = middle;
        else [cannot, refusal] = [middle, why];
      }
      const change = changes[can];
      if (change === undefined || refusal === null) continue;
      for (const good of changes.slice(0, can)) out.delete(good);
      found.push({ change, refusal });
    }
    return found;
  }

  /** Why it cannot be written with the first `count` of the changes besides. */
  #with(
    out: ReadonlySet<Change>,
    changes: readonly Change[],
    count: number,
  ): Promise<Refusal | null> {
    const without = new Set(out);
    for (const change of changes.slice(0, count)) without.delete(change);
    return this.#refused(without);
  }
}
