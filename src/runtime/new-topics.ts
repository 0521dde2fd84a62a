import type { Stage } from './stage.ts';

/** Keeps the ids of topics that appeared since the start; those that are known stay as they are. */
export async function keepTopicIds(stage: Stage): Promise<void> {
  const { database, holder } = stage;
  const { source } = await stage.running();
  const known = await database.topics.known();
  const now = (await source.topicIds?.()) ?? new Map<string, string>();
  const fresh = [...now].filter(([topic]) => !known.has(topic));
  if (fresh.length === 0) return;
  await stage.betweenWrites(() => database.topics.keep(holder.fence, new Map(fresh)));
}
