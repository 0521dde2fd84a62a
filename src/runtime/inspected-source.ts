import type { Config } from '../config/schema.ts';
import { inspectSettings, type ConnectorSettings } from '../decode/connectors/settings.ts';
import { isUnderstudyError } from '../errors/understudy-error.ts';
import type { Logger } from '../observability/logger.ts';
import type { ConnectClient } from '../source/connect/connect-client.ts';
import { settleModes } from '../source/connect/settle.ts';

/**
 * The configuration with the modes that the running connector's own configuration tells. Asked
 * anew at every start of a follower: a connector may be changed while we run. A recording is read
 * by what is declared, for the connector may have been another when it was made.
 *
 * Where Kafka Connect cannot be asked, the declared modes hold; what is needed and not declared is
 * an error when it is met. CONFIG_INVALID if connector and configuration contradict each other.
 */
export async function inspectSource(
  config: Config,
  connect: Pick<ConnectClient, 'config'> | null,
  logger: Logger,
): Promise<Config> {
  const { source } = await askConnector(config, connect, logger);
  return source === config.source ? config : { ...config, source };
}

/** The source with the connector's own modes, and its settings; null where it was not asked. */
export interface AskedSource {
  readonly source: Config['source'];
  readonly settings: ConnectorSettings | null;
}

/** Asks the connector once for all that depends on it. Errors as of `inspectSource`. */
export async function askConnector(
  { source }: Config,
  connect: Pick<ConnectClient, 'config'> | null,
  logger: Logger,
): Promise<AskedSource> {
  const asked = connect !== null && source.recording === undefined;
  const settings = asked ? await readSettings(connect, logger) : null;
  if (settings === null) return { source, settings };
  return { source: { ...source, modes: settleModes(source, inspectSettings(settings)) }, settings };
}

/** The connector's own settings; null if Kafka Connect cannot be asked, or has no such connector. */
async function readSettings(
  connect: Pick<ConnectClient, 'config'>,
  logger: Logger,
): Promise<ConnectorSettings | null> {
  try {
    return await connect.config();
  } catch (error) {
    if (!isUnderstudyError(error, 'CONNECT_UNREACHABLE', 'CONNECTOR_MISSING')) throw error;
    logger.warn('the connector’s modes cannot be looked up: only source.modes holds', { error });
    return null;
  }
}
