/** What production wrote after a truncate, and what went before it all the same, from the log. */
import type { OffsetMap, SourcePosition } from '../change/position.ts';
import type { ChangeEvent, DecodedRecord, LogRecord } from '../change/record.ts';
import { tableName } from '../change/table-id.ts';
import type { Logger } from '../observability/logger.ts';
import type { Release } from '../order/release.ts';
import type { FollowerParts } from './follower-parts.ts';

/** How long before the truncate it is begun to read, in turn; null: where the log begins. */
const FAR_MS = 1_000_000;
const MARGINS_MS = [10_000, 100_000, FAR_MS, null] as const;

export interface LateTruncateParts {
  /** Records of the truncate's topic that went: from this time on, as their timestamps say; null: all. */
  readonly read: (sinceMs: number | null) => AsyncIterable<LogRecord>;
  /** Partitions of which something went. */
  readonly partitions: ReadonlySet<number>;
  readonly decode: (record: LogRecord) => Promise<DecodedRecord>;
  readonly isBefore: (a: SourcePosition, b: SourcePosition) => boolean;
}

/**
 * Changes of the truncate's table that production made after it, each once, in its order.
 * Clocks may differ: it is begun further back until each partition begins with something earlier. Of a
 * partition that brings nothing within a quarter of an hour before the truncate, nothing went after it.
 * Errors: those of `read` and `decode`.
 */
export async function rowsAfter(
  truncate: ChangeEvent,
  { read, partitions, decode, isBefore }: LateTruncateParts,
): Promise<readonly ChangeEvent[]> {
  const table = tableName(truncate.table);
  for (const marginMs of MARGINS_MS) {
    const { eventTimeMs } = truncate;
    const sinceMs = marginMs === null || eventTimeMs === null ? null : eventTimeMs - marginMs;
    const after: ChangeEvent[] = [];
    const begun = new Set<number>();
    let isEarly = true;
    for await (const record of read(sinceMs)) {
      const decoded = await decode(record);
      if (decoded.kind !== 'change' || decoded.op === 'unread' || decoded.snapshot !== 'no')
        continue;
      if (tableName(decoded.table) !== table) continue;
      const isAfter = isBefore(truncate.source, decoded.source);
      if (!begun.has(record.partition) && isAfter) isEarly = false;
      begun.add(record.partition);
      if (isAfter) after.push(decoded);
    }
    const isFar = sinceMs === null || marginMs === FAR_MS;
    const isWhole = isEarly && (isFar || begun.size === partitions.size);
    if (isWhole || sinceMs === null) return inOrder(behindTheLast(after, isBefore), isBefore);
  }
  return [];
}

/** A later truncate that went took along what was before it. */
function behindTheLast(
  changes: readonly ChangeEvent[],
  isBefore: LateTruncateParts['isBefore'],
): readonly ChangeEvent[] {
  const truncates = changes.filter(({ op }) => op === 'truncate');
  return changes.filter(
    ({ op, source }) =>
      op !== 'truncate' && truncates.every((truncate) => isBefore(truncate.source, source)),
  );
}

/**
 * In production's order, of a key change the row that goes first. What a connector sent again of a
 * transaction is left out.
 */
function inOrder(
  changes: readonly ChangeEvent[],
  isBefore: LateTruncateParts['isBefore'],
): readonly ChangeEvent[] {
  const seen = new Set<string>();
  const once = changes.filter(({ transaction }) => {
    if (transaction === null) return true;
    const place = JSON.stringify([transaction.id, String(transaction.totalOrder)]);
    return !seen.has(place) && seen.add(place);
  });
  return once.toSorted((a, b) => {
    if (isBefore(a.source, b.source)) return -1;
    if (isBefore(b.source, a.source)) return 1;
    return Number(b.op === 'delete') - Number(a.op === 'delete');
  });
}

/**
 * A release as it is to be applied: behind a late truncate with what it must not take along, which went
 * before `at`. Not complete where that is not known.
 */
export async function restored(
  release: Release,
  at: OffsetMap,
  { rowsAfter: rows, logger }: Pick<FollowerParts, 'rowsAfter' | 'logger'>,
  signal: AbortSignal,
): Promise<Release> {
  const [truncate] = release.changes;
  if (release.isLate !== true || truncate === undefined) return release;
  const after = (await rows?.(truncate, at, signal)) ?? null;
  if (after === null) return { ...release, complete: false };
  if (after.length > 0) {
    const what = 'a truncate came late: rows of after it are written again behind it';
    logger.info(what, { ...truncate.at, table: tableName(truncate.table), rows: after.length });
  }
  return { ...release, changes: [truncate, ...after] };
}

/** Of a release that may lack something, or take something along. */
export function tellIncomplete({ transactionId, changes, isLate }: Release, logger: Logger): void {
  const late = isLate === true && 'a truncate came late, and rows of after it may be gone';
  const what = late || 'a source transaction was released incomplete';
  logger.warn(what, { transaction: transactionId, events: changes.length });
}
