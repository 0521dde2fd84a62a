import type { Config } from '../config/schema.ts';
import { followedTables } from '../config/table-filter.ts';
import type { ProductionDatabase } from '../dialect/dialect.ts';
import { dialectFor } from '../dialect/registry.ts';
import { UnderstudyError } from '../errors/understudy-error.ts';

/**
 * Production as the configuration names it; null if it names none. The caller disposes of it.
 * Errors: CONFIG_INVALID, also if the server is of another kind than the connector reads;
 * PRODUCTION_UNREACHABLE, DATABASE_PERMISSION, UNSUPPORTED.
 */
export async function openProduction(config: Config): Promise<ProductionDatabase | null> {
  const url = config.production?.url.reveal();
  if (url === undefined) return null;
  const production = await dialectFor(url).connectProduction(url, followedTables(config));
  const { connector } = config.source;
  if (production.engine === connector) return production;
  await production[Symbol.asyncDispose]();
  throw new UnderstudyError(
    'CONFIG_INVALID',
    `production at ${production.address} is ${production.engine}, but source.connector is ${connector}`,
    { detail: 'correct source.connector, or point production.url at the server it reads' },
  );
}
