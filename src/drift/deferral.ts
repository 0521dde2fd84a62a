import { logPosition } from '../change/position.ts';
import type { ChangeEvent } from '../change/record.ts';
import type { SnapshotView } from '../dialect/dialect.ts';
import type { Reason } from '../report/drift-report.ts';
import { unreachable } from '../util/assert.ts';

const DOUBTS = {
  'incremental-snapshot-in-window':
    'rows came from an incremental snapshot, which reads at a time of its own',
  'initial-snapshot-in-window': 'rows came from a connector snapshot taken after the pinned one',
  'change-without-transaction': 'changes carry no transaction id',
} as const;

type Doubt = keyof typeof DOUBTS;

/**
 * Decides, while a barrier is armed, which changes belong to the pinned snapshot and are applied
 * now, and which wait until the base was read.
 *
 * Applying the visible ones first and the others later, in log order, ends in the same state as
 * log order alone: a transaction the snapshot does not see, yet committed before one it sees, was
 * still holding its locks when the other had finished, so they touched no row in common
 * (pin-proofs: 1131 of 1131 cases).
 *
 * Reads of a Debezium snapshot belong to no transaction. They are applied, because the rows that
 * follow build on them; where they were read at a time that need not be the pinned one, the
 * comparison is in doubt.
 */
export class DeferralFilter {
  readonly #view: Pick<SnapshotView, 'sees'>;
  readonly #floor: bigint;
  readonly #doubts = new Map<Doubt, number>();

  /** `floor`: the end of production's log before the snapshot was taken. */
  constructor(view: Pick<SnapshotView, 'sees'>, floor: bigint) {
    this.#view = view;
    this.#floor = floor;
  }

  decide(change: ChangeEvent): 'apply' | 'defer' {
    // It is set aside, and no table with such a change is called equal.
    if (change.op === 'unread') return 'apply';
    switch (change.snapshot) {
      case 'incremental':
        this.#doubt('incremental-snapshot-in-window');
        return 'apply';
      case 'initial': {
        const place = logPosition(change.source);
        if (place === null || place >= this.#floor) this.#doubt('initial-snapshot-in-window');
        return 'apply';
      }
      case 'no': {
        const seen = this.#view.sees(change.source);
        if (seen !== null) return seen ? 'apply' : 'defer';
        this.#doubt('change-without-transaction');
        return 'apply';
      }
      default:
        return unreachable(change.snapshot);
    }
  }

  /** What makes the comparison inconclusive, by what passed through `decide`. */
  doubts(): readonly Reason[] {
    return [...this.#doubts].map(([code, count]) => ({
      code,
      message: `${count} ${DOUBTS[code]}`,
      table: null,
    }));
  }

  #doubt(code: Doubt): void {
    this.#doubts.set(code, (this.#doubts.get(code) ?? 0) + 1);
  }
}
