/** A follower with the sources that it reads, running. */
import type { Follower } from '../apply/follower.ts';
import type { ChangeSource, PartitionFilter } from '../source/change-source.ts';
import type { Stuck } from '../order/free-events.ts';
import type { RuntimeContext } from './context.ts';
import { createFollower } from './follow.ts';
import type { Holder } from './holder.ts';
import { inspectSource } from './inspected-source.ts';
import type { SchemaWatch } from './schema-watch.ts';

export interface Running {
  readonly follower: Follower;
  /** Answers for all partitions, also where some are followed. */
  readonly source: ChangeSource;
  /** Settles when it ended; a rejection is no unhandled one. */
  readonly done: Promise<void>;
  /** Of some partitions: where they cannot be followed on alone; null if nowhere. */
  readonly stuck: () => Stuck | null;
  /** Ends it for what was found beside the records: `done` rejects with that. */
  readonly fail: (error: unknown) => void;
  /** Ends it after the batch in flight. Never rejects. */
  readonly stop: () => Promise<void>;
}

/** Which partitions are followed, and which have to be watched beside them. */
export interface Split {
  readonly owns: PartitionFilter;
  readonly watches: PartitionFilter;
  /** No partition of the topic is followed by another process. */
  readonly isWhole: (topic: string) => boolean;
}

export interface RunningParts {
  readonly context: RuntimeContext;
  readonly writer: Pick<Holder, 'database' | 'fence' | 'describe'>;
  /** Null: all partitions. */
  readonly split: Split | null;
  /** How long a blocked or unreachable shadow is retried before it gives up. */
  readonly giveUpAfterMs: number;
  /** Null where no change of production's schema is followed. */
  readonly watch: SchemaWatch | null;
  /** Source transactions that could not be written whole. */
  readonly apart: ReadonlySet<string>;
  /** A member: what is known of topics is the holder's to keep. */
  readonly member?: boolean;
  /** It then reads and does not apply until it is told to. */
  readonly frozen: boolean;
}

/** Starts at the stored position. */
export async function startFollowing(parts: RunningParts): Promise<Running> {
  const { context, writer, split } = parts;
  const { config, connect, dialect, includes } = context;
  const logger = context.logger.child({ database: writer.database.name });
  const inspected = await inspectSource(config, connect, context.logger);
  await using opened = new AsyncDisposableStack();
  const source = opened.use(await context.openSource(split?.owns));
  const others = split === null ? null : opened.use(await context.openSource(split.watches));
  const { follower, stuck, watch } = await createFollower({
    ...{ config: inspected, holder: writer, source, includes, logger },
    openSource: () => context.openSource(),
    ...{ giveUpAfterMs: parts.giveUpAfterMs, watch: parts.watch, apart: parts.apart },
    topicIds: parts.member === true ? await writer.database.topics.known() : null,
    part: split === null || others === null ? null : { ...split, others },
    snapshotView: (snapshot) => dialect.snapshotView(snapshot),
  });
  if (parts.frozen) await follower.freeze();
  const ending = new AbortController();
  const watching = watch?.(ending.signal) ?? Promise.resolve();
  // What it cannot see it must not pass.
  watching.catch(() => {
    follower.stop();
  });
  const following = follower.run().finally(() => {
    ending.abort();
  });
  const found = Promise.withResolvers<never>();
  const ran = Promise.all([following, watching]).then(() => undefined);
  const done = Promise.race([found.promise, ran]);
  done.catch(() => undefined);
  const held = opened.move();
  return {
    ...{ follower, source, done, stuck },
    fail: (error) => {
      found.reject(error);
      follower.stop();
    },
    stop: async () => {
      follower.stop();
      await Promise.allSettled([following, watching]);
      await held[Symbol.asyncDispose]();
    },
  };
}
