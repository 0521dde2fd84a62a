/** What the candidate changed against production's image, read from one rollout. */
import { isolatedTables } from '../config/table-filter.ts';
import { tableName } from '../change/table-id.ts';
import type {
  Isolates,
  OutcomeCounts,
  OverlayCount,
  OverlayRow,
  RowSelection,
} from '../dialect/dialect.ts';
import type { DifferenceKind } from '../overlay/conflict.ts';
import type { RuntimeContext } from './context.ts';
import { readRollout } from './existing-rollout.ts';

export interface RolloutDiff {
  readonly name: string;
  readonly tables: readonly {
    readonly table: string;
    /** It is kept apart: rows that only production wrote since count as well. See `overlay.isolate`. */
    readonly isolated: boolean;
    readonly inserted: number;
    readonly updated: number;
    readonly deleted: number;
    /** Rows of production's that the candidate's rows or schema keep out. */
    readonly blocked: number;
    /** Rows that both sides inserted under keys of their own, and that differ; and what does not differ by them. */
    readonly pairs: number;
    readonly paired: number;
    /** Owned rows whose image equals production's again. */
    readonly equal: number;
  }[];
  readonly rows: readonly DiffRow[];
  /** Some table has more rows than were listed. */
  readonly truncated: boolean;
  /** How rows came to be production's again that the candidate owned, of all tables; see overlay/outcome.ts. */
  readonly outcomes: OutcomeCounts;
}

export interface DiffRow {
  readonly table: string;
  readonly key: readonly string[];
  readonly kind: DifferenceKind;
  /** Of a pair: the key of production's row. */
  readonly pairedWith?: readonly string[];
  /** See OverlayRow. */
  readonly trace: string | null;
  readonly columns: readonly (
    | { readonly name: string }
    | {
        readonly name: string;
        readonly production: string | null;
        readonly candidate: string | null;
      }
  )[];
}

/** Counts are of a table's rows, whichever of them are listed. */
export interface DiffOptions extends RowSelection {
  /** Rows listed per table. */
  readonly limit: number;
  /** Only then do column values appear; keys always do. */
  readonly showValues: boolean;
}

/** Reads the overlay; takes no fence. Errors: ROLLOUT_NOT_FOUND. */
export async function readDiff(
  context: RuntimeContext,
  name: string,
  options: DiffOptions,
): Promise<RolloutDiff> {
  return readRollout(context, name, async (database) => {
    const counts = await database.overlayCounts();
    const { limit, showValues: _, ...only } = options;
    const rows = await database.overlayRows(limit, only);
    const { table } = only;
    // What is kept apart in isolated tables is listed when it is asked for.
    const isolates = isolatedTables(context.config);
    const listed = table === undefined ? rows.filter((one) => !isolates(one.table)) : rows;
    const diff = assemble(name, { counts, rows: listed, isolates }, options);
    return { ...diff, outcomes: await database.outcomes() };
  });
}

function differing(count: Omit<OverlayCount, 'table' | 'rows' | 'equal'>): number {
  const { inserted, updated, deleted, blocked, pairs } = count;
  return inserted + updated + deleted + blocked + pairs;
}

function assemble(
  name: string,
  {
    counts,
    rows,
    isolates,
  }: {
    readonly counts: readonly OverlayCount[];
    readonly rows: readonly OverlayRow[];
    readonly isolates: Isolates;
  },
  options: DiffOptions,
): Omit<RolloutDiff, 'outcomes'> {
  const chosen = counts
    .map(({ table, inserted, updated, deleted, blocked, equal, pairs, paired }) => ({
      ...{ table: tableName(table), isolated: isolates(table) },
      ...{ inserted, updated, deleted, blocked, equal, pairs, paired },
    }))
    .filter((count) => options.table === undefined || count.table === tableName(options.table))
    .filter((count) => differing(count) + count.equal + count.paired > 0);
  const isPart = options.trace !== undefined || options.key !== undefined;
  const told = chosen.filter(({ isolated }) => options.table !== undefined || !isolated);
  const total = told.reduce((sum, count) => sum + differing(count), 0);
  return {
    name,
    tables: chosen,
    rows: rows.map((item) => ({
      table: tableName(item.table),
      key: item.key,
      kind: item.kind,
      ...(item.pairedWith !== undefined && { pairedWith: item.pairedWith }),
      trace: item.trace,
      columns: item.columns.map(({ column, production, candidate }) =>
        options.showValues ? { name: column, production, candidate } : { name: column },
      ),
    })),
    // Of one row or trace it is not known how many there are.
    truncated: isPart ? rows.length === options.limit : rows.length < total,
  };
}
