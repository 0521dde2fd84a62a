/**
 * Reads from production what a shadow does not know: unknown values, and rows of parked keys.
 *
 * The point is a drift check's (at-pin.ts). There the values are what the shadow would hold had the
 * connector said so, and they are written before anything the snapshot did not see. Written as
 * changes of those columns or rows, they close the gaps like any event that brings a known value.
 */
import { tableName } from '../change/table-id.ts';
import type { RowText, TableGaps, TableReader } from '../dialect/dialect.ts';
import type { BatchStep, NetChange } from '../order/change-batch.ts';
import type { SchemaCatalogue, TableSchema } from '../schema/table-schema.ts';
import { atPin, type PinOptions, type PinParts } from './at-pin.ts';
import { columnNames } from './reference.ts';
import { rowUpsert } from './row-change.ts';

/** Rows read in one go; what is more waits for the next. */
export const REREAD_ROWS = 500;
/** Keys of one statement on production. */
const KEYS_PER_READ = 100;

export interface RereadParts extends PinParts {
  readonly gaps: (limit: number) => Promise<readonly TableGaps[]>;
  readonly catalogue: () => Promise<SchemaCatalogue>;
}

export interface RereadOutcome {
  /** Rows that were written, or found to be gone. */
  readonly rows: number;
  /** Why nothing could be read at an exact point; null if it could. */
  readonly reason: string | null;
}

/**
 * Closes the oldest gaps. Rejects with what a drift check rejects with; the follower goes on in
 * every case.
 */
export async function reread(parts: RereadParts, options: PinOptions): Promise<RereadOutcome> {
  let rows = 0;
  const unreached = await atPin(parts, options, {
    supply: async (pinned, write) => {
      const gaps = await parts.gaps(REREAD_ROWS);
      const steps = await readSteps(pinned.reader, gaps, await parts.catalogue());
      await write(steps);
      rows = steps.reduce((sum, step) => sum + step.changes.length, 0);
    },
  });
  return { rows, reason: unreached?.reason ?? null };
}

type RowsStep = Extract<BatchStep, { readonly kind: 'rows' }>;

async function readSteps(
  reader: TableReader,
  gaps: readonly TableGaps[],
  catalogue: SchemaCatalogue,
): Promise<readonly RowsStep[]> {
  const steps: RowsStep[] = [];
  for (const { table, unknown, parked } of gaps) {
    const schema = catalogue.get(tableName(table));
    // A table that was dropped here: its entries have no row to belong to.
    if (schema === undefined) continue;
    const changes: NetChange[] = [];
    for (const [columns, keys] of byColumns(unknown)) {
      // A row that is not there is none to write; that it is here is for the drift check to say.
      for (const { row, key } of await readRows(reader, schema, columns, keys)) {
        if (row !== null) changes.push(rowUpsert(schema, columns, { ...row, key }, false));
      }
    }
    const columns = columnNames(schema).filter((column) => !schema.key.includes(column));
    for (const { row, key } of await readRows(reader, schema, columns, parked)) {
      changes.push(
        row === null ? { kind: 'delete', key } : rowUpsert(schema, columns, { ...row, key }, true),
      );
    }
    if (changes.length > 0) steps.push({ kind: 'rows', table, changes });
  }
  return steps;
}

type Key = readonly string[];

/** Rows with the same unknown columns are read together. */
function byColumns(unknown: TableGaps['unknown']): ReadonlyMap<readonly string[], readonly Key[]> {
  const groups = new Map<string, { columns: readonly string[]; keys: Key[] }>();
  for (const { key, columns } of unknown) {
    const id = JSON.stringify(columns);
    const group = groups.get(id) ?? { columns, keys: [] };
    group.keys.push(key);
    groups.set(id, group);
  }
  return new Map(Array.from(groups.values(), ({ columns, keys }) => [columns, keys]));
}

/** Each key with its row, or null where production has none. */
async function readRows(
  reader: TableReader,
  schema: TableSchema,
  columns: readonly string[],
  keys: readonly Key[],
): Promise<readonly { readonly key: Key; readonly row: RowText | null }[]> {
  const found: { readonly key: Key; readonly row: RowText | null }[] = [];
  const compared = { table: schema.id, key: schema.key, columns };
  for (let start = 0; start < keys.length; start += KEYS_PER_READ) {
    const some = keys.slice(start, start + KEYS_PER_READ);
    const rows = new Map(
      (await reader.rows(compared, some)).map((row) => [JSON.stringify(row.key), row]),
    );
    const matched = some.map((key) => ({ key, row: rows.get(JSON.stringify(key)) ?? null }));
    // A row under another spelling of its key is none of those that are gone.
    const spelled = matched.filter(({ row }) => row !== null).length === rows.size;
    found.push(...matched.filter(({ row }) => row !== null || spelled));
  }
  return found;
}
