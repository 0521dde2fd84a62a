/** The rows of a rollout that its candidate owns, as the port tells of them and gives them back. */
import type { TableId } from '../change/table-id.ts';
import type { ConflictKind, DifferenceKind, Side } from '../overlay/conflict.ts';
import type { Outcome } from '../overlay/outcome.ts';
import type { PairsOn } from '../overlay/pairing.ts';
import type { PolicyOf } from '../overlay/policy.ts';
import type { Fence } from './fence.ts';

/**
 * Is production's a table that rollouts keep to themselves? Its changes go to production's image alone: the
 * candidate sees its rows as they were when it was made, and what it wrote.
 */
export type Isolates = (table: TableId) => boolean;

/** May the candidate only read a table of production's? Its writes are refused there. */
export type ReadOnly = (table: TableId) => boolean;

/**
 * Does a user's trigger act on what is applied as well? None does else: its effects in production come by the
 * log. What it writes is nobody's write, and not captured.
 */
export type ActingTriggers = (table: TableId, trigger: string) => boolean;

/** What a configuration says of tables, by production's names. */
export interface CandidateRules {
  /** Default: no table is isolated. */
  readonly isolates?: Isolates;
  /** Default, and null: the candidate may write all tables. */
  readonly readOnly?: ReadOnly | null;
  /** Default, and null: no trigger does. */
  readonly actingTriggers?: ActingTriggers | null;
  /** Who wins in which table. By default the candidate does. */
  readonly policies?: PolicyOf<TableId>;
  /** Default, and null: no rows are paired. */
  readonly pairsOn?: PairsOn | null;
}

/** One entry of the overlay: a row and how it differs from production's. */
export interface OverlayRow {
  readonly table: TableId;
  readonly key: readonly string[];
  readonly kind: DifferenceKind;
  /** Of a pair: the key of production's row. */
  readonly pairedWith?: readonly string[];
  /** The candidate sees a row with this key. */
  readonly candidate: boolean;
  /** Columns that differ; of a row that one side does not have, all. */
  readonly columns: readonly {
    readonly column: string;
    readonly production: string | null;
    readonly candidate: string | null;
    /** It does not differ: see RowReading. */
    readonly same?: true;
  }[];
  readonly at: Date;
  /** The request, or trace, in which the candidate first wrote it; null where it told none. */
  readonly trace: string | null;
}

/** The same row under the keys of both sides. */
export interface RowPair {
  readonly table: TableId;
  readonly candidate: readonly string[];
  readonly production: readonly string[];
}

export interface OverlayCount {
  readonly table: TableId;
  readonly inserted: number;
  readonly updated: number;
  readonly deleted: number;
  /** Rows of production's that are kept out. */
  readonly blocked: number;
  /** Pairs that differ in some column but their keys. */
  readonly pairs: number;
  /**
   * Rows that stand for rows of production's under other keys, and those that refer to such: they differ in
   * nothing else. See sql/pairs.ts.
   */
  readonly paired: number;
  /** Rows owned whose image equals production's again. */
  readonly equal: number;
  /** Rows of the visible table, for a ratio. */
  readonly rows: number;
}

export interface RowSelection {
  readonly table?: TableId;
  /** Key columns' values in key order, as text. */
  readonly key?: readonly string[];
  /** First written in this request or trace. */
  readonly trace?: string;
}

export interface RowReading extends RowSelection {
  /** Of rows that both sides have, also the columns of unique and foreign keys that do not differ. */
  readonly links?: true;
}

/** What an overlay could not take in, to be told to whoever made the rollout. */
export interface InstalledOverlay {
  /** Tables without a key: the candidate's writes to them are not captured. */
  readonly notCaptured: readonly TableId[];
  /** Sequences that could not be moved far above production's values. */
  readonly sequencesLeft: readonly string[];
  /** Triggers of production's that the rollout has not: the trunk lost what they name, or the server does not take them. */
  readonly triggersLeft: readonly string[];
}

export interface ReleasedRows {
  /** Given up: they follow production from now on. */
  readonly released: number;
  /** Still owned, since they differ from production's, or the candidate is at them. */
  readonly kept: number;
}

/** A part of a sweep. */
export interface Swept {
  readonly released: number;
  /** Where the next part begins; null at the end. */
  readonly next: string | null;
}

/** A row that both sides changed, or that is kept out, and that nobody decided about yet. */
export interface OverlayConflict {
  readonly table: TableId;
  readonly key: readonly string[];
  readonly kind: ConflictKind;
  /**
   * Columns in which both sides differ. `base`: production's value before its first change that made a
   * conflict. Null values may be NULLs, or of a row that a side does not have.
   */
  readonly columns: readonly {
    readonly column: string;
    readonly base: string | null;
    readonly production: string | null;
    readonly candidate: string | null;
  }[];
  /** The constraint that keeps a row out, where it is known. */
  readonly detail: string | null;
  /** When the candidate first wrote it; of a row that is kept out, since when it is. */
  readonly firstAt: Date;
  /** Where production's log stood by then; null where it is not remembered. */
  readonly firstSource: string | null;
  readonly trace: string | null;
  /** When production's first change came that made a conflict, and where its log stood: see sourceText. */
  readonly at: Date;
  readonly source: string | null;
}

