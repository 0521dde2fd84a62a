import type { TableId } from '../change/table-id.ts';

/**
 * How to make the shadow's schema: statements in the order they must run. Made from production's
 * catalogue, from an SQL file, or from events; run by the dialect on an empty database.
 */
export interface ShadowPlan {
  readonly statements: readonly PlanStatement[];
  /** What exists in production but could not be carried over, with the reason. */
  readonly notCarried: readonly { readonly what: string; readonly why: string }[];
  /** Tables the plan makes, where known (a file's are found by looking afterwards). */
  readonly tables: readonly TableId[];
  /**
   * Triggers of production's that the trunk keeps aside, and rollouts get: where the engine has no way to spare the
   * applier. Default: none.
   */
  readonly triggers?: readonly PlanTrigger[];
}

/** What a text means that the server keeps depends on these. */
export interface StoredProgram {
  readonly sqlMode: string;
  readonly collation: string;
}

/** In the order in which they act. */
export interface PlanTrigger extends StoredProgram {
  readonly name: string;
  readonly table: string;
  readonly timing: string;
  readonly event: string;
  readonly body: string;
  /** Tables and views that its text names, besides its own table, and those that what it calls names. */
  readonly names: readonly string[];
  /** Functions and procedures that it calls, and those that these call. */
  readonly calls: readonly string[];
}

export interface PlanStatement {
  readonly sql: string;
  /** For messages: `table public.orders`, `function public.total()`. */
  readonly what: string;
  /** Failure of an optional statement is reported in `notCarried`; of any other it is an error. */
  readonly optional: boolean;
  /** `what` of earlier statements that it cannot do without, where known. */
  readonly needs?: readonly string[];
  /** Of one that makes a stored program, whose text may name its database: `source`, in production. */
  readonly program?: StoredProgram & { readonly source: string };
}
