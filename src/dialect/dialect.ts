/**
 * The port between the program and a database engine. Everything above this file is free of SQL
 * and of engine names; everything below it is one folder per engine.
 *
 * Locking order is the engine's secret: a shadow database offers whole acts (`apply`, `reset`)
 * and nothing that invites another order. A position cannot be written except by `apply`, in the
 * transaction that writes the rows and asserts the fence.
 */
import type { OffsetRange } from '../change/offset-ranges.ts';
import type { Position } from '../change/position.ts';
import type { TableId } from '../change/table-id.ts';
import type { KnownValue } from '../change/value.ts';
import type { ConnectorFacts } from '../decode/connectors/settings.ts';
import type { ChangeBatch } from '../order/change-batch.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import type { EventTableSchema } from '../schema/event-schema.ts';
import type { ShadowPlan } from '../schema/shadow-plan.ts';
import type { BackupReading } from './backup.ts';
import type { ConnectorTraces } from './connector-traces.ts';
import type { DeadLetterBox } from './dead-letters.ts';
import type { Fence, FenceState, FollowingNote, HolderNote } from './fence.ts';
import type {
  CandidateRules,
  InstalledOverlay,
  Isolates,
  NumberRange,
  ReadOnly,
  OutcomeCounts,
  OverlayActs,
  OverlayCount,
  OverlayRow,
  ReleasedRows,
  ResolvedRows,
  RowSelection,
} from './overlay.ts';
import type { SqlWriting } from '../schema/sql-writing.ts';
import type { TopicLedger } from './topic-ledger.ts';
import type { PinProof, SnapshotView } from './snapshot-view.ts';

export type EngineName = 'postgresql' | 'mysql' | 'mariadb';
export type DatabaseKind = 'trunk' | 'rollout';

export type { Fence, FenceState, FollowingNote, HolderNote, SnapshotView, SqlWriting };
export type {
  InstalledOverlay,
  Isolates,
  NumberRange,
  ReadOnly,
  OutcomeCounts,
  OverlayCount,
  OverlayRow,
  ReleasedRows,
  ResolvedRows,
  RowSelection,
};

/** What is stored beside the position: proofs and guarantees (see drift/pin). */
export interface StoredProgress {
  readonly position: Position;
  /** Applied source transactions not yet proven visible to production snapshots (32-bit xids). */
  readonly unproven: readonly number[];
  /** Newest id that fell out of `unproven` for lack of room, or null. */
  readonly unprovenEvicted: number | null;
  /** Changes applied so far that carried no source transaction: the guarantee is per key. */
  readonly unmarked: number;
  /** Rows of production that cannot be made here: see TableGaps. */
  readonly parked: number;
  /** Keys whose events are set aside: see DeadLetterBox. */
  readonly deadLetters: number;
  /** Values that are here, but perhaps not production's: see TableGaps. */
  readonly unknown: number;
}

/** From where the log is read on, and what of it must not be applied again. As of one moment. */
export interface ResumePoint {
  readonly position: Position;
  /** Records beyond the position that are applied all the same, in ranges that do not overlap. */
  readonly ahead: readonly OffsetRange[];
  /**
   * Of the last source transactions, the oldest first: ids of those that were applied whole, and
   * notes of those that were given up (order/given-up.ts). See REMEMBERED_IDS.
   */
  readonly delivered: readonly string[];
}

/** What a shadow does not know of one of production's tables. Keys are text, in key order. */
export interface TableGaps {
  readonly table: TableId;
  /** Columns whose value may be another, because the connector did not say which it is. */
  readonly unknown: readonly {
    readonly key: readonly string[];
    readonly columns: readonly string[];
  }[];
  /** Rows that production has and the shadow cannot make, because events left columns out. */
  readonly parked: readonly (readonly string[])[];
  /** Keys whose events are set aside, so that their rows are of before; null for all rows. */
  readonly dead: readonly (readonly string[] | null)[];
}

