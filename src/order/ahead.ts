import type { ChangeEvent } from '../change/record.ts';
import type { Lane } from './lane.ts';

/**
 * The partitions that have brought all they have of the transaction in turn, since their last event is
 * of a later one: what is before it in the connector's order is gone. Without a turn, nothing that is
 * of any transaction goes before the transaction topic is read on. Null where the connector began anew:
 * it sends again what may not have got to all partitions, and nothing tells then what has.
 */
export function beyondTurn(
  lanes: ReadonlyMap<string, Lane<ChangeEvent>>,
  { nextId, beganAnew }: { readonly nextId: string | null; readonly beganAnew: boolean },
): ReadonlySet<string> | null {
  if (beganAnew) return null;
  const beyond = new Set<string>();
  for (const [key, lane] of lanes) {
    const mark = lane.last?.transaction ?? null;
    if (mark !== null && mark.id !== nextId) beyond.add(key);
  }
  return beyond;
}

/** What both call ahead; what one does where the other has nothing that waits (null). */
export function aheadOfBoth(
  one: ReadonlySet<string> | null,
  other: ReadonlySet<string> | null,
): ReadonlySet<string> {
  if (one === null || other === null) return one ?? other ?? new Set();
  return new Set([...one].filter((key) => other.has(key)));
}
