/**
 * What a restored backup of production holds, told by its place in production's log and by what the
 * event log has around it.
 */
import type { DecodedRecord } from '../change/record.ts';

export interface BackupView {
  /** See SnapshotView. */
  readonly snapshot: string;
  /** A position of production's log behind all that the backup holds. */
  readonly marker: bigint;
  /** The event log has something of before the backup: whoever wrote it had begun by then. */
  readonly reaches: boolean;
  /** Of what the backup holds, the last commit in the event log, epoch milliseconds; null for none. */
  readonly latestMs: number | null;
}

/** Takes the records of the event log, each partition's in order, and then knows. */
export interface BackupReading {
  take(record: DecodedRecord): void;
  view(): BackupView;
}