/** How many values of a column are unknown; without column, how many rows are parked. */
export interface GapCount {
  readonly table: TableId;
  readonly column: string | null;
  readonly entries: number;
  /** Age of the oldest, by the server's clock. */
  readonly oldestMs: number;
}

export interface DatabaseMarker {
  readonly id: string;
  readonly kind: DatabaseKind;
  /** Rollout name, or the trunk's. */
  readonly name: string;
  readonly topicPrefix: string;
  readonly schemaVersion: number;
}

export interface ApplyOutcome {
  readonly rows: number;
  /** Rows whose base image moved instead, because the candidate owns them. */
  readonly owned: number;
  /** How often the race-proof sequence had to be repeated. */
  readonly repairs: number;
  /** Keys whose changes wait for the candidate from now on, see waiting.ts. */
  readonly parked?: number;
  readonly uncarried?: number; // changes of which a foreign key forbade what it does to other rows
}

/** One database of ours on a shadow server. All methods throw UnderstudyError. */
export interface ShadowDatabase extends AsyncDisposable, OverlayActs {
  readonly name: string;
  readonly marker: DatabaseMarker;
  readonly deadLetters: DeadLetterBox;
  readonly topics: TopicLedger;

  /** The tables as they are now. Cached by the caller, who asks again after a schema change. */
  catalogue(): Promise<SchemaCatalogue>;

  fenceState(): Promise<FenceState>;
  /**
   * Takes the fence if `fenceState().free`, with a higher generation; ends the sessions of a
   * holder that is silent. Returns null if somebody else holds it.
   */
  takeFence(holder: string): Promise<Fence | null>;
  /** A sign of life, with what `status` shows. FENCED if another holder took it; SHADOW_REWOUND. */
  renewFence(fence: Fence, note: HolderNote): Promise<void>;
  /**
   * For a holder that gets no answer: acts and signs of life that wait for one fail with
   * SHADOW_UNREACHABLE, and the next ones go over new connections.
   */
  breakConnections(): void;
  /** Gives it back so that a stand-by need not wait. Never throws FENCED. */
  releaseFence(fence: Fence): Promise<void>;

  progress(): Promise<StoredProgress>;
  /** Where its holder begins to follow. */
  resumePoint(): Promise<ResumePoint>;
  /** The oldest gaps, at most `limit` rows. A known value for a gap, when applied, closes it. */
  gaps(limit: number): Promise<readonly TableGaps[]>;
  gapCounts(): Promise<readonly GapCount[]>;

  /**
   * One transaction { fence asserted, rows and base images written race-proof, position saved },
   * committed when the promise resolves and not at all when it rejects. Idempotent: applying the
   * same batch again changes nothing, which an engine tells by the position, or by the records
   * that it saved as written ahead of it, under a lock that waits for a commit whose answer was
   * lost; rows alone do not tell it. Not so for a batch ahead of the position that is of no records.
   * Errors: FENCED, APPLY_BLOCKED (a lock of the candidate: retry), SHADOW_UNREACHABLE (retry),
   * SHADOW_REWOUND (commits are lost: read on from `resumePoint` under a new fence),
   * ROW_INCOMPLETE, TABLE_UNKNOWN, COLUMN_UNKNOWN, KEY_MISSING, APPLY_FAILED (as RowRefused where
   * it is due to what a row holds).
   */
  apply(fence: Fence, batch: ChangeBatch): Promise<ApplyOutcome>;
  /**
   * As `apply`, of batches that follow each other and are committed together. Tries nothing again
   * that takes long: after a rejection, also one by `batches`, nothing of them is written.
   */
  applyTogether(fence: Fence, batches: AsyncIterable<ChangeBatch>): Promise<ApplyOutcome>;

  /** Drops ids from `unproven` that a production snapshot saw. */
  proveVisible(fence: Fence, txIds: readonly number[]): Promise<void>;

  /** One consistent snapshot of production's image as applied, for drift checks. */
  openBaseSnapshot(): Promise<BaseReader>;
}

