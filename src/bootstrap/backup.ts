/**
 * Puts a trunk on top of a backup of production that a person restored, and hands over to the event
 * log exactly at the backup's position.
 *
 * Invariant. A change of the log is applied if and only if the backup does not hold its transaction.
 *  1. A mark in production's log, and the connector's committed offset beyond it; then E: the ends of
 *     all partitions. All that the backup holds lies before E, so there the rule ends.
 *  2. The log is read to E: which of its transactions the backup holds (BackupReading), and whether
 *     the log reaches back to it. It does if
 *     - something in it is of before the backup's position: the connector had begun by then; and
 *     - of each partition that has lost records nothing is lost that the backup lacks: its first
 *       record is one that the backup holds, or retention takes only what is older than a commit
 *       which the backup holds.
 *  3. That is saved with the offsets to follow from, in one transaction. From there on it is as if
 *     the tables had been copied (hand-over.ts).
 */
import {
  logPosition,
  partitionKey,
  parsePartitionKey,
  type OffsetMap,
} from '../change/position.ts';
import type { ChangeEvent, DecodedRecord } from '../change/record.ts';
import type { TableId } from '../change/table-id.ts';
import type { BackupReading, BackupView } from '../dialect/backup.ts';
import type { CopyTarget } from '../dialect/copying.ts';
import type { Fence, SnapshotView } from '../dialect/dialect.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';
import type { TopicSettings } from '../source/change-source.ts';

/** Producers' clocks and the brokers' need not agree on the second. */
const CLOCKS_MS = 60_000;

export interface BackupParts {
  readonly target: CopyTarget;
  readonly fence: Fence;
  readonly reading: BackupReading;
  /** Step 1: where the log begins, and E. */
  readonly starts: OffsetMap;
  readonly ends: OffsetMap;
  /** The records before E, each partition's in order. */
  readonly records: AsyncIterable<DecodedRecord>;
  /** What retention takes, where that is known. */
  readonly settings: readonly TopicSettings[];
  readonly snapshotView: (snapshot: string) => SnapshotView;
  readonly tables: readonly TableId[];
  /** Epoch milliseconds. */
  readonly now: () => number;
}

/**
 * Steps 2 and 3. Errors: BACKUP_UNREACHED if the log does not reach back to the backup, and those of
 * reading and of the target.
 */
export async function adoptBackup(parts: BackupParts): Promise<BackupView> {
  const first = new Map<string, First>();
  for await (const record of parts.records) {
    parts.reading.take(record);
    const key = partitionKey(record.at.topic, record.at.partition);
    if (first.get(key)?.tells !== true) first.set(key, firstOf(record, first.get(key)));
  }
  const view = parts.reading.view();
  if (!view.reaches) {
    const what = 'the event log has nothing of before the backup’s position';
    throw new UnderstudyError('BACKUP_UNREACHED', what, {
      detail: 'the connector must have sent something before the backup was made',
    });
  }
  const seen = parts.snapshotView(view.snapshot);
  for (const [key, start] of parts.starts) {
    if (start === 0n) continue;
    assertReached(parts, key, { found: first.get(key), view, seen });
  }
  const { target, fence, tables, starts: offsets, ends } = parts;
  const { snapshot, marker } = view;
  await target.adopt(fence, { snapshot, marker, tables, offsets, ends });
  return view;
}

/** The first record of a partition that tells of which transaction it is, if one does. */
interface First {
  readonly tells: boolean;
  readonly record: DecodedRecord | null;
  /** Nothing but what is of no table and no transaction came. */
  readonly aside: boolean;
}

function firstOf(record: DecodedRecord, before: First | undefined): First {
  switch (record.kind) {
    case 'change':
    case 'begin':
    case 'end':
      return { tells: true, record, aside: false };
    case 'heartbeat':
    case 'message':
    case 'schema-change':
      return { tells: false, record: null, aside: before?.aside ?? true };
    case 'tombstone':
    case 'ignored':
    case 'gap':
      return { tells: false, record: null, aside: false };
  }
}

function assertReached(
  { settings, now, starts }: BackupParts,
  key: string,
  of: {
    readonly found: First | undefined;
    readonly view: BackupView;
    readonly seen: SnapshotView;
  },
): void {
  const { found, view, seen } = of;
  if (found?.aside === true) return;
  const record = found?.record ?? null;
  if (record !== null && isHeld(record, seen, view.marker)) return;
  const { topic, partition } = parsePartitionKey(key);
  const { retentionMs, retentionBytes } = settings.find((one) => one.topic === topic) ?? NOT_KNOWN;
  const takenBefore = retentionMs === null || retentionBytes !== null ? null : now() - retentionMs;
  if (takenBefore !== null && view.latestMs !== null && view.latestMs > takenBefore + CLOCKS_MS) {
    return;
  }
  throw new UnderstudyError('BACKUP_UNREACHED', 'the log lost records that the backup may lack', {
    ...{ topic, partition, offset: starts.get(key) ?? 0n },
    detail: 'its first record is not one that the backup holds',
  });
}

const NOT_KNOWN: Pick<TopicSettings, 'retentionMs' | 'retentionBytes'> = {
  retentionMs: null,
  retentionBytes: null,
};

function isHeld(record: DecodedRecord, seen: SnapshotView, marker: bigint): boolean {
  if (record.kind === 'begin' || record.kind === 'end')
    return seen.seesTransaction(record.id) === true;
  return record.kind === 'change' && isHeldChange(record, seen, marker);
}

function isHeldChange(change: ChangeEvent, seen: SnapshotView, marker: bigint): boolean {
  const place = logPosition(change.source);
  if (change.snapshot !== 'no') return place !== null && place < marker;
  return seen.sees(change.source) === true;
}