export interface ResolvedRows {
  /** They are listed no more. */
  readonly resolved: number;
  /** Still conflicts: this side cannot be taken of them. */
  readonly kept: number;
}

/**
 * How far the numbers of new rows have come that one side has for itself (sql/sequence-target.ts): production
 * those below where a rollout's begin, the candidate those from there on.
 */
export interface NumberRange {
  /** The sequence, or table and column. */
  readonly name: string;
  readonly side: 'production' | 'candidate';
  /** Share of them that is used up; 1 and more: the other side's are met, or there are none left. */
  readonly used: number;
}

/** How many rows ended in each way, of what is remembered (overlay/outcome.ts). */
export type OutcomeCounts = Readonly<Record<Outcome, number>>;

/** What a rollout's database offers of its overlay. All methods throw UnderstudyError. */
export interface OverlayActs {
  /** Installs the overlay on a fresh clone: journal, capture, views, sequences far above. */
  installOverlay(fence: Fence): Promise<InstalledOverlay>;
  /** Counts per table; needs an installed overlay. */
  overlayCounts(): Promise<readonly OverlayCount[]>;
  /** The differing rows, at most `limit` per table, oldest first. */
  overlayRows(limit: number, only?: RowReading): Promise<readonly OverlayRow[]>;
  /** Puts rows back to production's. Returns how many were owned. */
  resetOverlay(fence: Fence, only: RowSelection): Promise<number>;
  /**
   * Empties a captured table, each of its rows as if the candidate had deleted it. Returns how many there
   * were. Errors: USAGE if another table refers to it, TABLE_UNKNOWN if it is not captured.
   */
  truncateOverlay(fence: Fence, table: TableId): Promise<number>;
  /**
   * Gives up those of the selected rows that are production's again, to the byte, or on neither side. Changes
   * no row: what differs stays owned. Waits for no lock of the candidate's.
   */
  releaseOverlay(fence: Fence, only: RowSelection): Promise<ReleasedRows>;
  /**
   * The same of all rows, part by part: a sweep costs by the entries, each part of it no more than some
   * thousand. `place`: null at first, and then what the part before gave.
   */
  sweepOverlay(fence: Fence, place: string | null): Promise<Swept>;
  /**
   * Looks whether all that captures is there, and makes it again where it is not; of these tables the
   * candidate may have written rows that are not told from production's, from then on (BaseReader).
   * Returns them. APPLY_BLOCKED if somebody is at a table: it is noted all the same.
   */
  watchCapture(fence: Fence): Promise<readonly TableId[]>;
  /**
   * Looks whether the numbers of new rows are still above production's, and moves those of them up that the
   * candidate set back. Returns their names; ids that it took meanwhile may be production's. Waits for nobody.
   */
  watchNumbers(fence: Fence): Promise<readonly string[]>;
  /** All pairs of a table (sql/pairs.ts), also those that do not differ; at most `limit` per table. */
  overlayPairs(limit: number): Promise<readonly RowPair[]>;
  /** Conflicts, at most `limit` per table, oldest first. */
  overlayConflicts(limit: number, only?: RowSelection): Promise<readonly OverlayConflict[]>;
  /**
   * Decides the selected conflicts.
   * - `ours`: the candidate's row stays as it is; one that is kept out stays so
   * - `theirs`: the row becomes production's; where rows of the candidate's keep it out, those do first; where it
   *   refers to none then, so does what it refers to. What its schema refuses is kept
   * - `merge`: where both changed a row, but no column differently, each column is as who changed it has
   *   it; others are kept
   */
  resolveOverlay(fence: Fence, only: RowSelection, side: Side): Promise<ResolvedRows>;
  /** Tables that the candidate may have written to while nothing captured there: noted by `watchCapture`. */
  captureGaps(): Promise<readonly TableId[]>;
  /**
   * Of all numbered tables; of production's side only where an index finds the greatest number. Null if they
   * cannot be read for now, since somebody locks a table: waits for nobody.
   */
  numberRanges(): Promise<readonly NumberRange[] | null>;
  /**
   * Sees to it that the candidate may write what the rules let it, and no other table (see ReadOnly), and that no
   * routine of production's does for it what it may not. Errors: APPLY_BLOCKED while somebody is at such a table.
   */
  guardReadOnly(fence: Fence): Promise<void>;
  /** How rows came to be production's again that were owned. */
  outcomes(): Promise<OutcomeCounts>;
  /** Forgets outcomes that were decided longer ago, some thousand at a time. Returns how many. */
  forgetOutcomes(fence: Fence, olderThanMs: number): Promise<number>;
}
