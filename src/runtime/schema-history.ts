/** The schema-change topic, read from its start. */
import type { SchemaChangeRecord } from '../change/table-change.ts';
import { parsePartitionKey } from '../change/position.ts';
import { recordBytes } from '../change/record.ts';
import { openDecoding } from './decoding.ts';
import { inspectSource } from './inspected-source.ts';
import type { Stage } from './stage.ts';

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
  const [ends, starts] = await Promise.all([source.ends(), source.starts()]);
  // Of a recording all partitions come: the others are read on from their ends.
  const from = new Map(ends);
  const left = new Set<string>();
  for (const [key, end] of ends) {
    if (!isTold(parsePartitionKey(key).topic)) continue;
    const start = starts.get(key) ?? 0n;
    from.set(key, start);
    if (start < end) left.add(key);
  }
  const history: SchemaChangeRecord[] = [];
  if (left.size === 0) return history;
  const stop = new AbortController();
  const signal = AbortSignal.any([holder.lost, stopping, stop.signal]);
  const options = { budgetBytes: context.config.apply.budgetBytes, signal };
  await using stream = await source.open(from, {
    ...{ ...options, group: `understudy.${database.name}` },
  });
  for await (const { topic, partition, records, next } of stream.chunks) {
    const key = `${topic}/${String(partition)}`;
    for (const record of records) {
      await decoding.prepare?.(record, { signal, onState: () => undefined });
      if (left.has(key)) {
        const decoded = decoding.decode(record);
        if (decoded.kind === 'schema-change') history.push(decoded);
      }
      stream.released(recordBytes(record));
    }
    if (next >= (ends.get(key) ?? 0n)) left.delete(key);
    if (left.size === 0) break;
  }
  stop.abort();
  return history;
}
