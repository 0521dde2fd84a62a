/**
 * Reads from production what a shadow does not know: unknown values, and rows of parked keys.
 *
 * The point is a drift check's: freeze, prove, pin, wait for the connector, apply what the snapshot
 * saw and nothing else. There the values are what the shadow would hold had the connector said so,
 * and they are written before anything the snapshot did not see. Written as changes of those
 * columns or rows, they close the gaps like any event that brings a known value.
 */
import { tableName } from '../change/table-id.ts';
import { RowShape, type KnownValue } from '../change/value.ts';
import type { ProductionDatabase, RowText, TableGaps, TableReader } from '../dialect/dialect.ts';
import type { BatchStep, NetChange } from '../order/change-batch.ts';
import type { SchemaCatalogue, TableSchema } from '../schema/table-schema.ts';
import type { ChangeSource } from '../source/change-source.ts';
import type { CommittedOffsets } from '../source/committed-offsets.ts';
import { describeTimeout, findBarrier, type BarrierTiming } from '../source/barrier.ts';
import { DeferralFilter } from './deferral.ts';
import { untilAborted, type FollowerControl } from './follower-control.ts';
import { waitUntilProven } from './proven.ts';
import { columnNames } from './reference.ts';

/** Rows read in one go; what is more waits for the next. */
export const REREAD_ROWS = 500;
/** Keys of one statement on production. */
const KEYS_PER_READ = 100;

export interface RereadParts {
  readonly follower: FollowerControl;
  readonly source: Pick<ChangeSource, 'ends' | 'starts'>;
  readonly production: Pick<ProductionDatabase, 'view' | 'pin'>;
  readonly offsets: CommittedOffsets;
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
export async function reread(
  parts: RereadParts,
  options: { readonly timing: BarrierTiming; readonly signal: AbortSignal },
): Promise<RereadOutcome> {
  try {
    return await rereadFrozen(parts, options);
  } finally {
    parts.follower.resume();
  }
}

async function rereadFrozen(
  parts: RereadParts,
  options: { readonly timing: BarrierTiming; readonly signal: AbortSignal },
): Promise<RereadOutcome> {
  const { follower, production, offsets, source } = parts;
  const { timing, signal } = options;
  await follower.freeze();
  const unproven = await waitUntilProven(parts, options);
  if (unproven !== null) return { rows: 0, reason: unproven };
  await using pinned = await production.pin();
  const { marker } = pinned;
  const barrier = await findBarrier({ offsets, source, marker, timing, signal });
  if (barrier.kind === 'timeout') {
    return { rows: 0, reason: describeTimeout(barrier.committed, { offsets, marker, timing }) };
  }
  const filter = new DeferralFilter(pinned, pinned.floor);
  let rows = 0;
  let reason: string | null = null;
  const reached = await untilAborted(
    follower.runToBarrier({
      ...barrier.point,
      visible: (change) => filter.decide(change) === 'apply',
      supply: async (missing) => {
        const [doubt] = filter.doubts();
        if (doubt !== undefined || missing > 0) {
          reason = doubt?.message ?? 'changes before the point wait for their transaction';
          return [];
        }
        const gaps = await parts.gaps(REREAD_ROWS);
        const steps = await readSteps(pinned.reader, gaps, await parts.catalogue());
        rows = steps.reduce((sum, step) => sum + step.changes.length, 0);
        return steps;
      },
    }),
    signal,
  );
  await reached.base[Symbol.asyncDispose]();
  return { rows, reason };
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
        if (row !== null) changes.push(upsert(schema, columns, key, row, false));
      }
    }
    const columns = columnNames(schema).filter((column) => !schema.key.includes(column));
    for (const { row, key } of await readRows(reader, schema, columns, parked)) {
      changes.push(
        row === null ? { kind: 'delete', key } : upsert(schema, columns, key, row, true),
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

function upsert(
  schema: TableSchema,
  columns: readonly string[],
  key: Key,
  row: RowText,
  complete: boolean,
): NetChange {
  const values: KnownValue[] = [...key, ...row.values];
  const image = { shape: new RowShape([...schema.key, ...columns]), values };
  return { kind: 'upsert', key, from: key, image, complete };
}
