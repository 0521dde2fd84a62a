/**
 * Keeps beside the positions which topics they are of, so that a topic that was deleted and made again
 * is known, also where its records reach beyond the position by now and nothing seems to be missing.
 */
import { parsePartitionKey, type OffsetMap } from '../change/position.ts';
import type { Fence } from '../dialect/dialect.ts';
import type { TopicLedger } from '../dialect/topic-ledger.ts';
import type { ChangeSource } from '../source/change-source.ts';

/**
 * The ids that positions are of; those of topics that had none are kept from now on, and so are new
 * ones of topics of which nothing was read.
 */
export async function settleTopicIds(
  database: { readonly topics: TopicLedger },
  fence: Fence,
  at: { readonly source: Pick<ChangeSource, 'topicIds'>; readonly offsets: OffsetMap },
): Promise<ReadonlyMap<string, string>> {
  const known = await database.topics.known();
  const now = (await at.source.topicIds?.()) ?? new Map<string, string>();
  const read = new Set(
    [...at.offsets]
      .filter(([, offset]) => offset > 0n)
      .map(([partition]) => parsePartitionKey(partition).topic),
  );
  const fresh = [...now].filter(([topic, id]) => {
    const kept = known.get(topic);
    return kept === undefined || (kept !== id && !read.has(topic));
  });
  if (fresh.length > 0) await database.topics.keep(fence, new Map(fresh));
  return new Map([...known, ...fresh]);
}
