/** Production's batches in the storm, and what their applier does beside: each is applied once, whoever is killed. */
import { strictEqual } from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import type { TableId } from '../../../src/change/table-id.ts';
import { RowShape } from '../../../src/change/value.ts';
import type { Swept } from '../../../src/dialect/overlay.ts';
import type { ChangeBatch, NetChange } from '../../../src/order/change-batch.ts';
import type { HotChange } from '../overlay-fire.ts';
import type { Acted, Holder, Holders } from './holder.ts';

const PARTITION = 'prod.storm/0';

/** An act of whoever holds the fence, see Holders. */
export type Act = <T>(what: string, act: (holder: Holder) => Promise<T>) => Promise<Acted<T>>;

interface BatchesOptions {
  readonly table: TableId;
  readonly holders: Holders;
  readonly signal: AbortSignal;
  readonly act: Act;
  /** Whether all is as it must be, where a batch was not applied though its holder was at it. */
  readonly check: () => Promise<void>;
}

export class Batches {
  readonly #options: BatchesOptions;
  /** Batches that are surely applied. */
  applied = 0n;
  /** How often it was not known whether one is. */
  again = 0;

  constructor(options: BatchesOptions) {
    this.#options = options;
  }

  /** False if it gave way, and wrote nothing. */
  async apply(changes: readonly HotChange[]): Promise<boolean> {
    const { act, holders, check } = this.#options;
    const batch = this.#batchOf(changes);
    const next = this.applied + 1n;
    for (let mayBeThere = false; ;) {
      const { kind } = await act('apply', ({ database, fence }) => database.apply(fence, batch));
      if (kind === 'done') break;
      if (kind === 'blocked') {
        // Whether it is there must be known before anybody goes on.
        if (!mayBeThere) return false;
        await pause(5);
        continue;
      }
      mayBeThere = true;
      this.again += 1;
      const { position } = await holders.now.database.resumePoint();
      const stored = position.offsets.get(PARTITION) ?? 0n;
      if (stored === this.applied) await check();
      else strictEqual(stored, next, 'the position is of before the batch, or of after it');
    }
    this.applied = next;
    return true;
  }

  #batchOf(changes: readonly HotChange[]): ChangeBatch {
    const at = (n: bigint): ReadonlyMap<string, bigint> => new Map([[PARTITION, n]]);
    const { table } = this.#options;
    return {
      steps: [{ kind: 'rows', table, changes: changes.map(netChange) }],
      position: { offsets: at(this.applied + 1n), source: null, eventTimeMs: null },
      ...(this.applied > 0n && { after: { offsets: at(this.applied), ahead: null } }),
      ...{ txIds: [], unmarked: 0, events: changes.length, transactions: 1, bytes: 0 },
    };
  }

  /** False if it gave way, or the holder was killed. */
  async sweep(): Promise<boolean> {
    for (let place: string | null = null; ;) {
      const from: string | null = place;
      const swept: Acted<Swept> = await this.#options.act('sweep', (at) =>
        at.database.sweepOverlay(at.fence, from),
      );
      if (swept.kind !== 'done') return false;
      place = swept.value.next;
      if (place === null) return true;
    }
  }

  /** When nobody writes any more. */
  async sweepAll(): Promise<void> {
    const { act, signal } = this.#options;
    for (;;) {
      signal.throwIfAborted();
      const done = await act('wait no more', (at) => at.database.waiting.write(at.fence));
      if (done.kind === 'done' && done.value.left === 0) break;
    }
    while (!(await this.sweep())) signal.throwIfAborted();
  }
}

const FULL = new RowShape(['id', 'a', 'b', 'c']);
const PARTIAL = new RowShape(['id', 'b']);

function netChange({ id, row, partial, from }: HotChange): NetChange {
  const key = [String(id)];
  if (row === null) return { kind: 'delete', key };
  const image = partial
    ? { shape: PARTIAL, values: [...key, row.b] }
    : { shape: FULL, values: [...key, row.a, row.b, row.c] };
  return { kind: 'upsert', key, from: [String(from)], complete: !partial, image };
}
