/**
 * One table: leaves, then the rows of leaves that differ, then the columns of rows that differ.
 * Every row is hashed once per side; only what differs is read again.
 */
import { tableName } from '../change/table-id.ts';
import type { LeafHash, RowHash, RowText, TableReader } from '../dialect/dialect.ts';
import type { ColumnDifference, RowDifference } from '../report/drift-report.ts';
import type { PlacedLeaf, ReferenceTable } from './reference.ts';

export interface CompareLimits {
  /** Rows of a leaf. */
  readonly leafRows: number;
  /** Differing rows listed per table. All are counted, as far as the next limit lets them. */
  readonly listedRows: number;
  /** Rows read again per table to find the differing ones. */
  readonly searchedRows: number;
}

export interface TableComparison {
  readonly rows: number;
  readonly leaves: number;
  readonly differingLeaves: number;
  readonly missing: number;
  readonly extra: number;
  readonly changed: number;
  /** False if some differing leaf was not searched. */
  readonly complete: boolean;
  readonly differences: readonly RowDifference[];
}

export interface CompareTableOptions {
  readonly reference: ReferenceTable;
  readonly base: TableReader;
  readonly limits: CompareLimits;
  readonly showValues: boolean;
  readonly signal: AbortSignal;
  readonly onRows: (rows: number) => void;
}

/** Leaves searched together. */
const LEAVES_PER_SEARCH = 8;

export async function compareTable(options: CompareTableOptions): Promise<TableComparison> {
  const { reference, base, limits } = options;
  let rows = 0;
  let leaves = 0;
  const differing: PlacedLeaf[] = [];
  for await (const group of readAhead(reference.leaves(limits.leafRows))) {
    let i = 0;
    for await (const hashes of base.hashLeaves(reference.table, group)) {
      options.signal.throwIfAborted();
      for (const found of hashes) {
        const leaf = group[i];
        i += 1;
        if (leaf === undefined) throw new Error('more leaf hashes than leaves');
        if (!sameHash(leaf, found)) {
          differing.push({ ...leaf, index: leaves, rows: Math.max(leaf.rows, found.rows) });
        }
        rows += leaf.rows;
        leaves += 1;
        options.onRows(leaf.rows);
      }
    }
    if (i !== group.length) throw new Error('fewer leaf hashes than leaves');
  }
  const search = await searchLeaves(options, differing);
  return { rows, leaves, differingLeaves: differing.length, ...search };
}

function sameHash(a: LeafHash, b: LeafHash): boolean {
  return a.rows === b.rows && a.hash === b.hash;
}

/** Asks for the next group while the consumer still works on the last. */
async function* readAhead<T>(source: AsyncIterable<T>): AsyncGenerator<T> {
  const iterator = source[Symbol.asyncIterator]();
  let next = iterator.next();
  try {
    for (;;) {
      const result = await next;
      if (result.done === true) return;
      next = iterator.next();
      // Awaited later; a failure meanwhile must not count as unhandled.
      next.catch(() => undefined);
      yield result.value;
    }
  } finally {
    await Promise.allSettled([next]);
    await iterator.return?.();
  }
}

type Search = Omit<TableComparison, 'rows' | 'leaves' | 'differingLeaves'>;

async function searchLeaves(
  options: CompareTableOptions,
  differing: readonly PlacedLeaf[],
): Promise<Search> {
  const { reference, base, limits, signal } = options;
  const counts = { missing: 0, extra: 0, changed: 0 };
  const differences: RowDifference[] = [];
  if (reference.rowHashes === null) {
    return { ...counts, differences, complete: differing.length === 0 };
  }
  let budget = limits.searchedRows;
  let searched = 0;
  while (searched < differing.length && budget > 0) {
    const some = differing.slice(searched, searched + LEAVES_PER_SEARCH);
    const inSome = some.reduce((sum, leaf) => sum + leaf.rows, 0);
    if (inSome > budget && (searched > 0 || reference.table.key.length === 0)) break;
    budget -= inSome;
    searched += some.length;
    signal.throwIfAborted();
    const [production, shadow] = await bothDone(
      reference.rowHashes(some),
      base.rowHashes(reference.table, some),
    );
    if (reference.table.key.length === 0) {
      const surplus = bagDifference(production, shadow);
      counts.missing += surplus.missing;
      counts.extra += surplus.extra;
      continue;
    }
    const found = diffRows(production, shadow);
    for (const row of found) counts[row.kind] += 1;
    const room = Math.max(0, limits.listedRows - differences.length);
    differences.push(...(await describeRows(options, found.slice(0, room))));
  }
  return { ...counts, differences, complete: searched === differing.length };
}

