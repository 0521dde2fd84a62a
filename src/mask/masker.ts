/**
 * The mask stage stands between decoding and ordering: what it hides reaches no shadow database,
 * dead letter, report or log. It must be a pure function of the event, so that a replay and the
 * other side of a comparison give the same values.
 */
import type { ChangeEvent } from '../change/record.ts';

export interface Masker {
  /** The event with every value that must be hidden replaced. Never changes its argument. */
  mask(event: ChangeEvent): ChangeEvent;
}

/** Hides nothing: returns the same event. */
export const identityMasker: Masker = { mask: (event) => event };
