/** Proof that a process may write: the generation it took. A newer one makes every act FENCED. */
export interface Fence {
  readonly generation: bigint;
  /** Who: `host/pid/random`. */
  readonly holder: string;
  /** It is a member's, and good for these partitions only: see sharing.ts. Absent: the holder's. */
  readonly share?: Share;
}

/** What a member was given: partitions (see partitionKey), each with the number of its grant. */
export interface Share {
  readonly member: bigint;
  readonly partitions: ReadonlyMap<string, bigint>;
}

export interface FenceState {
  readonly generation: bigint;
  readonly holder: string | null;
  /** Since the holder's last sign of life, by the database's clock. Null if nobody holds it. */
  readonly silentMs: number | null;
  /** True if a take-over would succeed now: nobody holds it, or the holder is gone or silent. */
  readonly free: boolean;
  /** What the holder said of itself with its last sign of life. Null if nobody holds it. */
  readonly note: HolderNote | null;
}

/** What a holder tells of its work with every sign of life, for `status` in other processes. */
export interface HolderNote {
  /** `following`, `frozen`, `retrying APPLY_BLOCKED`, `reconnecting` … */
  readonly state: string;
  /** Age of the oldest source transaction that was read and is not applied, milliseconds. */
  readonly oldestTransactionMs: number | null;
  /** Source transactions that were released incomplete since the holder started. */
  readonly degraded: number;
  /** Digest of the settings that decide what is read and how it is written (runtime/settings-digest.ts). */
  readonly settings?: string;
  /** Why a holder gives nothing to the members that would help; absent if it does, or none would. */
  readonly alone?: string;
  /** How it gets on with following; absent as long as it does not follow. */
  readonly following?: FollowingNote;
}

/** By these the idle are told from the stalled. Ages in milliseconds, as of the sign of life. */
export interface FollowingNote {
  /** What it cannot do, and since when; null if nothing fails. Without row values. */
  readonly trouble: { readonly what: string; readonly sinceMs: number } | null;
  /** Since a record of any kind came, or since it began to follow. */
  readonly silentMs: number;
  /** Since a heartbeat of the connector came; null if none did. */
  readonly heartbeatMs: number | null;
  /** Between heartbeats, by the connector's clock; null if not two came. */
  readonly heartbeatEveryMs: number | null;
  /** Since something was written, or since it began to follow. */
  readonly unwrittenMs: number;
  /** The source transaction that is incomplete and keeps back what follows; null if none does. */
  readonly waitsFor: string | null;
}
