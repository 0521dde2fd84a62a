/**
 * Keys of a rollout that wait: production changed them while a transaction of the candidate held their rows.
 *
 * - At each commit of the applier production's image (the production views, base readers, differences) is
 *   exact for these keys too: what waits is part of it.
 * - The order of a key is kept: while it waits, each later change of it goes to where it waits, completed from
 *   there, and never past it. A truncate of production's takes along what waits.
 * - What waits is stored in the transaction that moves the position past it, so a crash loses nothing.
 * - A key ends to wait only by being written as any change is, under the policies, in one transaction with
 *   its removal.
 *
 * Rows of tables without a key cannot wait, and neither can a change of the schema: these are tried again.
 */
import type { TableId } from '../change/table-id.ts';
import type { Fence, ShadowDatabase } from './dialect.ts';

/** How many keys of a table wait. */
export interface WaitingCount {
  readonly table: TableId;
  readonly keys: number;
  /** Age of the oldest, by the server's clock. */
  readonly oldestMs: number;
}

export interface Waiting {
  /** Of the tables of which keys wait; none on a trunk. */
  counts(): Promise<readonly WaitingCount[]>;
  /**
   * Writes those that nobody is at any more, some thousand at a time, without waiting for the others.
   * `left` is how many wait then; to be called again soon if any do.
   */
  write(fence: Fence): Promise<{ readonly written: number; readonly left: number }>;
}

export interface WaitingShadow extends ShadowDatabase {
  readonly waiting: Waiting;
}

/** Null where a batch waits for the candidate as a whole. */
export function waitingOf(database: ShadowDatabase): Waiting | null {
  return 'waiting' in database ? (database as WaitingShadow).waiting : null;
}
