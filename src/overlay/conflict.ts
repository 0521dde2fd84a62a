/**
 * Both sides changed the same row: what is called a conflict, and by which name. A conflict never holds
 * up the stream, and stays listed until it is resolved, the row is given up or put back, or both sides
 * come to be the same.
 */
import { unreachable } from '../util/assert.ts';
import type { RowState, UpstreamChange } from './decide.ts';

/**
 * - `insert_exists`: production inserted a row that the candidate had inserted too, with other values
 * - `update_differs`: production changed a column that the candidate had changed, to another value
 * - `update_deleted`: production deleted a row that the candidate had changed
 * - `delete_updated`: production changed a row that the candidate had deleted
 * - `multiple_unique`: production's row is kept out, since a row of the candidate holds a unique value of it
 * - `schema`: production's row is kept out, since the candidate's schema refuses it
 * - `fk_orphan`: a row refers to one that the other side deleted. Nothing is noted of it: it is one for as
 *   long as it is so
 */
export type ConflictKind =
  | 'insert_exists'
  | 'update_differs'
  | 'update_deleted'
  | 'delete_updated'
  | 'multiple_unique'
  | 'schema'
  | 'fk_orphan';

/**
 * How a row of the overlay differs from production's: the candidate inserted, changed or deleted it; or
 * (`blocked`) it is production's alone, and a unique value of a row of the candidate's, or its schema, keeps
 * it out: the candidate sees it as it was before, or not at all. `pair`: both inserted the same thing, under
 * different keys and with other values (dialect/sql/pairs.ts).
 */
export type DifferenceKind = 'insert' | 'update' | 'delete' | 'blocked' | 'pair';

/** In whose favour a conflict is resolved: the candidate's, production's, or of each what it alone changed. */
export type Side = 'ours' | 'theirs' | 'merge';

/**
 * Does a change of production's to a row in `state` make a conflict, under *overlay-wins*?
 * `differs`: production's row differs from before the change. `overlaps`: in a column that the candidate
 * had changed too, and what it has there is not what production came to.
 */
export function conflictOf(
  change: UpstreamChange,
  state: RowState,
  { differs, overlaps }: { readonly differs: boolean; readonly overlaps: boolean },
): ConflictKind | null {
  switch (state) {
    case 'none':
    case 'same':
    case 'void':
    case 'blocked':
      return null;
    case 'inserted':
      // A patch is parked: nothing is known to compare with.
      return change === 'upsert' && overlaps ? 'insert_exists' : null;
    case 'updated':
      if (change === 'delete') return 'update_deleted';
      return overlaps ? 'update_differs' : null;
    case 'deleted':
      return change !== 'delete' && differs ? 'delete_updated' : null;
    default:
      return unreachable(state);
  }
}
