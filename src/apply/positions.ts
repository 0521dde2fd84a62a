import type { OffsetMap, Position } from '../change/position.ts';

/** Whether every partition with something before its end has passed it. */
export function isPast(position: OffsetMap, ends: OffsetMap, starts: OffsetMap): boolean {
  for (const [partition, end] of ends) {
    if ((position.get(partition) ?? starts.get(partition) ?? 0n) < end) return false;
  }
  return true;
}

/** Are all offsets of two positions the same? */
export function samePosition(a: Position, b: Position): boolean {
  if (a.offsets.size !== b.offsets.size) return false;
  for (const [partition, offset] of a.offsets)
    if (b.offsets.get(partition) !== offset) return false;
  return true;
}
