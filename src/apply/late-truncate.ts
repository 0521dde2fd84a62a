/** What production wrote after a truncate, and what went before it all the same, from the log. */
import type { OffsetMap, SourcePosition } from '../change/position.ts';
import type { ChangeEvent, DecodedRecord, LogRecord } from '../change/record.ts';
import { tableName } from '../change/table-id.ts';
import type { Release } from '../order/release.ts';
import type { FollowerParts } from './follower-parts.ts';

/** How long before the truncate it is begun to read, in turn; null: where the log begins. */
const MARGINS_MS = [10_000, 100_000, 1_000_000, null] as const;

export interface LateTruncateParts {
  /** Records of the truncate's topic that went: from this time on, as their timestamps say; null: all. */
  readonly read: (sinceMs: number | null) => AsyncIterable<LogRecord>;
  readonly decode: (record: LogRecord) => Promise<DecodedRecord>;
  readonly isBefore: (a: SourcePosition, b: SourcePosition) => boolean;
}

/**
 * Changes of the truncate's table that production made after it, partition by partition in their order.
 * Clocks may differ: it is begun further back until each partition begins with something earlier. Of a
 * partition that brings nothing within a quarter of an hour before the truncate, nothing went after it.
 * Errors: those of `read` and `decode`.
 */
export async function rowsAfter(
  truncate: ChangeEvent,
  { read, decode, isBefore }: LateTruncateParts,
): Promise<readonly ChangeEvent[]> {
  const table = tableName(truncate.table);
  for (const marginMs of MARGINS_MS) {
    const { eventTimeMs } = truncate;
    const sinceMs = marginMs === null || eventTimeMs === null ? null : eventTimeMs - marginMs;
    const after: ChangeEvent[] = [];
    const begun = new Set<number>();
    let isWhole = true;
    for await (const record of read(sinceMs)) {
      const decoded = await decode(record);
      if (decoded.kind !== 'change' || decoded.op === 'unread' || decoded.snapshot !== 'no')
        continue;
      if (tableName(decoded.table) !== table) continue;
      const isAfter = isBefore(truncate.source, decoded.source);
      if (!begun.has(record.partition) && isAfter) isWhole = false;
      begun.add(record.partition);
      if (isAfter) after.push(decoded);
    }
    if (isWhole || sinceMs === null) return behindTheLast(after, isBefore);
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
 * A release as it is to be applied: behind a late truncate with what it must not take along. `at`: before
 * this all went; null while some of it waits, which no range of the log tells.
 */
export async function restored(
  release: Release,
  at: OffsetMap | null,
  { rowsAfter: rows, logger }: Pick<FollowerParts, 'rowsAfter' | 'logger'>,
  signal: AbortSignal,
): Promise<Release> {
  const [truncate] = release.changes;
  if (release.isLate !== true || truncate === undefined) return release;
  const after = at === null ? null : ((await rows?.(truncate, at, signal)) ?? null);
  if (after === null) return { ...release, complete: false };
  if (after.length > 0) {
    const what = 'a truncate came late: rows of after it are written again behind it';
    logger.info(what, { ...truncate.at, table: tableName(truncate.table), rows: after.length });
  }
  return { ...release, changes: [truncate, ...after] };
}
