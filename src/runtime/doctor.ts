import type { Config } from '../config/schema.ts';
import { followedTables } from '../config/table-filter.ts';
import { dialectFor } from '../dialect/registry.ts';
import { examine, type DoctorReport } from '../doctor/doctor.ts';
import type { Logger } from '../observability/logger.ts';
import { ConnectClient } from '../source/connect/connect-client.ts';
import { RuntimeContext } from './context.ts';
import { openConfiguredSource } from './sources.ts';

/**
 * Opens every part by itself, so that one that is away hides nothing of the others, and closes
 * everything it opened.
 */
export async function runDoctor(config: Config, logger: Logger): Promise<DoctorReport> {
  const includes = followedTables(config);
  const { connect } = config.source;
  const url = config.production?.url.reveal();
  const opening = RuntimeContext.open(config, logger);
  const production = url === undefined ? null : dialectFor(url).connectProduction(url, includes);
  // Each is awaited, and its failure reported, inside the examination.
  opening.catch(() => undefined);
  production?.catch(() => undefined);
  try {
    return await examine({
      shadow: async () => (await opening).server,
      isolation: async () => (await opening).assertIsolated(),
      production: production === null ? null : () => production,
      source: () => openConfiguredSource(config, includes, logger),
      connector:
        connect === undefined
          ? null
          : Object.assign(new ConnectClient(connect), { name: connect.name }),
      topicPrefix: config.source.topicPrefix,
      consistency: config.consistency,
      tables: [],
    });
  } finally {
    await (await production?.catch(() => null))?.[Symbol.asyncDispose]();
    await (await opening.catch(() => null))?.[Symbol.asyncDispose]();
  }
}
