/** The schema-change topic, read from its start. */
import type { SchemaChangeRecord } from '../change/table-change.ts';
import { parsePartitionKey } from '../change/position.ts';
import { readTo } from '../source/read-range.ts';
import { openDecoding } from './decoding.ts';
import { inspectSource } from './inspected-source.ts';
import type { Stage } from './stage.ts';

/** How long a change may be unclear that the connector did not tell of yet, and how often it is asked. */
export const TOLD_WITHIN_MS = 5_000;
export const LOOK_FOR_TOLD_MS = 200;

/**
 * What the connector told of production's statements that changed tables, in production's order; empty
 * where it tells of none. It tells of them before the rows that follow, on a topic of its own.
 */
export async function readSchemaHistory(stage: Stage): Promise<readonly SchemaChangeRecord[]> {
  const { context, database, holder, stopping } = stage;
  const { topicPrefix } = context.config.source;
  const config = await inspectSource(context.config, context.connect, context.logger);
  const decoding = openDecoding({
    ...{ config, catalogue: new Map(), includes: () => false, setsAside: false },
    logger: context.logger,
  });
  const isTold = (topic: string): boolean => topic === topicPrefix;
  await using source = await context.openSource(isTold);
  // Of a recording all partitions come, whatever they are.
  const ends = [...(await source.ends())].filter(([key]) => isTold(parsePartitionKey(key).topic));
  const signal = AbortSignal.any([holder.lost, stopping]);
  const history: SchemaChangeRecord[] = [];
  for await (const record of readTo(source, new Map(ends), {
    ...{ budgetBytes: context.config.apply.budgetBytes, signal },
    group: `understudy.${database.name}`,
  })) {
    await decoding.prepare?.(record, { signal, onState: () => undefined });
    const decoded = decoding.decode(record);
    if (decoded.kind === 'schema-change') history.push(decoded);
  }
  return history;
}
