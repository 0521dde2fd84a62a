import { rangesOf, type OffsetRange } from '../change/offset-ranges.ts';
import type { Position, SourcePosition } from '../change/position.ts';
import type { ChangeEvent, RowChange } from '../change/record.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import type { Release } from './release.ts';
import type { ChangeBatch } from './change-batch.ts';
import { coalesce } from './coalesce.ts';

/**
 * Collects releases, in their order, into one batch: what one target transaction writes. The
 * caller decides when it is full; `events` and `bytes` say how full it is.
 */
export class BatchBuilder {
  readonly #catalogue: SchemaCatalogue;
  readonly #cascades: boolean;
  readonly #changes: ChangeEvent[] = [];
  readonly #offsets: Map<string, bigint>;
  readonly #txIds = new Set<number>();
  readonly #delivered = new Set<string>();
  readonly #places = new Map<string, string>();
  #source: SourcePosition | null;
  #eventTimeMs: number | null;
  #transactions = 0;
  #bytes = 0;
  #unmarked = 0;

  /**
   * `position` is where the shadow stands before the batch. `cascades`: what comes is whole
   * transactions in production's order, so that what foreign keys do unseen has its place. Default: no.
   */
  constructor(start: {
    readonly catalogue: SchemaCatalogue;
    readonly position: Position;
    readonly cascades?: boolean;
  }) {
    this.#catalogue = start.catalogue;
    this.#cascades = start.cascades ?? false;
    this.#offsets = new Map(start.position.offsets);
    this.#source = start.position.source;
    this.#eventTimeMs = start.position.eventTimeMs;
  }

  get events(): number {
    return this.#changes.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** All changes so far, in the order in which they are applied. */
  get changes(): readonly ChangeEvent[] {
    return this.#changes;
  }

  /** The records of all changes so far. */
  places(): readonly OffsetRange[] {
    return rangesOf(this.#changes.map(({ at }) => at));
  }

  add(release: Release): void {
    for (const [partition, next] of release.offsets) this.#offsets.set(partition, next);
    if (release.transactionId !== null && release.changes.length > 0) this.#transactions += 1;
    for (const note of release.notes ?? []) this.#delivered.add(note);
    for (const [lane, note] of release.places ?? []) this.#places.set(lane, note);
    this.#bytes += release.bytes;
    for (const change of release.changes) {
      this.#changes.push(change);
      // What could not be read tells nothing of production's log.
      if (change.op === 'unread') continue;
      this.#source = change.source;
      this.#eventTimeMs = change.eventTimeMs ?? this.#eventTimeMs;
      if (isUnmarked(change)) this.#unmarked += 1;
      // Rows read by a snapshot were committed by others; its id proves nothing about them.
      if (change.snapshot === 'no' && 'txId' in change.source && change.source.txId !== null) {
        this.#txIds.add(change.source.txId);
      }
    }
  }

  /**
   * `kept`: which of the changes are written; all if it is not given. Errors: KEY_MISSING,
   * TABLE_UNKNOWN, COLUMN_UNKNOWN.
   */
  build(kept: readonly ChangeEvent[] = this.#changes): ChangeBatch {
    return {
      steps: coalesce(kept, this.#catalogue, { cascades: this.#cascades }),
      position: {
        offsets: this.#offsets,
        source: this.#source,
        eventTimeMs: this.#eventTimeMs,
      },
      txIds: [...this.#txIds],
      delivered: [...this.#delivered, ...this.#places.values()],
      unmarked: this.#unmarked,
      events: this.#changes.length,
      transactions: this.#transactions,
      bytes: this.#bytes,
    };
  }
}

/**
 * A change of the stream whose transaction is not known. Where a TRUNCATE commits by itself it
 * carries none, since it is one of its own.
 */
function isUnmarked({ snapshot, transaction, op }: RowChange): boolean {
  return snapshot === 'no' && transaction === null && op !== 'truncate';
}
