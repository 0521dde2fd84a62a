/**
 * What of production's changed schema an engine can carry into a shadow. A change is carried out
 * before the record that needs it is read, and only if it loses nothing: so that a shadow which
 * stops between the two is whole, and its position need not move.
 */
import type { SourcePosition } from '../change/position.ts';
import type { TableId } from '../change/table-id.ts';
import type { FormerColumn } from '../schema/former-columns.ts';
import type { SchemaChange } from '../schema/schema-change.ts';
import type { PlanStatement } from '../schema/shadow-plan.ts';
import type { TableRename } from '../schema/table-renames.ts';
import type { Fence, ProductionDatabase, ShadowDatabase } from './dialect.ts';

/** One change, and how a shadow is brought to it. */
export interface CarriedChange {
  readonly change: SchemaChange;
  /** In order. What is there already is passed over. */
  readonly statements: readonly PlanStatement[];
  /** What keeps production's image of rows beside their table changes alike. */
  readonly beside: (relation: string) => readonly string[];
  /**
   * Where the engine lets a column be added between others: production's columns before it, which the
   * first statement does not tell.
   */
  readonly after?: readonly string[];
}

export type ChangeFinding =
  | { readonly kind: 'carried'; readonly carried: CarriedChange }
  /** Production has it no more. */
  | { readonly kind: 'absent' }
  /** It cannot be carried out as production has it: what rows hold would be a guess. */
  | { readonly kind: 'untold'; readonly why: string };

export interface TableIdentity {
  readonly table: TableId;
  /** Equal only for one table of one server, whatever it is called. */
  readonly id: string;
  /** By name, a number that a column keeps, and that no other one of the table ever has. */
  readonly columns: ReadonlyMap<string, number>;
}

/** What production's tables keep through a change of their names. */
export interface TableIdentities {
  readonly tables: readonly TableIdentity[];
  /** A place in production's log, of before they were read. */
  readonly at: SourcePosition;
}

/** Identities of production's tables, by the names that the shadow's have. */
export interface IdentityLedger {
  /** Errors: SHADOW_UNREACHABLE. */
  known(): Promise<readonly TableIdentity[]>;
  /** In place of what is known of these. Errors: as of `carry`. */
  keep(fence: Fence, tables: readonly TableIdentity[]): Promise<void>;
}

export interface SchemaSource {
  /** Every new column comes to stand at the end of its table. */
  readonly appends: boolean;
  /** The connector tells of each statement that changes a table, on its schema-change topic. */
  readonly isTold: boolean;
  /**
   * How a change can be carried out, as production is now. `includes` says which tables take part.
   * Errors: PRODUCTION_UNREACHABLE, DATABASE_PERMISSION.
   */
  finding(change: SchemaChange, includes: (table: TableId) => boolean): Promise<ChangeFinding>;
  /** Null where tables keep nothing through a change of their names. Errors: as of `finding`. */
  readonly identities: (() => Promise<TableIdentities>) | null;
}

/** A table that is not, or may not be, what production has under its name. */
export interface NotedTable {
  readonly table: TableId;
  /**
   * `kept`: production dropped it, and it is as it was then. `waits`: production made it again, and its
   * records wait. `mixed`: so they do, since columns were replaced by others of their names.
   */
  readonly state: 'kept' | 'waits' | 'mixed';
  /** Since it was noted so, by the shadow server's clock. */
  readonly ageMs: number;
}

export interface SchemaTarget {
  /**
   * Carries changes out, with all that is ours beside the tables. Where the engine can, in one fenced
   * transaction, but for labels of enums, which go before in one of their own. Where the engine commits
   * at every such statement: one by one while the fence is held, so that what fails leaves those before
   * it done; what is done already is passed over.
   * Returns what could not be made of what a table does without, with the reason. Errors: FENCED,
   * APPLY_BLOCKED (a session reads the table: retry), SHADOW_UNREACHABLE (retry; it may have
   * happened), SCHEMA_FAILED, for instance for a type that the shadow lacks.
   */
  carry(fence: Fence, changes: readonly CarriedChange[]): Promise<readonly string[]>;
  /** Records may have such a column, see TableSchema.former. Errors: as of `carry`. */
  remember(fence: Fence, former: FormerColumn): Promise<void>;
  /** Tables got other names, in production's order: carried, or remembered. Errors: SHADOW_UNREACHABLE. */
  renames(): Promise<readonly TableRename[]>;
  /** Ends what a crash cut off of a rename that was being carried. Errors: as of `carry`. */
  finishRenames(fence: Fence): Promise<void>;
  /** Records may have such a name, though no table here has it. Errors: as of `carry`. */
  rememberRename(fence: Fence, rename: TableRename): Promise<void>;
  /** Null where production has none. */
  readonly identities: IdentityLedger | null;
  /**
   * Names, by `tableName()`, of tables that a carried change dropped or gave another name.
   * Errors: SHADOW_UNREACHABLE.
   */
  formerTables(): Promise<ReadonlySet<string>>;
  /** Errors: SHADOW_UNREACHABLE. */
  noted(): Promise<readonly NotedTable[]>;
  /**
   * In place of what was noted of the table; null: nothing any more, as after a carried change that drops
   * or makes it. Errors: as of `carry`.
   */
  note(fence: Fence, table: TableId, state: NotedTable['state'] | null): Promise<void>;
}

export interface EvolvingProduction extends ProductionDatabase {
  readonly evolving: SchemaSource;
}

export interface EvolvingShadow extends ShadowDatabase {
  readonly evolving: SchemaTarget;
}

/** Null if changes are not carried over on its engine. */
export function schemaSourceOf(production: ProductionDatabase): SchemaSource | null {
  return 'evolving' in production ? (production as EvolvingProduction).evolving : null;
}

/** Null if changes are not carried over on its engine. */
export function schemaTargetOf(database: ShadowDatabase): SchemaTarget | null {
  return 'evolving' in database ? (database as EvolvingShadow).evolving : null;
}
