import type { UnderstudyError } from '../errors/understudy-error.ts';

/** What a follower does. `sinceMs` is by the steady clock (util/clock.ts). */
export type FollowerState =
  | { readonly kind: 'starting' }
  | { readonly kind: 'following' }
  | { readonly kind: 'frozen' }
  | { readonly kind: 'retrying'; readonly error: UnderstudyError; readonly sinceMs: number }
  | { readonly kind: 'stopped' };

export interface FollowerTotals {
  readonly events: number;
  readonly rows: number;
  readonly transactions: number;
  /** Transactions released although they were not complete, or of which a part was set aside. */
  readonly degraded: number;
}
