/** Which of production's tables the connector's own lists take in. */
import { tableName, type TableId } from '../change/table-id.ts';
import type { ConnectorSettings } from '../decode/connectors/settings.ts';
import type { Diagnosis } from '../dialect/dialect.ts';
import { selection } from './selection.ts';

/** Tables that we follow and the connector does not send. */
export function diagnoseCapture(
  settings: ConnectorSettings,
  tables: readonly TableId[],
): readonly Diagnosis[] {
  const schemas = (['schema', 'database'] as const).map((what) => selection(settings, what));
  const byTable = selection(settings, 'table');
  const missed = tables.filter(
    (table) =>
      schemas.some((takes) => !takes(table.schema)) || !byTable(`${table.schema}.${table.name}`),
  );
  return missed.map((table) => ({
    id: 'table.not-captured',
    level: 'error',
    table,
    message: `table ${tableName(table)} is followed, but the connector’s lists leave it out: it stays empty`,
    cure: 'Take it into the connector’s table.include.list, or exclude it with tables.exclude.',
  }));
}
