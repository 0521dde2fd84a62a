/**
 * Errors that a rollout's candidate got, and that production may not have given it: due to how the overlay
 * captures, or to locks of the applier's. Nobody can tell of one whether it was ours; so all are counted.
 */
import type { ShadowDatabase } from './dialect.ts';

export interface PossiblyOurs {
  /** Of all kinds, since the rollout was made, or since `uncounted` says. */
  readonly count: number;
  readonly kinds: readonly {
    /** As the engine names the error. */
    readonly code: string;
    readonly when: string;
    readonly count: number;
  }[];
  /** What is not in it, in a person's words; null if nothing is left out. */
  readonly uncounted: string | null;
}

export interface ErrorCounting extends ShadowDatabase {
  /** Null of a trunk, which no candidate uses. Counts what was rolled back as well. */
  possiblyOurs(): Promise<PossiblyOurs | null>;
}

/** Null where nothing is counted. */
export async function possiblyOursOf(database: ShadowDatabase): Promise<PossiblyOurs | null> {
  return 'possiblyOurs' in database ? (database as ErrorCounting).possiblyOurs() : null;
}
