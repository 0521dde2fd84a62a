/**
 * What shadows set aside since they cannot take it, instead of stopping: see order/dead-keys.ts for
 * the rules. Row values are never stored but sealed, only places in the log.
 */
import type { LogOffset } from '../change/position.ts';
import type { TableId } from '../change/table-id.ts';
import { UnderstudyError, type ErrorContext } from '../errors/understudy-error.ts';
import type { ChangeBatch } from '../order/change-batch.ts';
import type { DeadState } from '../order/dead-keys.ts';
import type { Fence } from './fence.ts';

/**
 * APPLY_FAILED because of what a row holds: a constraint, a type, an encoding. Trying again does
 * not help, and the other rows of the batch may be written without it.
 */
export class RowRefused extends UnderstudyError {
  constructor(message: string, context: ErrorContext) {
    super('APPLY_FAILED', message, context);
  }
}

/** One letter: a poison event, the keys that are set aside for it, and what came for them since. */
export interface DeadLetter {
  readonly id: string;
  readonly table: TableId;
  /** As text, in key order; null for all rows of the table. */
  readonly keys: readonly (readonly string[] | null)[];
  readonly code: string;
  /** Without row values. */
  readonly message: string;
  readonly at: LogOffset;
  /** Of the source, as Debezium names it; null outside one. */
  readonly transactionId: string | null;
  /** By the server's clock. */
  readonly since: Date;
  readonly ageMs: number;
  /** Events that wait, the poison event among them. */
  readonly queued: number;
  /**
   * Rows of its that a rollout's production views leave out, for what they are in production is not
   * known, or does not fit their columns' types. The others are shown as they are there.
   */
  readonly hidden: number;
}

/** What is kept of a record that is set aside, beside its place. */
export interface KeptRecord {
  readonly at: LogOffset;
  /** Null: nothing is. */
  readonly sealed: { readonly keyId: string; readonly bytes: Buffer } | null;
  /** Why nothing is. */
  readonly why: string | null;
}

export interface DeadLetterBox {
  /** What its holder begins with. */
  state(): Promise<DeadState>;
  /** All letters, or those with these ids; the oldest first. */
  list(ids?: readonly string[]): Promise<readonly DeadLetter[]>;
  /** Letters that nobody was told of, at most so many; the oldest first. */
  untold(limit: number): Promise<readonly DeadLetter[]>;
  /** Somebody was told of these. What of them is there no more is passed over. */
  told(fence: Fence, ids: readonly string[]): Promise<void>;
  /** Places of queued events of which it is not said what is kept, at most so many. */
  unkept(limit: number): Promise<readonly LogOffset[]>;
  /** Says what is kept of these records. What is queued no more is passed over. */
  keep(fence: Fence, records: readonly KeptRecord[]): Promise<void>;
  /** What is kept of the record at this place; null if that is not said. */
  kept(at: LogOffset): Promise<KeptRecord | null>;
  /** The places of the events of these letters, in the order in which they are to be applied. */
  queue(ids: readonly string[]): Promise<readonly LogOffset[]>;
  /**
   * Whether the steps of the batch could be written now; why not, if a row is refused. Nothing is
   * written. Other errors are thrown as by `apply`.
   */
  rehearse(fence: Fence, batch: ChangeBatch): Promise<RowRefused | null>;
  /**
   * Lets letters go without their events. Their rows count as parked, until a whole event brings
   * them or they are read from production. Returns how many letters there were.
   */
  discard(fence: Fence, ids: readonly string[]): Promise<number>;
}
