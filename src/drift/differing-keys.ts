/** The keys of rows in which two snapshots of one point differ, found in bounded memory. */
import { tableName } from '../change/table-id.ts';
import type { ComparedTable, Leaf, RowHash, TableReader } from '../dialect/dialect.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';

/** SCHEMA_DIFFERS, or READ_FAILED, where hashes of the two sides could not be compared. */
export async function assertComparable(
  production: TableReader,
  base: TableReader,
  table: ComparedTable,
): Promise<void> {
  const [theirs, ours] = [await production.forms(table), await base.forms(table)];
  const names = [...table.columns, ...table.key];
  const differing = [...new Set(names.filter((_, i) => theirs[i] !== ours[i]))];
  if (differing.length > 0) {
    throw new UnderstudyError('SCHEMA_DIFFERS', 'columns have other types in production', {
      table: tableName(table.table),
      detail: differing.join(', '),
    });
  }
  if ((await production.selfTest()) === (await base.selfTest())) return;
  throw new UnderstudyError('READ_FAILED', 'the two servers hash the same known rows differently');
}

/**
 * Yields them by leaves of the table. One that is spelled differently on the two sides comes in
 * both spellings. `onRows` is told how many rows of production were compared.
 */
export async function* differingKeys(options: {
  readonly production: TableReader;
  readonly base: TableReader;
  readonly compared: ComparedTable;
  readonly leafRows: number;
  readonly signal: AbortSignal;
  readonly onRows: (rows: number) => void;
}): AsyncGenerator<readonly (readonly string[])[]> {
  const { production, base, compared, signal, onRows } = options;
  for await (const group of production.cutLeaves(compared, options.leafRows)) {
    const hashes = [];
    for await (const some of base.hashLeaves(compared, group)) {
      signal.throwIfAborted();
      hashes.push(...some);
    }
    for (const [i, leaf] of group.entries()) {
      const found = hashes[i];
      if (found === undefined) throw new Error('fewer leaf hashes than leaves');
      if (found.rows !== leaf.rows || found.hash !== leaf.hash) {
        signal.throwIfAborted();
        yield await keysOf(options, leaf);
      }
      onRows(leaf.rows);
    }
  }
}

async function keysOf(
  { production, base, compared }: Parameters<typeof differingKeys>[0],
  leaf: Leaf,
): Promise<readonly (readonly string[])[]> {
  const theirs = await production.rowHashes(compared, [leaf]);
  const ours = new Map((await base.rowHashes(compared, [leaf])).map((row) => [idOf(row), row]));
  const differing: (readonly string[])[] = [];
  for (const row of theirs) {
    if (ours.get(idOf(row))?.hash !== row.hash) differing.push(row.key);
    ours.delete(idOf(row));
  }
  for (const row of ours.values()) differing.push(row.key);
  return differing;
}

function idOf(row: RowHash): string {
  return JSON.stringify(row.key);
}
