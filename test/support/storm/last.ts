/** What may have become of what the candidate wrote last to a row. */
import { ok, strictEqual } from 'node:assert/strict';
import { isEqual, type Fire, type LastWrite } from '../overlay-fire.ts';
import { shownBy, type SeenRow, type Shape } from './shape.ts';

export interface Written extends LastWrite {
  readonly x: string | null;
  readonly seq: number;
}

/**
 * After which batches the changes of which keys waited. Until they are written, production's row of before is
 * what the candidate has: what it comes back to is given up by right, though production had moved on.
 */
export class Waits {
  readonly #after = new Map<number, Set<number>>();

  note(batch: number, ids: readonly number[]): void {
    for (const id of ids) {
      const after = this.#after.get(id) ?? new Set();
      this.#after.set(id, after.add(batch));
    }
  }

  /** The last batch up to this one that the key did not wait after. */
  lastWritten(id: number, batch: number): number {
    const after = this.#after.get(id);
    let last = batch;
    while (after?.has(last) === true) last -= 1;
    return last;
  }
}

export class Last {
  readonly #fire: Fire;
  readonly #shape: Shape;
  readonly #waits: Waits;
  readonly #seen: ReadonlyMap<number, SeenRow>;
  readonly #batches: readonly (readonly [seq: number, batch: number])[];
  /** By id, 0 for all: the last reset. */
  readonly #resets = new Map<number, number>();

  constructor(
    { fire, shape, waits }: { readonly fire: Fire; readonly shape: Shape; readonly waits: Waits },
    marks: readonly (readonly (string | null)[])[],
    visible: readonly SeenRow[],
  ) {
    this.#fire = fire;
    this.#shape = shape;
    this.#waits = waits;
    this.#seen = new Map(visible.map((row) => [row.id, row]));
    this.#batches = marks.flatMap(([kind, id, seq]) =>
      kind === 'batch' ? [[Number(seq), Number(id)] as const] : [],
    );
    for (const [kind, id, seq] of marks) {
      if (kind !== 'reset') continue;
      this.#resets.set(Number(id), Math.max(Number(seq), this.#resets.get(Number(id)) ?? 0));
    }
  }

  /** Its own column is as it was written, too. Not known of rows written before there was one. */
  assertOwn({ id, kind, x }: Written): void {
    const { own } = this.#shape;
    if (kind !== 'put' || own === null || x?.startsWith(`${own}=`) !== true) return;
    strictEqual(this.#seen.get(id)?.x, x, `row ${String(id)} has the candidate’s own column`);
  }

  /** There is no entry: it was reset, or was production's at some time since. */
  assertGivenUp({ id, kind, a, b, c, seq }: Written): void {
    const wasReset = seq < Math.max(this.#resets.get(0) ?? 0, this.#resets.get(id) ?? 0);
    const before = Math.max(0, ...this.#batches.flatMap(([at, n]) => (at < seq ? [n] : [])));
    const since = this.#waits.lastWritten(id, before);
    const row = kind === 'delete' ? null : { a, b, c };
    const was = this.#fire.had(id, row, { since, shown: shownBy(this.#shape) });
    ok(wasReset || was, `row ${String(id)}, which the candidate wrote, was taken from it`);
  }

  /** A row that was kept out, beside a former one that is seen: a migration makes that the candidate's. */
  adopted(id: number, written: Written | undefined): LastWrite | null {
    const seen = this.#seen.get(id);
    if (seen === undefined) return null;
    const isWritten = written?.kind === 'put' && isEqual(written, seen);
    const was = this.#fire.had(id, seen, { shown: shownBy(this.#shape) });
    return isWritten || !was ? null : { ...seen, kind: 'put' };
  }
}
