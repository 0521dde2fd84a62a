/**
 * Which changes of rows are to be kept in order with other partitions, where no transactions are.
 *
 * A row's key says which partition it is in, so that its changes come in order. Two cases are not so:
 * a key that can be spelled in several ways ('a' and 'A' under a collation that ignores case) names one
 * row in as many partitions, and rows of a table without key are in any. There what takes a row away has
 * its place among the rows of all partitions: 'a' is gone before 'A' comes, and a row comes before it
 * goes. Halves of key changes go together anyway (key-changes.ts).
 */
import type { ChangeEvent } from '../change/record.ts';
import { tableName } from '../change/table-id.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';

export interface Spread {
  /** For SourceOrderOptions. */
  readonly isBarrier: (event: ChangeEvent) => boolean;
  /** Which of these is the table of? Null: its rows lie in one partition each. */
  readonly spreadOf: (event: ChangeEvent) => 'spelled' | 'keyless' | null;
}

/** `exact`: tables (by `tableName()`) of whose keys each has one spelling. */
export function barriersOf(catalogue: SchemaCatalogue, exact: ReadonlySet<string>): Spread {
  /** A table's events share its id. */
  const known = new WeakMap<ChangeEvent['table'], boolean | null>();
  /** Null: none of its keys lies in two partitions. True: it has no key. */
  const kindOf = (id: ChangeEvent['table']): boolean | null => {
    const found = known.get(id);
    if (found !== undefined) return found;
    const named = catalogue.get(tableName(id));
    const root = named?.partitionOf && catalogue.get(tableName(named.partitionOf));
    const table = root ?? named;
    const isKeyless = table?.key.length === 0;
    const kind =
      table === undefined || (!isKeyless && exact.has(tableName(table.id))) ? null : isKeyless;
    known.set(id, kind);
    return kind;
  };
  return {
    isBarrier: ({ op, table, newKey }) => {
      if (op !== 'delete' && op !== 'update') return false;
      const isKeyless = kindOf(table);
      if (isKeyless === null) return false;
      return isKeyless || (op === 'delete' && newKey === null);
    },
    spreadOf: ({ table }) => {
      const isKeyless = kindOf(table);
      return isKeyless === null ? null : isKeyless ? 'keyless' : 'spelled';
    },
  };
}
