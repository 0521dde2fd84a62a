/** What somebody decided of rows that refer to none, which are no entry's conflict. */
import type { Side } from '../../overlay/conflict.ts';
import { unreachable } from '../../util/assert.ts';
import type { OverlayConflict, ResolvedRows } from '../overlay.ts';

/** One that stays as it is: of this row, by this foreign key, with these values. */
export interface AcceptedOrphan {
  readonly schema: string;
  readonly name: string;
  readonly reference: string;
  /** JSON: an array of texts. */
  readonly key: string;
  /** JSON: an array of texts. A row that refers to something else is another orphan. */
  readonly referring: string;
}

export function accepting({ table, key, detail, columns }: OverlayConflict): AcceptedOrphan {
  return {
    ...{ schema: table.schema, name: table.name, reference: detail ?? '' },
    key: JSON.stringify(key),
    referring: JSON.stringify(columns.map(({ candidate }) => candidate)),
  };
}

/** Those that are listed no more. */
export class Accepted {
  readonly #known: ReadonlySet<string>;
  /** How many a query has to find more than are asked for. */
  readonly size: number;

  constructor(rows: readonly AcceptedOrphan[]) {
    this.#known = new Set(rows.map(wordOf));
    this.size = rows.length;
  }

  has(orphan: OverlayConflict): boolean {
    return this.#known.has(wordOf(accepting(orphan)));
  }
}

function wordOf({ schema, name, reference, key, referring }: AcceptedOrphan): string {
  return JSON.stringify([schema, name, reference, key, referring]);
}

/** Statements of an engine, in the transaction that resolves. */
export interface OrphanActs {
  /** The selected ones that nobody accepted. */
  read(): Promise<readonly OverlayConflict[]>;
  /** Each with a line in the ledger. */
  accept(orphans: readonly OverlayConflict[]): Promise<void>;
  /** The row, and what it refers to, as far as they are the candidate's. */
  putBack(orphan: OverlayConflict): Promise<void>;
}

/**
 * `ours`: the row stays, and is listed no more; `theirs`: it becomes production's, and so does what it refers to;
 * of a reference there is nothing to merge.
 */
export async function decideOrphans(acts: OrphanActs, side: Side): Promise<ResolvedRows> {
  const found = await acts.read();
  if (found.length === 0) return { resolved: 0, kept: 0 };
  switch (side) {
    case 'merge':
      return { resolved: 0, kept: found.length };
    case 'ours':
      await acts.accept(found);
      return { resolved: found.length, kept: 0 };
    case 'theirs': {
      for (const orphan of found) await acts.putBack(orphan);
      const kept = (await acts.read()).length;
      return { resolved: Math.max(0, found.length - kept), kept };
    }
    default:
      return unreachable(side);
  }
}
