/**
 * Who wins when production changes a row of a rollout: the policy *overlay-wins* as a table. Rows
 * nobody owns follow production; rows the candidate wrote keep its value, and production's moves
 * on beside it as their base image. Where the two are the same there is nothing to keep, and the row
 * follows production again.
 *
 * This is the definition. A dialect compiles it to statements over whole batches, and a test in
 * test/integration shows for every cell that its SQL does the same.
 */
import { unreachable } from '../util/assert.ts';

/**
 * A row as the overlay sees it, by two facts: does production have it (base image), and does the
 * candidate see it?
 * - `none`: not owned; the visible row, or its absence, is production's
 * - `inserted`: production has no such row, the candidate does
 * - `updated`: both have one, and they differ
 * - `same`: both have the same one, to the byte; it was written and changed back, or written as it was
 * - `deleted`: production has it, the candidate does not
 * - `void`: neither has it; it was inserted and deleted again
 */
export type OwnedState = 'none' | 'inserted' | 'updated' | 'same' | 'deleted' | 'void';

/**
 * Or nobody owns it, and it is kept out (`blocked`): production's image stands beside a row as it was before,
 * or beside none, since a unique value of a row of the candidate's, or its schema, refuses it. Once the
 * candidate writes it, it is one of its own.
 */
export type RowState = OwnedState | 'blocked';

/**
 * What production did, as a net change:
 * - `upsert`: the row has this image
 * - `patch`: the row has these values, and keeps the columns that were not sent
 * - `delete`: there is no such row
 */
export type UpstreamChange = 'upsert' | 'patch' | 'delete';

export type ApplyDecision =
  /**
   * Write the visible row, after its entry is given up if there is one: it said nothing. If the candidate's
   * rows or schema refuse it, it is `blocked` instead: the visible row stays, and production's image is kept.
   */
  | { readonly kind: 'write'; readonly next: 'none' }
  /** Leave the visible row as it is and move the base image. */
  | { readonly kind: 'move-base'; readonly next: 'inserted' | 'updated' | 'deleted' }
  /** As `move-base`; now that both are the same the entry is given up: they converged. */
  | { readonly kind: 'converge'; readonly next: 'none' }
  /** A patch of a row that is not known here: park the key, and leave everything as it is. */
  | { readonly kind: 'park'; readonly next: 'inserted' };

const WRITE = { kind: 'write', next: 'none' } as const;
const CONVERGE = { kind: 'converge', next: 'none' } as const;

/**
 * Decides over one change. `meets`: with it production's row is the one that the candidate sees, to the
 * byte; of a delete that follows from the state. For an unowned row a patch is decided as a write;
 * whether there is a row to patch is for the writer to find out; if there is none, the key is parked as well.
 */
export function decide(change: UpstreamChange, state: RowState, meets: boolean): ApplyDecision {
  switch (state) {
    case 'none':
    case 'same':
    case 'void':
    case 'blocked':
      return WRITE;
    case 'inserted':
      switch (change) {
        case 'upsert':
          return meets ? CONVERGE : { kind: 'move-base', next: 'updated' };
        case 'patch':
          return { kind: 'park', next: 'inserted' };
        case 'delete':
          return { kind: 'move-base', next: 'inserted' };
        default:
          return unreachable(change);
      }
    case 'updated':
      if (change === 'delete') return { kind: 'move-base', next: 'inserted' };
      return meets ? CONVERGE : { kind: 'move-base', next: 'updated' };
    case 'deleted':
      return change === 'delete' ? CONVERGE : { kind: 'move-base', next: 'deleted' };
    default:
      return unreachable(state);
  }
}
