import { UnderstudyError } from '../../errors/understudy-error.ts';
import type { Fence, FenceState, HolderNote } from '../dialect.ts';

/** The fence as its row and its holder's last sign of life say. */
export interface FenceRow {
  readonly generation: bigint;
  readonly holder: string | null;
  /** JSON of a HolderNote. */
  readonly note: string | null;
  /** Since the last sign of life, by the database's clock. */
  readonly silentMs: number;
  /** Some session of the holder's generation is there. */
  readonly present: boolean;
}

/** `leaseMs`: how long a silent holder that is still there keeps it. */
export function toFenceState(row: FenceRow, leaseMs: number): FenceState {
  if (row.holder === null) {
    return { generation: row.generation, holder: null, silentMs: null, free: true, note: null };
  }
  const silentMs = Math.max(0, Math.round(row.silentMs));
  return {
    generation: row.generation,
    holder: row.holder,
    silentMs,
    free: !row.present || silentMs > leaseMs,
    note: row.note === null ? null : (JSON.parse(row.note) as HolderNote),
  };
}

/**
 * Why `fence` is not the one that stands: FENCED if another holder took it, SHADOW_REWOUND if the
 * database is of before it was taken.
 */
export function notHeld(
  fence: Fence,
  stands: Pick<FenceRow, 'generation' | 'holder'>,
  database: string,
): UnderstudyError {
  if (stands.generation < fence.generation) return rewound(database);
  return new UnderstudyError(
    'FENCED',
    `generation ${String(fence.generation)} of ${fence.holder} is over`,
    { database },
  );
}

/** The database holds less than it once said it had committed. */
export function rewound(database?: string): UnderstudyError {
  return new UnderstudyError(
    'SHADOW_REWOUND',
    'the shadow holds less than it had committed',
    database === undefined ? {} : { database },
  );
}
