/** What somebody decided of rows that refer to none, which are no entry's conflict. */
import { tableName, type TableId } from '../../change/table-id.ts';
import type { TableSchema } from '../../schema/table-schema.ts';
import type { Side } from '../../overlay/conflict.ts';
import { unreachable } from '../../util/assert.ts';
import type { OverlayConflict, ResolvedRows, RowSelection } from '../overlay.ts';
import { isApart, selectTables, type ReadTable } from './overlay-rows.ts';

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

/**
 * What a reset makes forget: of one row what was decided of it, else all of these tables and of those that refer to
 * them. What is listed then is another event.
 */
export function forgottenBy(
  all: readonly { readonly schema: TableSchema }[],
  reset: readonly { readonly schema: TableSchema }[],
  { key }: RowSelection,
): readonly { readonly table: TableId; readonly key: string | null }[] {
  if (key !== undefined) {
    return reset.map(({ schema }) => ({ table: schema.id, key: JSON.stringify(key) }));
  }
  const labels = new Set(reset.map(({ schema }) => tableName(schema.id)));
  return all
    .filter(
      ({ schema }) =>
        labels.has(tableName(schema.id)) ||
        schema.foreignKeys.some(({ references }) => labels.has(tableName(references))),
    )
    .map(({ schema }) => ({ table: schema.id, key: null }));
}

/** Statements of an engine, in the transaction that resolves. */
export interface OrphanActs {
  /** The selected ones that nobody accepted, of each foreign key at most `limit`. */
  read(limit: number): Promise<readonly OverlayConflict[]>;
  /** Each with a line in the ledger. */
  accept(orphans: readonly OverlayConflict[]): Promise<void>;
  /**
   * Of one foreign key of a table: the rows, and what they refer to, as far as they are the candidate's. Not what
   * is kept apart.
   */
  putBack(orphans: readonly OverlayConflict[]): Promise<void>;
}

/** Of each foreign key, in one act. */
const MOST = 100_000;

/**
 * Of tables that are kept apart none, unless one is named. `ours`: the row stays, and is listed no more; `theirs`: it becomes production's, and so does what it refers to;
 * of a reference there is nothing to merge.
 */
export async function decideOrphans(
  acts: OrphanActs,
  tables: readonly (ReadTable & { readonly isolated: boolean })[],
  only: RowSelection,
  side: Side,
): Promise<ResolvedRows> {
  const labels = new Set(selectTables(tables, only, isApart).map(({ label }) => label));
  const read = async (): Promise<readonly OverlayConflict[]> =>
    (await acts.read(MOST)).filter(({ table }) => labels.has(tableName(table)));
  const found = await read();
  if (found.length === 0) return { resolved: 0, kept: 0 };
  switch (side) {
    case 'merge':
      return { resolved: 0, kept: found.length };
    case 'ours':
      await acts.accept(found);
      return { resolved: found.length, kept: 0 };
    case 'theirs': {
      const groups = Map.groupBy(found, ({ table, detail }) =>
        JSON.stringify([tableName(table), detail]),
      );
      for (const orphans of groups.values()) await acts.putBack(orphans);
      const kept = (await read()).length;
      return { resolved: Math.max(0, found.length - kept), kept };
    }
    default:
      return unreachable(side);
  }
}
