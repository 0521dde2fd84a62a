/** What both sides of a rollout changed, read for people and machines. */
import { isolatedTables } from '../config/table-filter.ts';
import { tableName } from '../change/table-id.ts';
import type { RowSelection } from '../dialect/dialect.ts';
import type { ConflictKind } from '../overlay/conflict.ts';
import type { RuntimeContext } from './context.ts';
import { readRollout } from './existing-rollout.ts';

export interface RolloutConflicts {
  readonly name: string;
  readonly conflicts: readonly ListedConflict[];
  /** Some table has as many as were asked for, and may have more. */
  readonly truncated: boolean;
}

export interface ListedConflict {
  readonly table: string;
  readonly key: readonly string[];
  readonly kind: ConflictKind;
  readonly detail: string | null;
  readonly trace: string | null;
  /** ISO 8601: the candidate's first write, and production's first change that made a conflict. */
  readonly firstAt: string;
  readonly at: string;
  /** Where production's log stood with each, as far as it is remembered. */
  readonly firstSource: unknown;
  readonly source: unknown;
  /** Columns in which both sides differ. */
  readonly columns: readonly (
    | { readonly name: string }
    | {
        readonly name: string;
        readonly base: string | null;
        readonly production: string | null;
        readonly candidate: string | null;
      }
  )[];
}

/** Takes no fence. Errors: ROLLOUT_NOT_FOUND, TABLE_UNKNOWN. */
export async function readConflicts(
  context: RuntimeContext,
  name: string,
  options: RowSelection & {
    /** Listed per table. */
    readonly limit: number;
    /** Only then do column values appear; keys always do. */
    readonly showValues: boolean;
  },
): Promise<RolloutConflicts> {
  return readRollout(context, name, async (database) => {
    const { limit, showValues, ...only } = options;
    // What a table that is kept apart refers to need not be there.
    const isolates = only.table === undefined ? isolatedTables(context.config) : () => false;
    const found = (await database.overlayConflicts(limit, only)).filter(
      ({ table, kind }) => kind !== 'fk_orphan' || !isolates(table),
    );
    const counts = Map.groupBy(found, (one) => tableName(one.table));
    return {
      name,
      conflicts: found.map((one) => ({
        ...{ table: tableName(one.table), key: one.key, kind: one.kind },
        ...{ detail: one.detail, trace: one.trace },
        ...{ firstAt: one.firstAt.toISOString(), at: one.at.toISOString() },
        firstSource: parsed(one.firstSource),
        source: parsed(one.source),
        columns: one.columns.map(({ column, base, production, candidate }) =>
          showValues ? { name: column, base, production, candidate } : { name: column },
        ),
      })),
      truncated: [...counts.values()].some((of) => of.length >= limit),
    };
  });
}

function parsed(source: string | null): unknown {
  return source === null ? null : JSON.parse(source);
}
