/**
 * Who wins when production changes a row of a rollout: the policy *overlay-wins* as a table. Rows
 * nobody owns follow production; rows the candidate wrote keep its value, and production's moves
 * on beside it as their base image.
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
 * - `updated`: both have one
 * - `deleted`: production has it, the candidate does not
 * - `void`: neither has it; it was inserted and deleted again
 */
export type OwnedState = 'none' | 'inserted' | 'updated' | 'deleted' | 'void';

/**
 * What production did, as a net change:
 * - `upsert`: the row has this image
 * - `patch`: the row has these values, and keeps the columns that were not sent
 * - `delete`: there is no such row
 */
export type UpstreamChange = 'upsert' | 'patch' | 'delete';

export type ApplyDecision =
  /** Write the visible row. There is no entry, before or after. */
  | { readonly kind: 'write'; readonly next: 'none' }
  /** Leave the visible row as it is and move the base image. */
  | { readonly kind: 'move-base'; readonly next: Exclude<OwnedState, 'none'> }
  /** A patch of a row that is not known here: park the key, and leave everything as it is. */
  | { readonly kind: 'park'; readonly next: 'inserted' | 'void' };

/**
 * Decides over one change. For an unowned row a patch is decided as a write; whether there is a
 * row to patch is for the writer to find out; if there is none, the key is parked as well.
 */
export function decide(change: UpstreamChange, state: OwnedState): ApplyDecision {
  switch (state) {
    case 'none':
      return { kind: 'write', next: 'none' };
    case 'inserted':
      switch (change) {
        case 'upsert':
          return { kind: 'move-base', next: 'updated' };
        case 'patch':
          return { kind: 'park', next: 'inserted' };
        case 'delete':
          return { kind: 'move-base', next: 'inserted' };
        default:
          return unreachable(change);
      }
    case 'updated':
      return { kind: 'move-base', next: change === 'delete' ? 'inserted' : 'updated' };
    case 'deleted':
      return { kind: 'move-base', next: change === 'delete' ? 'void' : 'deleted' };
    case 'void':
      switch (change) {
        case 'upsert':
          return { kind: 'move-base', next: 'deleted' };
        case 'patch':
          return { kind: 'park', next: 'void' };
        case 'delete':
          return { kind: 'move-base', next: 'void' };
        default:
          return unreachable(change);
      }
    default:
      return unreachable(state);
  }
}