interface FoundRow {
  readonly key: readonly string[];
  readonly kind: RowDifference['kind'];
}

function diffRows(production: readonly RowHash[], shadow: readonly RowHash[]): readonly FoundRow[] {
  const ours = new Map(shadow.map((row) => [JSON.stringify(row.key), row]));
  const found: FoundRow[] = [];
  for (const row of production) {
    const id = JSON.stringify(row.key);
    const mine = ours.get(id);
    ours.delete(id);
    if (mine === undefined) found.push({ key: row.key, kind: 'missing' });
    else if (mine.hash !== row.hash) found.push({ key: row.key, kind: 'changed' });
  }
  for (const row of ours.values()) found.push({ key: row.key, kind: 'extra' });
  return found;
}

/** For tables without key: rows can be counted, not named. */
function bagDifference(
  production: readonly RowHash[],
  shadow: readonly RowHash[],
): { readonly missing: number; readonly extra: number } {
  const surplus = new Map<string, number>();
  for (const row of production) surplus.set(row.hash, (surplus.get(row.hash) ?? 0) + 1);
  for (const row of shadow) surplus.set(row.hash, (surplus.get(row.hash) ?? 0) - 1);
  let missing = 0;
  let extra = 0;
  for (const count of surplus.values()) {
    if (count > 0) missing += count;
    else extra -= count;
  }
  return { missing, extra };
}

/** Names the columns of changed rows and, where asked for, the values of all. */
async function describeRows(
  options: CompareTableOptions,
  found: readonly FoundRow[],
): Promise<readonly RowDifference[]> {
  const { reference, base, showValues } = options;
  const needed = found.filter((row) => showValues || row.kind === 'changed').map((row) => row.key);
  const [production, shadow] = await bothDone(
    reference.rows?.(needed) ?? Promise.resolve([]),
    reference.rows === null ? Promise.resolve([]) : base.rows(reference.table, needed),
  );
  const productionRows = byKey(production);
  const shadowRows = byKey(shadow);
  return found.map((row) => {
    const id = JSON.stringify(row.key);
    const key = reference.table.key.map((column, i) => [column, row.key[i] ?? ''] as const);
    return {
      table: tableName(reference.table.table),
      key: Object.fromEntries(key),
      kind: row.kind,
      columns: columnDifferences(
        reference.table.columns,
        productionRows.get(id),
        shadowRows.get(id),
        showValues,
      ),
    };
  });
}

function byKey(rows: readonly RowText[]): ReadonlyMap<string, RowText> {
  return new Map(rows.map((row) => [JSON.stringify(row.key), row]));
}

function columnDifferences(
  columns: readonly string[],
  production: RowText | undefined,
  shadow: RowText | undefined,
  showValues: boolean,
): readonly ColumnDifference[] {
  const differing: ColumnDifference[] = [];
  for (const [i, name] of columns.entries()) {
    const mine = shadow?.values[i] ?? null;
    const theirs = production?.values[i] ?? null;
    if (production !== undefined && shadow !== undefined && mine === theirs) continue;
    if (!showValues) differing.push({ name });
    else {
      differing.push({
        name,
        ...(production === undefined ? {} : { production: theirs }),
        ...(shadow === undefined ? {} : { shadow: mine }),
      });
    }
  }
  return production === undefined && shadow === undefined ? [] : differing;
}

/** Like Promise.all, but waits for both even if one fails: a session runs one query at a time. */
async function bothDone<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([a, b]);
  return Promise.all([a, b]);
}