/** The server that holds the control database, the trunk and the rollouts. */
export interface ShadowServer extends AsyncDisposable {
  readonly engine: EngineName;
  readonly version: string;
  /** Address without credentials, for messages. */
  readonly address: string;
  identity(): Promise<ServerIdentity>;
  /**
   * The control database; with `create` it is made if it does not exist, else null is returned.
   * Reading commands do not create.
   */
  control(options: { readonly create: true }): Promise<ControlStore>;
  control(options: { readonly create: boolean }): Promise<ControlStore | null>;
  /** Whether this advisory lock is held on the server, in any database: for the isolation guard. */
  lockVisible(probe: bigint): Promise<boolean>;
  /** The database with our marker. Null if it does not exist; TARGET_NOT_OURS without marker. */
  open(name: string): Promise<ShadowDatabase | null>;
  createTrunk(options: {
    readonly name: string;
    readonly topicPrefix: string;
    readonly plan: ShadowPlan;
    /** It is to be filled by a copy before anybody follows it, see copying.ts. Default false. */
    readonly bootstrap?: boolean;
    /**
     * Its rows are there, and its tables: a backup of production that a person restored into a
     * database of this name. Of `plan` nothing is made. BACKUP_MISSING. Default false.
     */
    readonly restored?: boolean;
    readonly onProgress?: (done: number, total: number) => void;
  }): Promise<{ readonly skipped: readonly string[] }>;
  /**
   * Copies a database that nobody of ours has open. Ends foreign sessions on it. The copy gets
   * its own id and a higher generation before anybody can open it.
   */
  clone(options: {
    readonly from: string;
    readonly to: string;
    readonly rolloutName: string;
  }): Promise<void>;
  /** Makes the candidate's role, lets it in, returns the address it connects with. */
  createCandidateRole(options: {
    readonly database: string;
    readonly role: string;
    readonly password: string;
  }): Promise<{ readonly url: string }>;
  drop(options: { readonly database: string; readonly role: string | null }): Promise<void>;
}

/** Facts by which the isolation guard tells servers apart. */
export interface ServerIdentity {
  /** PostgreSQL system_identifier, MySQL server_uuid, MariaDB server uid. */
  readonly systemId: string;
  readonly inRecovery: boolean;
  /** Names of logical replication slots on the server. */
  readonly slots: readonly string[];
}

// ---- reading tables for comparison ---------------------------------------------------------

export interface ComparedTable {
  readonly table: TableId;
  readonly key: readonly string[];
  /** Columns compared, in order. */
  readonly columns: readonly string[];
}

/** Rows with from <= key < to; null is open. Values are key columns as text. */
export interface LeafRange {
  readonly from: readonly string[] | null;
  readonly to: readonly string[] | null;
}

/** Checksum of a set of rows. */
export interface LeafHash {
  readonly rows: number;
  /** Sum of row hashes as a decimal text: order-free, duplicates count. */
  readonly hash: string;
}

export interface Leaf extends LeafRange, LeafHash {}

/** One row's identity and checksum. `key` is empty for a table without key. */
export interface RowHash {
  readonly key: readonly string[];
  readonly hash: string;
}

/** One row's compared columns as exact text, in the order of `ComparedTable.columns`. */
export interface RowText {
  readonly key: readonly string[];
  readonly values: readonly (string | null)[];
}

/**
 * Reads tables inside one pinned, consistent snapshot. The same hash expression runs on both
 * sides; `selfTest` makes sure that both servers compute it alike. One call at a time.
 *
 * Errors: READ_FAILED (a right is missing, the session ended), TABLE_REWRITTEN (truncated or
 * rewritten after the snapshot was taken, so that the snapshot no longer shows its rows).
 */
