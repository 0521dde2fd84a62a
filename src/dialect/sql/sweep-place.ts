/** How far a sweep is, as the engines' statements make it and the port hands it on. */

export interface SweepPlace {
  /** `tableName()` of the captured table that it is at. */
  readonly table: string;
  /** What was seen of it: a key, or a page. */
  readonly after: readonly string[];
}

export function placeText({ table, after }: SweepPlace): string {
  return JSON.stringify([table, ...after]);
}

/** Null: at the beginning. */
export function parsePlace(text: string | null): SweepPlace | null {
  if (text === null) return null;
  const [table = '', ...after] = JSON.parse(text) as readonly string[];
  return { table, after };
}
