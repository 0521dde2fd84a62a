import type { EngineName, ShadowDatabase } from '../../../src/dialect/dialect.ts';
import type { OffsetRange } from '../../../src/change/offset-ranges.ts';
import type { OffsetMap } from '../../../src/change/position.ts';
import type { CanonicalState } from '../canonical-state.ts';
import type { HistorySource, ModelState } from './history.ts';

/** What the crash suite needs of an engine: one adapter each. */
export interface CrashEngine {
  readonly engine: EngineName;
  /** It has rollouts, and snapshots of them for drift checks. */
  readonly overlay: boolean;
  readonly source: HistorySource;
  /** A server of one's own with nothing in it. */
  start(): Promise<CrashServer>;
}

export interface CrashServer extends AsyncDisposable {
  /** Of an account that may do everything. */
  readonly url: string;
  /** A trunk with the model's tables, and a witness of every row that an applier writes. */
  createTrunk(database: string): Promise<void>;
  /** Drops it, whatever is in it or has it open. */
  drop(database: string): Promise<void>;
  /** Ends all sessions of appliers in a database. */
  endSessions(database: string): Promise<void>;
  /**
   * The model's tables and the position, of one moment; of production's image in a rollout. Null
   * if an applier keeps readers out, as one does that is stopped in the midst of a truncate.
   */
  observe(database: string, kind: 'trunk' | 'rollout'): Promise<Observation | null>;
  /** What the model's tables look like when the server itself holds these rows. One at a time. */
  rebuild(rows: ModelState): Promise<CanonicalState>;
  /** Whether some committed transaction wrote rows and saved no place, or moved one back. */
  witnessed(database: string): Promise<readonly string[]>;
  /** A candidate's session on a rollout. */
  candidate(database: string): Promise<Candidate>;
  /** The database as an applier that is wrong on purpose sees it. */
  naive(url: string, database: ShadowDatabase, fault: CrashFault): NaiveDatabase;
}

export interface Observation {
  readonly state: CanonicalState;
  readonly offsets: OffsetMap;
  /** Records that are applied beyond them. */
  readonly ahead: readonly OffsetRange[];
}

export interface Candidate extends AsyncDisposable {
  /** Runs a statement. False if it met the applier's locks, or a row that it must not have. */
  write(sql: string): Promise<boolean>;
}

/**
 * What is wrong on purpose, in negative controls:
 * - `position-after-rows`, `position-before-rows`: the position has a transaction of its own.
 * - `no-fence`: nobody asks whether the database is still ours, nor whether the position moves.
 * - `rows-again`: where the commit's answer was lost, the same rows are written once more.
 */
export type CrashFault = 'position-after-rows' | 'position-before-rows' | 'no-fence' | 'rows-again';

export type NaiveDatabase = Pick<
  ShadowDatabase,
  'name' | 'apply' | 'applyTogether' | 'openBaseSnapshot'
> &
  AsyncDisposable;
