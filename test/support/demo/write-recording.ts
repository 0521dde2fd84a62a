import { fileURLToPath } from 'node:url';
import type { LogRecord } from '../../../src/change/record.ts';
import { packageVersion } from '../../../src/config/version.ts';
import { createRecording } from '../../../src/source/recording/recording-writer.ts';

/** Writes records, in the order given, as a recording. Offsets may have holes only before `next`. */
export async function writeRecording(
  file: URL,
  content: { readonly topicPrefix: string; readonly records: readonly LogRecord[] },
): Promise<void> {
  const writer = await createRecording(fileURLToPath(file), {
    topicPrefix: content.topicPrefix,
    connector: 'postgresql',

    madeAt: new Date().toISOString(),
    from: 'the demo’s shop on PostgreSQL, Debezium and Kafka',
    understudy: packageVersion(),
  });
  await using closing = writer;
  const starts = new Map<string, bigint>();
  for (const record of content.records) {
    const key = `${record.topic}/${record.partition}`;
    if (!starts.has(key)) starts.set(key, record.offset);
  }
  writer.cover(starts);
  for (const record of content.records) {
    const { topic, partition, offset } = record;
    await closing.append({
      topic,
      partition,
      records: [record],
      next: offset + 1n,
      end: offset + 1n,
    });
  }
  await closing.close();
}
