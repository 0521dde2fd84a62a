import type { LogRecord } from '../../../src/change/record.ts';

/** The larger of `lsn` and `lsn_commit` in a source offset; 0 if there is none. */
export function lsnOf(offset: unknown): bigint {
  const { lsn, lsn_commit: commit } = (offset ?? {}) as Record<string, unknown>;
  const values = [lsn, commit].filter((value) => typeof value === 'number');
  return BigInt(Math.max(0, ...values));
}

/**
 * Merges the partitions into production's order, as far as records tell their position: by the
 * position, which within a partition never goes back. A tombstone stays behind its delete.
 */
export function sortByLog(records: readonly LogRecord[]): {
  readonly records: readonly LogRecord[];
  readonly positions: readonly bigint[];
} {
  const reached = new Map<string, bigint>();
  const placed = records.map((record, i) => {
    const partition = `${record.topic}/${record.partition}`;
    const before = reached.get(partition) ?? 0n;
    const own = positionOf(record);
    const at = own > before ? own : before;
    reached.set(partition, at);
    return { record, at, i };
  });
  placeHeartbeats(placed);
  placed.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : a.i - b.i));
  return { records: placed.map((p) => p.record), positions: placed.map((p) => p.at) };
}

/** Heartbeats tell only their time: they go behind what was sent before them. */
function placeHeartbeats(placed: { readonly record: LogRecord; at: bigint }[]): void {
  const timed = placed.filter((p) => p.at > 0n);
  for (const item of placed) {
    if (item.at > 0n || !item.record.topic.startsWith('__debezium-heartbeat')) continue;
    const earlier = timed.filter((p) => p.record.timestampMs <= item.record.timestampMs);
    item.at = earlier.reduce((max, p) => (p.at > max ? p.at : max), 0n);
  }
}

/** A row's commit is told by `sequence`, a transaction's by the second part of its id. */
function positionOf(record: LogRecord): bigint {
  if (record.value === null) return 0n;
  const { payload } = JSON.parse(record.value.toString('utf8')) as {
    payload?: { source?: { lsn?: unknown }; id?: unknown; status?: unknown };
  };
  if (typeof payload?.source?.lsn === 'number') return BigInt(payload.source.lsn);
  if (typeof payload?.status === 'string' && typeof payload.id === 'string') {
    return BigInt(payload.id.split(':')[1] ?? 0);
  }
  return 0n;
}
