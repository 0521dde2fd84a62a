import { packageVersion } from '../config/version.ts';
import type { Config } from '../config/schema.ts';
import { followedTables } from '../config/table-filter.ts';
import type { Logger } from '../observability/logger.ts';
import { record, type RecordOptions } from '../source/recording/record.ts';
import { createRecording } from '../source/recording/recording-writer.ts';
import { openConfiguredSource } from './sources.ts';

export interface RecordedFile {
  readonly file: string;
  readonly records: number;
}

/** Copies the configured event log into a file. Needs no shadow server. */
export async function recordLog(
  config: Config,
  logger: Logger,
  file: string,
  options: RecordOptions,
): Promise<RecordedFile> {
  await using source = await openConfiguredSource(config, followedTables(config), logger);
  await using writer = await createRecording(file, {
    madeAt: new Date().toISOString(),
    from: source.description,
    topicPrefix: config.source.topicPrefix,
    connector: config.source.connector,
    understudy: packageVersion(),
  });
  await record(source, writer, options);
  const { records } = await writer.close();
  return { file, records };
}
