/** What one table's step of a batch is given, and what it tells. */
import type { ClientBase } from 'pg';
import type { SchemaCatalogue } from '../../../schema/table-schema.ts';
import type { Comparisons } from '../catalogue/key-facts.ts';
import type { WaitingTables } from '../overlay/waiting.ts';
import type { Ledgers } from './ledgers.ts';

/** What a step needs to know besides its table. */
export interface StepContext {
  readonly client: ClientBase;
  readonly catalogue: SchemaCatalogue;
  readonly comparisons: Comparisons;
  readonly ledgers: Ledgers;
  /** Where the batch stands in production's log, as text. */
  readonly source: string | null;
  /** Keys may wait for the candidate; null where none does, or what waits is not asked for. */
  readonly waiting: WaitingTables | null;
  /** Names, by `tableName()`, of what the candidate made of production's tables. */
  readonly visible: ReadonlySet<string>;
}

export interface StepOutcome {
  /** Rows written. */
  readonly rows: number;
  /** Rows whose base image moved instead. */
  readonly owned: number;
  /** Attempts undone because the candidate took a row meanwhile. */
  readonly repairs: number;
  /** Keys whose changes wait, and are in none of these. */
  readonly parked?: number;
}
