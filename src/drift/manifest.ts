/**
 * Production's checksums at a pinned point, written down, so that a shadow can be checked against
 * them later, without production: leaves of every table and, if wanted, the hash of every row.
 * Holds keys and hashes, never values. The form is a contract (architecture, "Shapes"): fields
 * may be added, not renamed. Positions and offsets are decimal text, because JSON numbers are not
 * exact.
 */
import { z } from 'zod';
import type { OffsetMap } from '../change/position.ts';
import { tableName, type TableId } from '../change/table-id.ts';
import type { PinnedSnapshot, RowHash } from '../dialect/dialect.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import { readerReference, type Reference, type ReferenceTable } from './reference.ts';

const digits = z.string().regex(/^\d+$/);
const sum = z.string().regex(/^-?\d+$/);
const keyText = z.array(z.string());
const bound = keyText.nullable();
const count = z.int().nonnegative();

const tableShape = z.object({
  /** `schema.name`, as reports write it. */
  table: z.string(),
  id: z.object({ schema: z.string(), name: z.string() }),
  key: z.array(z.string()),
  columns: z.array(z.string()),
  /** How columns and key are hashed, see TableReader.forms. */
  forms: z.array(z.string()),
  leaves: z.array(z.object({ from: bound, to: bound, rows: count, hash: sum })).min(1),
  /** Key and hash of every row, leaf by leaf in the leaves' order. */
  rows: z.array(z.tuple([keyText, sum])).optional(),
});

const manifestShape = z.object({
  version: z.literal(1),
  createdAt: z.iso.datetime(),
  pin: z.object({
    kind: z.enum(['xid-barrier', 'log-position']),
    snapshot: z.string(),
    /** The marker; everything the snapshot saw was committed before it. */
    lsn: digits,
    /** End of production's log before the snapshot. */
    floor: digits,
    /** By `topic/partition`. */
    endOffsets: z.record(z.string(), digits),
  }),
  /** See TableReader.selfTest. */
  selfTest: z.string(),
  tables: z.array(tableShape),
});

export type Manifest = z.infer<typeof manifestShape>;
type ManifestTable = z.infer<typeof tableShape>;

export interface ManifestOptions {
  readonly include: (table: TableId) => boolean;
  readonly leafRows: number;
  /** Also write every row's key and hash, so that a check can name the rows that differ. */
  readonly rows: boolean;
  readonly signal: AbortSignal;
  readonly onRows?: (table: string, rows: number) => void;
}

/** Reads all followed tables of the pinned snapshot. `ends` is its barrier. */
export async function snapshotManifest(
  pinned: PinnedSnapshot,
  ends: OffsetMap,
  options: ManifestOptions,
): Promise<Manifest> {
  const reference = await readerReference(pinned.reader);
  const names = reference.tables.filter((name) => options.include(reference.id(name))).sort();
  const tables: ManifestTable[] = [];
  for (const name of names) {
    tables.push(await tableManifest(await reference.open(name, () => true), options));
  }
  return {
    version: 1,
    createdAt: new Date().toISOString(),
    pin: {
      kind: pinned.proof,
      snapshot: pinned.snapshot,
      lsn: pinned.marker.toString(),
      floor: pinned.floor.toString(),
      endOffsets: Object.fromEntries([...ends].map(([key, end]) => [key, end.toString()])),
    },
    selfTest: await reference.selfTest(),
    tables,
  };
}

async function tableManifest(
  opened: ReferenceTable,
  options: ManifestOptions,
): Promise<ManifestTable> {
  const { table, forms } = opened;
  const name = tableName(table.table);
  const leaves: ManifestTable['leaves'] = [];
  for await (const group of opened.leaves(options.leafRows)) {
    options.signal.throwIfAborted();
    for (const { from, to, rows, hash } of group) {
      leaves.push({ from: from && [...from], to: to && [...to], rows, hash });
      options.onRows?.(name, rows);
    }
  }
  const rows: [string[], string][] = [];
  if (options.rows && opened.rowHashes !== null) {
    for (const [index, leaf] of leaves.entries()) {
      options.signal.throwIfAborted();
      for (const row of await opened.rowHashes([{ ...leaf, index }])) {
        rows.push([[...row.key], row.hash]);
      }
    }
  }
  return {
    table: name,
    id: { schema: table.table.schema, name: table.table.name },
    key: [...table.key],
    columns: [...table.columns],
    forms: [...forms],
    leaves,
    ...(options.rows && { rows }),
  };
}

/** MANIFEST_INVALID names the first field that is wrong. */
export function parseManifest(text: string): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new UnderstudyError('MANIFEST_INVALID', 'the manifest is not JSON');
  }
  const parsed = manifestShape.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new UnderstudyError('MANIFEST_INVALID', 'the manifest is malformed', {
      detail: `${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`,
    });
  }
  for (const table of parsed.data.tables) assertConsistent(table);
  return parsed.data;
}

function assertConsistent(table: ManifestTable): void {
  const fail = (detail: string): never => {
    throw new UnderstudyError('MANIFEST_INVALID', 'the manifest contradicts itself', {
      table: table.table,
      detail,
    });
  };
  table.leaves.forEach((leaf, i) => {
    const next = table.leaves[i + 1]?.from ?? null;
    if (i === 0 && leaf.from !== null) fail('the first leaf is not open');
    if (JSON.stringify(leaf.to) !== JSON.stringify(next)) fail(`leaf ${i} does not meet the next`);
  });
  const rows = table.leaves.reduce((total, leaf) => total + leaf.rows, 0);
  if (table.rows !== undefined && table.rows.length !== rows) {
    fail(`${table.rows.length} rows are listed, the leaves hold ${rows}`);
  }
}

export function manifestEnds(manifest: Manifest): OffsetMap {
  return new Map(
    Object.entries(manifest.pin.endOffsets).map(([key, end]) => [key, BigInt(end)] as const),
  );
}

/** Production as the manifest describes it. Rows are named only where it lists them. */
export function manifestReference(manifest: Manifest): Reference {
  const tables = new Map(manifest.tables.map((table) => [table.table, table]));
  const tableOf = (name: string): ManifestTable => {
    const table = tables.get(name);
    if (table === undefined) throw new Error(`no table ${name} in the manifest`);
    return table;
  };
  return {
    tables: [...tables.keys()],
    id: (name) => tableOf(name).id,
    selfTest: () => Promise.resolve(manifest.selfTest),
    columns: (name) => tableOf(name).columns,
    key: (name) => tableOf(name).key,
    // The hashes cover all columns; leaving one out is not possible afterwards.
    open: (name) => Promise.resolve(openTable(tableOf(name))),
  };
}

function openTable(table: ManifestTable): ReferenceTable {
  const { rows } = table;
  const starts: number[] = [];
  let start = 0;
  for (const leaf of table.leaves) {
    starts.push(start);
    start += leaf.rows;
  }
  const rowsOfLeaf = (index: number, all: NonNullable<typeof rows>): readonly RowHash[] => {
    const from = starts[index] ?? 0;
    const leaf = table.leaves[index];
    return all.slice(from, from + (leaf?.rows ?? 0)).map(([key, hash]) => ({ key, hash }));
  };
  return {
    table: { table: table.id, key: table.key, columns: table.columns },
    forms: table.forms,
    async *leaves() {
      yield await Promise.resolve(table.leaves);
    },
    rowHashes:
      rows === undefined
        ? null
        : (leaves) => Promise.resolve(leaves.flatMap(({ index }) => rowsOfLeaf(index, rows))),
    rows: null,
  };
}
