/**
 * What the candidate must see of a row that it owns, under a policy: by playing again what became of it. All of
 * that is noted in one order, by numbers that are taken while the row, or its entry, is locked: what the
 * candidate wrote (by itself, as in storm.ts), and what became of production's image beside it (by triggers on
 * the journal, in the transaction of whoever moves it).
 *
 * The rules are those of the README, and not how a dialect comes to it: production's change of a row goes column
 * by column into a row that both have, and nowhere else.
 */
import { deepStrictEqual, fail, strictEqual } from 'node:assert/strict';
import { columnPolicy, type TablePolicy } from '../../../src/overlay/policy.ts';
import { isEqual, type HotRow } from '../overlay-fire.ts';

/**
 * - `own`, `base`, `gone`: an entry came with this image of production's, came to have it, or went with it
 * - `put`, `delete`: the candidate came to have this row, or deleted it
 * - `reset`, `done`: what puts rows back began, and was over
 */
export interface Noted {
  readonly seq: number;
  /** 0: of all rows. */
  readonly id: number;
  readonly kind: 'own' | 'base' | 'gone' | 'put' | 'delete' | 'reset' | 'done';
  readonly row: HotRow | null;
  /** Of a put, what was written: see `Wrote`. Of an entry `blocked`, if it is of a row that is kept out. */
  readonly how: string;
}

/**
 * What a statement wrote: columns, and how much was added to `a`. A whole row where there was none; or that one,
 * or these columns.
 */
export interface Wrote {
  readonly columns: readonly ('b' | 'c')[];
  readonly added: number;
  readonly inserts: 'never' | 'always' | 'where there is none';
}

export const wroteAs = ({ columns, added, inserts }: Wrote): string =>
  [columns.join('') || '-', String(added), inserts].join('|');

function readWrote(how: string): Wrote {
  const [columns = '', added = '0', inserts = 'never'] = how.split('|');
  return {
    columns: (['b', 'c'] as const).filter((name) => columns.includes(name)),
    added: Number(added),
    inserts: inserts as Wrote['inserts'],
  };
}

/** What may be seen; null: nothing is known of it. */
type Seen = readonly (HotRow | null)[] | null;

interface State {
  readonly base: HotRow | null;
  readonly seen: Seen;
}

export class Replay {
  readonly #policy: TablePolicy;
  /** The table may refuse a row that is merged. */
  readonly #refuses: boolean;
  readonly #states = new Map<number, State>();
  #all = false;
  readonly #resetting = new Set<number>();

  constructor(policy: TablePolicy, refuses: boolean) {
    this.#policy = policy;
    this.#refuses = refuses;
  }

  /** In the order of their numbers. */
  play(noted: readonly Noted[]): this {
    for (const one of noted) this.#take(one);
    return this;
  }

  /** Of a row that is owned. `actual`: what there is, where more than that would be right, or nothing is known. */
  seen(id: number, actual: HotRow | null): HotRow | null {
    const state = this.#states.get(id);
    if (state === undefined) return fail(`row ${String(id)} is owned, and no entry was made`);
    const { seen } = state;
    if (seen === null) return actual;
    return seen.find((row) => isEqual(row, actual)) ?? seen[0] ?? null;
  }

  #take({ id, kind, row, how }: Noted): void {
    switch (kind) {
      case 'reset':
      case 'done':
        if (id === 0) this.#all = kind === 'reset';
        else if (kind === 'reset') this.#resetting.add(id);
        else this.#resetting.delete(id);
        return;
      case 'own':
        // The candidate is about to write it, and finds production's row; or it is production's, and kept out.
        this.#states.set(id, { base: row, seen: how === 'blocked' ? null : [row] });
        return;
      case 'base':
        this.#move(id, row);
        return;
      case 'gone':
        this.#giveUp(id, row);
        return;
      case 'delete':
      case 'put':
        this.#write(id, kind === 'put' ? row : null, { how, was: kind === 'delete' ? row : null });
        return;
      default:
        fail(`what is ${String(kind)}?`);
    }
  }

  #write(
    id: number,
    row: HotRow | null,
    { how, was }: { readonly how: string; readonly was: HotRow | null },
  ): void {
    const state = this.#states.get(id);
    if (state === undefined) return fail(`row ${String(id)} is written, and has no entry`);
    const { base, seen } = state;
    if (seen !== null) {
      const found = row === null ? was : row;
      const wrote = readWrote(row === null ? '' : how);
      const fits = seen.some((one) => {
        if (one === null) return row !== null && wrote.inserts !== 'never';
        return wrote.inserts !== 'always' && isEqual(found, writtenOver(one, found, wrote));
      });
      if (!fits) {
        deepStrictEqual(
          [id, found],
          [id, seen],
          `row ${String(id)} is, where the candidate comes to it (${how}), what it must see`,
        );
      }
    }
    this.#states.set(id, { base, seen: [row] });
  }

  #move(id: number, next: HotRow | null): void {
    const state = this.#states.get(id);
    if (state === undefined) return fail(`the image of row ${String(id)} moves without an entry`);
    strictEqual(this.#policy.rows, 'overlay-wins', `row ${String(id)} is production’s again`);
    const { base, seen } = state;
    const become = (row: HotRow | null): readonly (HotRow | null)[] => {
      if (row === null || base === null || next === null) return [row];
      const merged = this.#merge(row, base, next);
      return this.#refuses ? [merged, row] : [merged];
    };
    this.#states.set(id, { base: next, seen: seen?.flatMap(become) ?? null });
  }

  #merge(ours: HotRow, base: HotRow, theirs: HotRow): HotRow {
    const of = <T extends string | null>(name: 'a' | 'b' | 'c', pick: (row: HotRow) => T): T => {
      const [mine, was, is] = [pick(ours), pick(base), pick(theirs)];
      if (was === is) return mine;
      switch (columnPolicy(this.#policy, name)) {
        case 'overlay-wins':
          return mine;
        case 'source-wins':
          return is;
        case 'merge':
          return mine === was ? is : mine;
        case 'delta':
          return String(Number(mine) + Number(is) - Number(was)) as T;
        default:
          return fail('there is no such policy');
      }
    };
    return {
      a: of('a', ({ a }) => a),
      b: of('b', ({ b }) => b),
      c: of('c', ({ c }) => c),
    };
  }

  /** Only what is production's again, unless somebody puts it back or its table is production's. */
  #giveUp(id: number, base: HotRow | null): void {
    const state = this.#states.get(id);
    this.#states.delete(id);
    if (state === undefined || state.seen === null || this.#policy.rows === 'source-wins') return;
    if (this.#all || this.#resetting.has(id)) return;
    if (state.seen.some((row) => isEqual(row, base))) return;
    deepStrictEqual([id, state.seen], [id, base], `row ${String(id)} was taken from the candidate`);
  }
}

function writtenOver(row: HotRow, written: HotRow | null, wrote: Wrote): HotRow {
  const set = (name: 'b' | 'c'): boolean => wrote.columns.includes(name);
  return {
    a: String(Number(row.a) + wrote.added),
    b: set('b') ? (written?.b ?? '') : row.b,
    c: set('c') ? (written?.c ?? null) : row.c,
  };
}