export interface TableReader extends AsyncDisposable {
  tables(): Promise<SchemaCatalogue>;
  /** Hashes of known rows; equal on both sides or nothing may be compared. */
  selfTest(): Promise<string>;
  /**
   * How each compared column, and then each key column, is hashed and ordered. Where the two
   * sides' entries differ, their hashes cannot be compared.
   */
  forms(table: ComparedTable): Promise<readonly string[]>;
  /**
   * Cuts the table into leaves of `leafRows` rows by its own keys and hashes them: consecutive
   * ranges, handed out in groups, that cover every possible key from null to null. A table
   * without key is one leaf.
   */
  cutLeaves(table: ComparedTable, leafRows: number): AsyncIterable<readonly Leaf[]>;
  /** Hashes given consecutive ranges, in their order, handed out in groups. */
  hashLeaves(
    table: ComparedTable,
    ranges: readonly LeafRange[],
  ): AsyncIterable<readonly LeafHash[]>;
  /** (key, row hash) of all rows in the ranges, in no particular order. */
  rowHashes(table: ComparedTable, ranges: readonly LeafRange[]): Promise<readonly RowHash[]>;
  /** For some keys: column values as text, to name the columns that differ. */
  rows(table: ComparedTable, keys: readonly (readonly string[])[]): Promise<readonly RowText[]>;
  /** A person's words for a key as this reader writes them; null if they are no values of it. */
  spellKey(table: ComparedTable, key: readonly string[]): Promise<readonly string[] | null>;
  /** About how many rows the table has, by the server's statistics; 0 if there are none. */
  aboutRows(table: ComparedTable): Promise<number>;
}

/** A reader of production's image in a shadow. */
export interface BaseReader extends TableReader {
  /** All gaps, as of the same snapshot. */
  gaps(): Promise<readonly TableGaps[]>;
  /** Tables, by `tableName()`, where a candidate may have written rows that are not told from production's. */
  notCaptured(): Promise<ReadonlySet<string>>;
}

/** A pinned snapshot of production, with what is needed to reach the same point in the log. */
export interface PinnedSnapshot extends SnapshotView, AsyncDisposable {
  /** For the report: how position and snapshot are tied together. */
  readonly proof: PinProof;
  /** End of production's log before the snapshot was taken: what began later is not surely in it. */
  readonly floor: bigint;
  /** Position of the marker written after the snapshot: the barrier must pass it. */
  readonly marker: bigint;
  readonly reader: TableReader;
}

/** Production, read-only. */
export interface ProductionDatabase extends AsyncDisposable {
  /** As the server itself tells, whatever the URL's scheme. */
  readonly engine: EngineName;
  readonly address: string;
  identity(): Promise<ServerIdentity>;
  /** Everything needed to make the shadow's schema; `include` says which tables take part. */
  planShadow(include?: (table: TableId) => boolean): Promise<ShadowPlan>;
  /**
   * What a snapshot taken now sees, for proofs of `StoredProgress.unproven`: not asked where there are
   * none. Errors: PIN_FAILED on a server that cannot say it exactly.
   */
  view(): Promise<SnapshotView>;
  /**
   * Snapshot, then marker. See pin-proofs: the applier must be frozen before. It sees all that was
   * applied, but for what is `unproven`. Errors: PIN_FAILED.
   */
  pin(): Promise<PinnedSnapshot>;
  /** Why the connector cannot be reading this server or its source; null if it may. */
  unlike(connector: ConnectorTraces): Promise<string | null>;
  /** Takes the random advisory lock of the isolation guard; released by disposing. */
  holdProbeLock(probe: bigint): Promise<AsyncDisposable>;
  /** The tables as they are now, with their columns' types. */
  catalogue(): Promise<SchemaCatalogue>;
  /**
   * Findings of `doctor` about settings, rights and tables, engine-specific. `stream` is null
   * where the connector's configuration is not known.
   */
  diagnose(tables: readonly TableId[], stream: StreamFacts | null): Promise<readonly Diagnosis[]>;
}

/** What production feeds: the connector, as far as findings about production depend on it. */
export interface StreamFacts extends Pick<
  ConnectorFacts,
  'modes' | 'unknownDatatypes' | 'stopsAtValues' | 'slot' | 'publication'
> {
  /** It is registered with Kafka Connect, so what it makes at its start should be there. */
  readonly started: boolean;
}

export interface Diagnosis {
  readonly id: string;
  readonly level: 'ok' | 'warning' | 'error';
  readonly message: string;
  readonly cure: string | null;
  /** The table of production that it is about, where it is about one. */
  readonly table?: TableId;
}

