/**
 * What an engine offers if a trunk can be filled by a pinned copy from production, beside the port
 * of dialect.ts: reading tables of one snapshot on several sessions, writing them into a trunk
 * that nobody follows yet, and keeping there how far the copy has come. Engines without it have
 * neither of the two properties `copying`.
 */
import type { OffsetMap } from '../change/position.ts';
import type { TableId } from '../change/table-id.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import type { Fence, ProductionDatabase, ShadowDatabase } from './dialect.ts';

/** Rows as one engine writes and reads them: in pieces that are handed on as they were cut. */
export type RowBytes = AsyncIterable<Uint8Array>;

/** A moment in production's log. */
export interface CopyMark {
  /** All that was committed before it lies before this place. */
  readonly position: bigint;
  /** In the engine's own words: what tells transactions that were in the log before from later ones. */
  readonly transaction: string;
}

/** A part of a table: the parts of one table hold every row once. */
export interface CopyRange {
  readonly table: TableId;
  /** Which part, in the engine's own words: what is read, and under which condition. */
  readonly relation: string;
  readonly where: string;
  /** About how much of the disk it takes. */
  readonly bytes: number;
}

/**
 * A snapshot of production that several sessions read. It keeps old versions of rows alive until it is
 * disposed; tables are locked only while a range of theirs is read (some servers: from then on until it
 * is disposed), and only against changes of their shape.
 */
export interface CopySnapshot extends AsyncDisposable {
  /** See SnapshotView. */
  readonly snapshot: string;
  /** A position of production's log behind all that the snapshot sees. */
  readonly marker: bigint;
  /** How many readers it may have at a time, at most: no more than were asked for. */
  readonly readers: number;
  tables(): Promise<SchemaCatalogue>;
  /** Parts of about `rangeBytes`. A partitioned table stands for its partitions. */
  ranges(table: TableId, rangeBytes: number): Promise<readonly CopyRange[]>;
  openReader(): Promise<CopyReader>;
}

/** One session that reads the snapshot; one call at a time, none after one that failed. */
export interface CopyReader extends AsyncDisposable {
  /**
   * Hands the range's rows to `sink` and gives back what that made of them. Resolves only if they
   * were all of them. Errors: READ_FAILED, PRODUCTION_UNREACHABLE, TABLE_REWRITTEN, and what
   * `sink` throws.
   */
  read<T>(
    range: CopyRange,
    columns: readonly string[],
    sink: (rows: RowBytes) => Promise<T>,
  ): Promise<T>;
}

export interface CopySource {
  /**
   * Where production's log ends. Writes one message there where that cannot be told without, which is
   * all that is ever written.
   */
  mark(): Promise<CopyMark>;
  /**
   * A snapshot for so many readers that sees every transaction which the log had before the mark
   * (`transaction` is its), or was about to have. Errors: PIN_FAILED after `timeoutMs`,
   * DATABASE_PERMISSION, PRODUCTION_UNREACHABLE, the signal's reason.
   */
  pinAfter(
    transaction: string,
    options: {
      readonly readers: number;
      readonly timeoutMs: number;
      readonly signal: AbortSignal;
    },
  ): Promise<CopySnapshot>;
}

/** Where the copy of one table stands. */
export interface CopiedTable {
  readonly table: TableId;
  /** The snapshot its rows are of, and the position behind all that this sees. */
  readonly snapshot: string;
  readonly marker: bigint;
  readonly done: boolean;
  readonly ranges: number;
  readonly rangesDone: number;
  readonly rows: number;
  /** Of the ranges: on production's disk, and those done of them. */
  readonly bytes: number;
  readonly bytesDone: number;
}

/** What a trunk knows of the copy it is filled with. */
export interface BootstrapState {
  readonly startedAt: Date;
  /** `CopyMark.transaction` behind the offsets to follow from. Null before those are set. */
  readonly mark: string | null;
  readonly tables: readonly CopiedTable[];
  /** The tables that are copied; null: all of them. */
  readonly only: readonly TableId[] | null;
  /** Null while the copy goes on; then the offsets up to which the log may hold what it saw. */
  readonly ends: OffsetMap | null;
}

