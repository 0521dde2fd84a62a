/** What the connector, as it is set now, does not carry exactly: for `status` and drift checks. */
import { tableName } from '../change/table-id.ts';
import { lossyColumns } from '../doctor/losses.ts';
import type { SchemaCatalogue } from '../schema/table-schema.ts';
import type { RuntimeContext } from './context.ts';
import { askConnector, type AskedSource } from './inspected-source.ts';

/** A column of which a setting of the connector loses all or a part, with what cures it. */
export interface LossySetting {
  /** `schema.name`. */
  readonly table: string;
  readonly column: string;
  readonly setting: string;
  readonly cure: string;
}

/**
 * Of the columns of a catalogue, by the connector's own settings where Kafka Connect is configured
 * and answers, else by the declared modes. What no setting causes is left out.
 */
export async function readLossy(
  context: Pick<RuntimeContext, 'config' | 'connect' | 'logger' | 'includes'>,
  catalogue: SchemaCatalogue,
): Promise<readonly LossySetting[]> {
  const { config, connect, logger, includes } = context;
  return lossyIn(await askConnector(config, connect, logger), catalogue, includes);
}

/** The same by what the connector has said already. */
export function lossyIn(
  { source, settings }: AskedSource,
  catalogue: SchemaCatalogue,
  includes: RuntimeContext['includes'],
): readonly LossySetting[] {
  return lossyColumns(source, catalogue, includes, settings).flatMap(
    ({ table, column, setting, cure }) =>
      setting === null ? [] : [{ table: tableName(table), column, setting, cure }],
  );
}
