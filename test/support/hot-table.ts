/**
 * The table of the overlay's torture: one model (overlay-fire.ts), keys and constraints of several kinds. A row of
 * the model has a number; where a key's spelling is free, `a` is told by how it is spelled.
 */
import { RowShape } from '../../src/change/value.ts';
import type { NetChange } from '../../src/order/change-batch.ts';
import type { HotChange, HotRow } from './overlay-fire.ts';

export interface HotTable {
  readonly definition: string;
  /** Names of the key's columns. */
  readonly key: readonly string[];
  /** Their values. */
  readonly keyOf: (id: number, a: string) => readonly string[];
  /** Of a row with these columns, SQL. */
  readonly id: (column: (name: string) => string) => string;
  readonly a: (column: (name: string) => string) => string;
  /** There is a column for `a`. */
  readonly hasA: boolean;
  /** `c` is unique, by itself or with a condition. */
  readonly unique?: true;
  /** Of two rows with different keys; by default if they have the same `c`. */
  readonly collide?: (one: HotRow, other: HotRow) => boolean;
}

/** Its rows and entries by key, as SQL. */
export function sameKey({ key }: HotTable, left: string, right: string): string {
  return key.map((name) => `${left}.${name} = ${right}.${name}`).join(' AND ');
}

/** As the product takes it. */
export function netChange(table: HotTable, { id, row, partial, from }: HotChange): NetChange {
  const key = table.keyOf(id, row?.a ?? '0');
  if (row === null) return { kind: 'delete', key };
  const own = table.hasA ? ['a'] : [];
  const names = partial ? [...table.key, 'b'] : [...table.key, ...own, 'b', 'c'];
  const rest = partial ? [row.b] : [...(table.hasA ? [row.a] : []), row.b, row.c];
  const image = { shape: new RowShape(names), values: [...key, ...rest] };
  return {
    ...{ kind: 'upsert', key, complete: !partial, image },
    from: table.keyOf(from, row.a),
  };
}

/** How letters of a key are spelled, as bits of `a`; past the last letter there may be a space. */
export function spelling(letters: string, a: string): { word: string; space: boolean } {
  const is = (i: number): boolean => ((Number(a) >> i) & 1) === 1;
  const word = Array.from(letters, (letter, i) => (is(i) ? letter.toUpperCase() : letter));
  return { word: word.join(''), space: is(letters.length) };
}