/** `BootstrapState.mark` of a trunk that holds a restored backup. */
export const BACKUP_MARK = 'backup';

export interface AdoptedBackup {
  /** See SnapshotView; and a position of production's log behind all that it sees. */
  readonly snapshot: string;
  readonly marker: bigint;
  readonly tables: readonly TableId[];
  readonly offsets: OffsetMap;
  readonly ends: OffsetMap;
}

/** Some tables of a trunk that is followed are to be copied anew, since the log lost what comes next. */
export interface Refill {
  readonly tables: readonly TableId[];
  /** Their partitions, as far as they are tables of their own. */
  readonly parts: readonly TableId[];
  /** `CopyMark.transaction` behind `offsets`. */
  readonly transaction: string;
  /** Whose positions mean nothing any more. */
  readonly topics: readonly string[];
  /** Where each partition of these topics is followed from, and their ids as far as they have any. */
  readonly offsets: OffsetMap;
  readonly topicIds: ReadonlyMap<string, string>;
}

export interface TableToCopy {
  readonly table: TableId;
  readonly ranges: number;
  readonly bytes: number;
}

/** One session that writes; one call at a time. */
export interface CopyWriter extends AsyncDisposable {
  /** One transaction: fence, rows, and that this range is in. How many rows there were. */
  write(range: CopyRange, columns: readonly string[], rows: RowBytes): Promise<number>;
}

/** The trunk's side. Every act is one fenced transaction. Errors: FENCED, SHADOW_UNREACHABLE,
 * APPLY_FAILED. */
export interface CopyTarget {
  /** Null if the database was not made to be filled by a copy, or that lies behind. */
  state(): Promise<BootstrapState | null>;
  /** Sets the offsets that the log will be followed from: once, before anything is copied. */
  begin(
    fence: Fence,
    start: { readonly offsets: OffsetMap; readonly transaction: string },
  ): Promise<void>;
  /**
   * In place of what was noted of a copy before: from now on the database is one that is to be filled
   * with these tables, and none of their rows is set aside, parked or unknown. All others stay, with
   * their positions. Without tables only the topics' positions are noted.
   */
  refill(fence: Fence, refill: Refill): Promise<void>;
  /** Empties these tables, of which a part may be in, to be copied from this snapshot. */
  startTables(
    fence: Fence,
    snapshot: { readonly snapshot: string; readonly marker: bigint },
    tables: readonly TableToCopy[],
  ): Promise<void>;
  openWriter(fence: Fence): Promise<CopyWriter>;
  /** All its ranges are in: it is not copied again. */
  finishTable(fence: Fence, table: TableId): Promise<void>;
  /** All tables are in: from now on the database may be followed. */
  handOver(fence: Fence, ends: OffsetMap): Promise<void>;
  /**
   * The rows are there already, from a backup: of these tables, as of this snapshot. From now on the
   * database may be followed, from `offsets`; nothing behind `ends` is seen by the snapshot.
   */
  adopt(fence: Fence, backup: AdoptedBackup): Promise<void>;
  /** The log was applied beyond `ends`: nothing of it need be known any more. */
  forget(fence: Fence): Promise<void>;
}

export interface CopyingProduction extends ProductionDatabase {
  readonly copying: CopySource;
}

export interface CopyingShadow extends ShadowDatabase {
  readonly copying: CopyTarget;
}

/** Null if its engine cannot be copied from. */
export function copySourceOf(production: ProductionDatabase): CopySource | null {
  return 'copying' in production ? (production as CopyingProduction).copying : null;
}

/** Null if its engine cannot be copied into. */
export function copyTargetOf(database: ShadowDatabase): CopyTarget | null {
  return 'copying' in database ? (database as CopyingShadow).copying : null;
}
