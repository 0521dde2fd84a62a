import type { OffsetRange } from '../change/offset-ranges.ts';
import type { OffsetMap, Position } from '../change/position.ts';
import type { TableId } from '../change/table-id.ts';
import type { KnownValue, RowImage } from '../change/value.ts';
import type { DeadNotes } from './dead-notes.ts';

/**
 * The net effect of a batch on one row. At most one per key and step, in the order of the rows'
 * last changes: of two keys that only the database holds equal, the later one counts.
 *
 * - `upsert`: the row has this image afterwards. If `complete`, every column that the connector
 *   sends is known and the row may be inserted; columns that are absent keep the value they have in
 *   the row with key `from`, or else `key`, if there is one, and get the shadow's default if there
 *   is none. Otherwise columns that are UNAVAILABLE or absent keep the value
 *   they have in the row with key `from` (before the batch), which must exist. Columns that are
 *   UNSURE are NULL or keep it likewise: the writer judges by the value that is there. For the
 *   columns in `doubted` it judges by the value of the image itself: that one, or NULL.
 * - `delete`: no row has this key afterwards.
 */
export type NetChange =
  | {
      readonly kind: 'upsert';
      readonly key: readonly KnownValue[];
      readonly image: RowImage;
      readonly complete: boolean;
      /** Where kept columns come from: the row's key before the batch. Equal to `key` mostly. */
      readonly from: readonly KnownValue[];
      /**
       * Another row had the key before, and left it in the stretch: what is there is not this row,
       * and supplies no kept column. Absent: whatever the writer finds there is this row.
       */
      readonly replaces?: true;
      /** Columns whose value came in the stretch, and after it a NULL that may be no value. */
      readonly doubted?: ReadonlySet<string>;
      /**
       * The stretch begins with its insert: mostly there is no such row yet. A hint for a writer
       * that has a faster way for new rows; it may be wrong, for instance when a table is read again.
       */
      readonly fresh?: true;
    }
  | { readonly kind: 'delete'; readonly key: readonly KnownValue[] };

/**
 * One change of a table without key, whose rows are a multiset: one more row of this image, or one
 * less. The image has every column that the connector sends.
 */
export interface BagChange {
  readonly kind: 'add' | 'remove';
  readonly image: RowImage;
}

/** What became of a row that others refer to. */
export type ParentChange =
  | { readonly kind: 'delete'; readonly key: readonly KnownValue[] }
  /** `columns`: those that are referred to and have another value now. */
  | {
      readonly kind: 'update';
      readonly key: readonly KnownValue[];
      readonly columns: readonly (readonly [name: string, value: KnownValue])[];
    };

export type BatchStep =
  | { readonly kind: 'rows'; readonly table: TableId; readonly changes: readonly NetChange[] }
  /** In production's order: a row may be added and removed again. */
  | { readonly kind: 'bag'; readonly table: TableId; readonly changes: readonly BagChange[] }
  | { readonly kind: 'truncate'; readonly table: TableId }
  /** What a foreign key does to rows of others; the rows' own changes come in a later step. */
  | {
      readonly kind: 'cascade';
      readonly table: TableId;
      readonly changes: readonly ParentChange[];
    };

/** What was written before a batch: all of it is there if the last of it is. */
export interface BatchStart {
  readonly offsets: OffsetMap;
  /** Records written last ahead of the position; null if there are none. */
  readonly ahead: OffsetRange | null;
}

/** A part of what becomes of production's rows by changes that are set aside. */
export type ImageStep =
  | { readonly kind: 'rows'; readonly table: TableId; readonly changes: readonly NetChange[] }
  /** What these rows are is not known from now on. Keys in the order of the table's. */
  | {
      readonly kind: 'unknown';
      readonly table: TableId;
      readonly keys: readonly (readonly KnownValue[])[];
      /** Changes that do not tell whose row they change. */
      readonly keyless: number;
    };

export interface LetterImages {
  readonly letter: string;
  readonly table: TableId;
  /** In order. */
  readonly steps: readonly ImageStep[];
}

/**
 * What one target transaction writes: steps in order (rows of different tables within one stretch
 * commute; a truncate is a barrier), and the position that holds after it.
 */
export interface ChangeBatch {
  readonly steps: readonly BatchStep[];
  readonly position: Position;
  /**
   * Where the shadow stands before it, as who made it knows. A shadow that stands elsewhere, and not
   * at `position` either, lost commits that were acknowledged, and takes nothing (SHADOW_REWOUND).
   * Default: not asked.
   */
  readonly after?: BatchStart;
  /**
   * It is written ahead of the position, which stays where it is (an armed barrier): then these
   * are the records of all its changes, which are saved with it, so that nobody writes them again.
   * Empty if it is of no records: then nothing tells that it was written, and it must do no harm
   * when it is written twice. A batch without `ahead` is told by its position.
   */
  readonly ahead?: readonly OffsetRange[];
  /**
   * What is to be known of source transactions when they come again, in its order: the ids of those
   * that are whole with this batch, and notes of those that were given up (given-up.ts). Saved with
   * it. Default: none.
   */
  readonly delivered?: readonly string[];
  /** What it sets aside and lets go; saved with it. Default: nothing. */
  readonly dead?: DeadNotes;
  /** What production's rows are by what it sets aside. Default: nothing is told. */
  readonly images?: readonly LetterImages[];
  /**
   * Letters whose queue the steps are: they are gone with it, and without all of them it is not
   * written. Default: none.
   */
  readonly replayed?: readonly string[];
  /** Source transaction ids (PostgreSQL: 32-bit xid) in the batch, for the ring of pin proofs. */
  readonly txIds: readonly number[];
  /** Changes of the stream that carried no source transaction: the guarantee for them is per key. */
  readonly unmarked: number;
  readonly events: number;
  readonly transactions: number;
  readonly bytes: number;
}
