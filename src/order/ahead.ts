import { parsePartitionKey } from '../change/position.ts';
import type { ChangeEvent } from '../change/record.ts';
import type { Boundaries } from './boundaries.ts';
import { collectionOf, Gathering } from './gathering.ts';
import type { Lane } from './lane.ts';

/** What waits, and what is known of its transactions. */
export interface Turns {
  readonly lanes: ReadonlyMap<string, Lane<ChangeEvent>>;
  readonly gatherings: ReadonlyMap<string, Gathering>;
  readonly boundaries: Pick<Boundaries, 'nextId' | 'nextEnd'>;
  readonly done: { has(id: string): boolean };
  readonly isSubscribed: (collection: string) => boolean;
}

/**
 * The partitions of which the transaction in turn needs nothing more; null if nothing waits for its turn.
 * By the counts of its END, those of collections of which all is here, however often the connector began
 * anew. Where a collection comes in several partitions, those that have come to later transactions, which
 * what comes again after a restart does not tell. Before its END is here it is the transaction topic that
 * is needed, and what still brings events of it.
 */
export function beyondTurn(turns: Turns): ReadonlySet<string> | null {
  const { lanes, gatherings, boundaries, done, isSubscribed } = turns;
  if (gatherings.size === 0) return null;
  const { nextId, nextEnd } = boundaries;
  // It is read on until it is quiet, and nothing else tells when that is.
  if (nextEnd === 'void') return new Set();
  const here = gatherings.get(nextId ?? '') ?? new Gathering('', 0);
  const lacking = nextEnd === null ? null : here.lacking(nextEnd.counts, isSubscribed);
  const partitions = Map.groupBy(lanes.values(), ({ key }) => parsePartitionKey(key).topic);
  const beyond = new Set<string>();
  for (const [topic, ofTopic] of partitions) {
    const isOnly = lacking !== null && ofTopic.length === 1;
    for (const { key, last } of ofTopic) {
      const mark = last?.transaction ?? null;
      if (last === undefined || mark === null) continue;
      const collection = collectionOf(last);
      // What is routed may be of any table.
      const isRouted = !topic.endsWith(`.${collection}`);
      const mayBring =
        lacking === null || lacking.has(collection) || (isRouted && lacking.size > 0);
      const isLater = mark.id !== nextId && !done.has(mark.id);
      if (!mayBring || (!isOnly && isLater)) beyond.add(key);
    }
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
