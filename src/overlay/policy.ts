/**
 * Who wins where production changes a row that the candidate owns, table by table and column by column. The
 * base image always moves; a policy decides what the candidate sees.
 */

import { UnderstudyError } from '../errors/understudy-error.ts';

/**
 * Of a column that both sides have in a row:
 * - `overlay-wins`: it stays as the candidate has it
 * - `source-wins`: it becomes what production has
 * - `merge`: it becomes what production has, unless the candidate changed it; where both did, differently, it
 *   stays, and is a conflict
 * - `delta`: what production added to it is added to the candidate's: for counters. NULL adds nothing
 */
export type ColumnPolicy = 'overlay-wins' | 'source-wins' | 'merge' | 'delta';

export interface TablePolicy {
  /**
   * `source-wins`: production's next change of a row is the end of what the candidate wrote into it, deleted
   * or inserted there; and its rows that keep production's out go.
   */
  readonly rows: 'overlay-wins' | 'source-wins';
  /** Of columns that are not named. */
  readonly others: Exclude<ColumnPolicy, 'delta'>;
  readonly columns: ReadonlyMap<string, ColumnPolicy>;
  /** The columns are named for this very table, and not for a pattern: it has to have them. */
  readonly isExact?: boolean;
}

export const OVERLAY_WINS: TablePolicy = {
  rows: 'overlay-wins',
  others: 'overlay-wins',
  columns: new Map(),
};

export type PolicyOf<Table> = (table: Table) => TablePolicy;

const NUMBERS: ReadonlySet<string> = new Set([
  ...['int16', 'int32', 'int64', 'float32', 'float64', 'numeric', 'money'],
]);

/** CONFIG_INVALID for a column that the table lacks, that cannot be a counter, or not be written by a policy. */
export function assertMergeable(
  table: string,
  columns: readonly {
    readonly name: string;
    readonly type: { readonly kind: string };
    readonly isKey: boolean;
  }[],
  policy: TablePolicy,
): void {
  const unknown = [...policy.columns.keys()].find((name) => !columns.some((c) => c.name === name));
  if (policy.isExact === true && unknown !== undefined) {
    const what = 'a policy is named for a column that the table does not have, or computes';
    throw new UnderstudyError('CONFIG_INVALID', what, { table, column: unknown });
  }
  for (const { name, type, isKey } of columns) {
    const own = policy.columns.get(name) ?? 'overlay-wins';
    const what =
      own === 'delta' && !NUMBERS.has(type.kind)
        ? 'only numbers can be merged by delta'
        : own !== 'overlay-wins' && isKey
          ? 'a column of the key is the row’s identity, and has no policy'
          : null;
    if (what !== null) throw new UnderstudyError('CONFIG_INVALID', what, { table, column: name });
  }
}

export function columnPolicy({ columns, others }: TablePolicy, column: string): ColumnPolicy {
  return columns.get(column) ?? others;
}
