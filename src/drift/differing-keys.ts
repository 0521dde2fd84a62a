/** The keys of rows in which two snapshots of one point differ, found in bounded memory. */
import type { ComparedTable, Leaf, RowHash, TableReader } from '../dialect/dialect.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';

/** Leaves searched in one go: where a key has no usable index, each search reads the whole table. */
const LEAVES_PER_SEARCH = 20;

/** READ_FAILED where hashes of the two sides cannot be compared. */
export async function assertSameHashes(production: TableReader, base: TableReader): Promise<void> {
  if ((await production.selfTest()) === (await base.selfTest())) return;
  throw new UnderstudyError('READ_FAILED', 'the two servers hash the same known rows differently');
}

/**
 * Yields them by some leaves of the table. One that is spelled differently on the two sides comes
 * in both spellings. `onRows` is told how many rows of production were compared.
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
    let differing: Leaf[] = [];
    let rows = 0;
    for (const [i, leaf] of group.entries()) {
      const found = hashes[i];
      if (found === undefined) throw new Error('fewer leaf hashes than leaves');
      if (found.rows !== leaf.rows || found.hash !== leaf.hash) differing.push(leaf);
      rows += leaf.rows;
      if (differing.length < LEAVES_PER_SEARCH && i < group.length - 1) continue;
      signal.throwIfAborted();
      if (differing.length > 0) yield await keysOf(options, differing);
      differing = [];
      onRows(rows);
      rows = 0;
    }
  }
}

async function keysOf(
  { production, base, compared }: Parameters<typeof differingKeys>[0],
  leaves: readonly Leaf[],
): Promise<readonly (readonly string[])[]> {
  const theirs = await production.rowHashes(compared, leaves);
  const ours = new Map((await base.rowHashes(compared, leaves)).map((row) => [idOf(row), row]));
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
