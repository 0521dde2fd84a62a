import type { Fence } from './fence.ts';

/**
 * Which topics a database's positions are of, by the ids that Kafka gives them: one that was deleted and
 * made again bears another. A topic without an entry is of before ids were kept, or Kafka tells none.
 */
export interface TopicLedger {
  known(): Promise<ReadonlyMap<string, string>>;
  /** In place of what was known of these topics. Errors: FENCED, SHADOW_UNREACHABLE. */
  keep(fence: Fence, ids: ReadonlyMap<string, string>): Promise<void>;
}