// ---- control -------------------------------------------------------------------------------

export type RolloutState = 'creating' | 'following' | 'paused' | 'failed' | 'deleting';

export interface RolloutRow {
  readonly name: string;
  readonly database: string;
  readonly role: string;
  readonly url: string;
  readonly state: RolloutState;
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
}

export type RequestKind =
  | 'rollout-create'
  | 'rollout-delete'
  | 'reset'
  | 'release'
  | 'truncate'
  | 'yield'
  | 'resolve'
  | 'drift-check'
  | 'repair'
  | 'dead-letters-replay'
  | 'dead-letters-discard'
  | 'schema-accept';

export interface RequestRow {
  readonly id: string;
  readonly kind: RequestKind;
  /** The database whose holder must act. */
  readonly database: string;
  readonly args: unknown;
  readonly state: 'open' | 'running' | 'done' | 'failed';
  /** JSON outcome, or the error's JSON. */
  readonly outcome: unknown;
}

/**
 * The control database `understudy` on the shadow server: rollouts with their states, requests,
 * drift runs, audit.
 */
export interface ControlStore extends AsyncDisposable {
  /** By the server's clock. */
  now(): Promise<Date>;
  rollouts(): Promise<readonly RolloutRow[]>;
  rollout(name: string): Promise<RolloutRow | null>;
  /** ROLLOUT_EXISTS if the name is taken. */
  insertRollout(row: RolloutRow): Promise<void>;
  updateRollout(
    name: string,
    change: Partial<Pick<RolloutRow, 'state' | 'url' | 'expiresAt'>>,
  ): Promise<void>;
  deleteRollout(name: string): Promise<void>;

  submitRequest(kind: RequestKind, database: string, args: unknown): Promise<string>;
  request(id: string): Promise<RequestRow | null>;
  /** Claims the oldest open request for a database; null if none. */
  claimRequest(database: string, holder: string): Promise<RequestRow | null>;
  /**
   * Opens again what former holders of the database claimed and never finished. For a new holder
   * to call once, after it took the fence. Returns how many.
   */
  reopenRequests(database: string, holder: string): Promise<number>;
  /** Takes back a request that nobody has begun; false if it is too late for that. */
  withdrawRequest(id: string): Promise<boolean>;
  finishRequest(id: string, state: 'done' | 'failed', outcome: unknown): Promise<void>;

  saveDriftRun(run: {
    readonly database: string;
    readonly verdict: string;
    readonly report: unknown;
  }): Promise<string>;
  audit(actor: string, action: string, subject: string, detail: unknown): Promise<void>;
}

export interface ShadowOptions extends CandidateRules {
  /** How long a silent holder keeps a database. Default 10 s. */
  readonly leaseMs?: number;
}

/** What an engine offers. One per engine; found by name in the registry. */

export interface Dialect {
  readonly engine: EngineName;
  /** Whether rows that its log leaves in doubt are read again from production unasked, at a pin. */
  readonly rereads: boolean;
  connectShadow(url: string, options?: ShadowOptions): Promise<ShadowServer>;
  /** `includes` decides which tables take part in plans and diagnoses. */
  connectProduction(
    url: string,
    includes: (table: TableId) => boolean,
  ): Promise<ProductionDatabase>;
  /** The view of a snapshot by its text, as a manifest stores it. MANIFEST_INVALID if unreadable. */
  snapshotView(snapshot: string): SnapshotView;
  /**
   * What a backup holds whose place in production's log is `position`, in a person's words.
   * CONFIG_INVALID if they are none.
   */
  readBackup(position: string): BackupReading;
  /** A schema for a trunk that knows only what its events tell. */
  planFromEvents(tables: readonly EventTableSchema[]): ShadowPlan;
  /** Renders a value as this engine's input text; used by reports and tests too. */
  renderText(value: KnownValue): string | null;
  /** How statements are written for a person to run. */
  readonly sql: SqlWriting;
}
