/**
 * What of production's changed schema an engine can carry into a shadow that lacks it. A change is
 * carried out before the record that needs it is read, and only if it loses nothing: so that a
 * shadow which stops between the two is whole, and its position need not move.
 */
import type { TableId } from '../change/table-id.ts';
import type { Fence, ProductionDatabase, ShadowDatabase } from './dialect.ts';

/** A column that production has and a shadow lacks. */
export type ColumnFinding =
  /** These statements make it, with production's value in the rows that are there already. */
  | { readonly kind: 'addable'; readonly statements: readonly string[] }
  /** Production has it no more: it was dropped, or renamed. */
  | { readonly kind: 'absent' }
  /** What it holds in rows that no event tells of cannot be known. */
  | { readonly kind: 'untold'; readonly why: string };

export interface ColumnSource {
  /** The column as production has it now. Errors: PRODUCTION_UNREACHABLE, DATABASE_PERMISSION. */
  column(table: TableId, column: string): Promise<ColumnFinding>;
}

export interface ColumnTarget {
  /**
   * Runs the statements of an addable column in one fenced transaction. Errors: FENCED,
   * APPLY_BLOCKED (a session reads the table: retry), SHADOW_UNREACHABLE (retry; it may have
   * happened), SCHEMA_FAILED, for instance for a type that the shadow lacks.
   */
  addColumn(fence: Fence, statements: readonly string[]): Promise<void>;
}

export interface EvolvingProduction extends ProductionDatabase {
  readonly columns: ColumnSource;
}

export interface EvolvingShadow extends ShadowDatabase {
  readonly columns: ColumnTarget;
}

/** Null if columns are not carried over on its engine. */
export function columnSourceOf(production: ProductionDatabase): ColumnSource | null {
  return 'columns' in production ? (production as EvolvingProduction).columns : null;
}

/** Null if columns are not carried over on its engine. */
export function columnTargetOf(database: ShadowDatabase): ColumnTarget | null {
  return 'columns' in database ? (database as EvolvingShadow).columns : null;
}
