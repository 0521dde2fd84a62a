import { acts, type Edge } from '../overlay/edges.ts';
import type { CapturedTable } from '../overlay/journal.ts';
import { sharedLock } from './held-rows.ts';
import type { Patience } from './patience.ts';

/** A captured table, and what its rows refer to. */
export interface OverlaidTable extends CapturedTable {
  readonly parents: readonly ParentLock[];
  readonly patience: Patience;
}

interface ParentLock {
  readonly edge: Edge;
  readonly lock: string;
}

export function overlaid(
  table: CapturedTable,
  edges: readonly Edge[],
  ruled: Pick<OverlaidTable, 'isolated' | 'policy' | 'defaults' | 'patience'>,
): OverlaidTable {
  const acting = edges.filter(acts);
  const parents = acting
    .filter(({ child }) => child.label === table.label)
    .map((edge): ParentLock => {
      const isOnTheWay = acting.some(({ child }) => child.label === edge.parent.label);
      return {
        edge,
        lock:
          isOnTheWay || edge.parent.key.length === 0
            ? 'FOR UPDATE'
            : sharedLock(ruled.patience.engine),
      };
    });
  return { ...table, ...ruled, parents };
}
