/**
 * The report of a drift check: a plain value, whose JSON form is the command's `--json` output
 * (architecture, "Shapes"). Fields may be added, never renamed. Row values are in it only where
 * `showValues` asked for them; keys always are.
 */
import type { Divergence } from './divergence.ts';

export const REPORT_VERSION = 1;

/** Drift beats inconclusive: a found difference is not undone by what could not be compared. */
export type Verdict = 'equal' | 'drift' | 'inconclusive';

/** Why a check, or one table of it, is not `equal`. Codes are stable: scripts may branch on them. */
export type ReasonCode =
  // drift
  | 'rows-differ'
  | 'table-missing'
  | 'table-extra'
  | 'column-missing'
  | 'column-extra'
  // inconclusive: one table
  | 'types-differ'
  | 'key-differs'
  | 'table-rewritten'
  | 'table-unreadable'
  | 'values-unknown'
  | 'rows-parked'
  | 'rows-dead'
  | 'rows-not-captured'
  // inconclusive: the whole check
  | 'no-committed-offsets'
  | 'barrier-timeout'
  | 'unproven-transactions'
  | 'incremental-snapshot-in-window'
  | 'initial-snapshot-in-window'
  | 'change-without-transaction'
  | 'incomplete-transaction'
  | 'position-passed'
  | 'hash-differs-between-servers'
  | 'nothing-compared';

export interface Reason {
  readonly code: ReasonCode;
  /** One sentence for people, without row values. */
  readonly message: string;
  /** `schema.name`, where the reason concerns one table. */
  readonly table: string | null;
}

export type DifferenceKind = 'missing' | 'extra' | 'changed';

/**
 * Why a difference is there, where that is known:
 * - `unknown-value`: the connector did not say what the value is
 * - `lossy-setting`: a setting of the connector loses a part of such values
 */
export type DifferenceCause = 'unknown-value' | 'lossy-setting';

export interface ColumnDifference {
  readonly name: string;
  readonly cause?: DifferenceCause;
  /** What prevents such differences, where there is a cause. */
  readonly cure?: string;
  /** Exact text; absent unless values were asked for. */
  readonly production?: string | null;
  readonly shadow?: string | null;
}

/** `missing`: production has the row, our image lacks it. `extra`: the other way round. */
export interface RowDifference {
  readonly table: string;
  readonly key: Readonly<Record<string, string>>;
  readonly kind: DifferenceKind;
  /**
   * `parked-row` of `missing`: events left columns out, and there was no row to keep them from.
   * `dead-letter` of any kind: an event of the row was set aside, and later ones wait behind it.
   * `unknown-value` of `changed` whose columns cannot be named: some of its values are unknown.
   */
  readonly cause?: 'parked-row' | 'unknown-value' | 'dead-letter';
  /** For `changed` the columns that differ; empty if only checksums of production's row are here. */
  readonly columns: readonly ColumnDifference[];
}

export interface TableResult {
  readonly table: string;
  /** Rows of production; of the shadow where production's were not counted. Null if unknown. */
  readonly rows: number | null;
  readonly leaves: number;
  /** `inconclusive`: no row differs, but some are not known. */
  readonly state: 'equal' | 'drift' | 'inconclusive' | 'not-compared';
  readonly missing: number;
  readonly extra: number;
  readonly changed: number;
  /** False: there are more differences than were counted. */
  readonly complete: boolean;
  readonly reason: Reason | null;
}

/** How production and the shadow were brought to one point. */
export interface PinReport {
  readonly proof: 'xid-barrier' | 'log-position';
  /** Production itself, or a manifest written earlier. */
  readonly against: 'production' | 'manifest';
  readonly snapshot: string;
  readonly position: {
    /** The marker in production's log, as decimal text. */
    readonly marker: string;
    /** End offsets that were read to, by `topic/partition`. */
    readonly endOffsets: Readonly<Record<string, string>>;
  };
  /** Transactions held back because the snapshot did not see them. */
  readonly deferred: number;
  /** How long applying stood still, milliseconds. */
  readonly frozenMs: number;
}

export interface DriftReport {
  readonly version: typeof REPORT_VERSION;
  readonly verdict: Verdict;
  readonly reasons: readonly Reason[];
  readonly subject: {
    readonly kind: 'trunk' | 'rollout';
    readonly name: string;
    readonly database: string;
  };
  /** ISO 8601. */
  readonly startedAt: string;
  readonly durationMs: number;
  /** Null if no point was reached. */
  readonly pin: PinReport | null;
  readonly tables: readonly TableResult[];
  readonly differences: readonly RowDifference[];
  /** What the candidate's writes did; null for the trunk. Judges the candidate, not us. */
  readonly divergence: Divergence | null;
}
