/** Proof that a process may write: the generation it took. A newer one makes every act FENCED. */
export interface Fence {
  readonly generation: bigint;
  /** Who: `host/pid/random`. */
  readonly holder: string;
}
