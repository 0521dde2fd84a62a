/** Which of production's tables the connector's own lists take in. */
import { tableName, type TableId } from '../change/table-id.ts';
import { listOf, type ConnectorSettings } from '../decode/connectors/settings.ts';
import type { Diagnosis } from '../dialect/dialect.ts';

/**
 * Tables that we follow and the connector does not send. Its lists hold Java's regular
 * expressions over whole names, whatever the case; a list that cannot be read here says nothing.
 */
export function diagnoseCapture(
  settings: ConnectorSettings,
  tables: readonly TableId[],
): readonly Diagnosis[] {
  const schemas = ['schema', 'database'].map((what) => selection(settings, what));
  const byTable = selection(settings, 'table');
  const missed = tables.filter(
    (table) =>
      schemas.some((takes) => !takes(table.schema)) || !byTable(`${table.schema}.${table.name}`),
  );
  return missed.map((table) => ({
    id: 'table.not-captured',
    level: 'error',
    message: `table ${tableName(table)} is followed, but the connector’s lists leave it out: it stays empty`,
    cure: 'Take it into the connector’s table.include.list, or exclude it with tables.exclude.',
  }));
}

function selection(settings: ConnectorSettings, what: string): (name: string) => boolean {
  const include = patterns(settings.get(`${what}.include.list`));
  const exclude = patterns(settings.get(`${what}.exclude.list`));
  return (name) =>
    (include === null || include.length === 0 || include.some((one) => one.test(name))) &&
    !(exclude ?? []).some((one) => one.test(name));
}

function patterns(list: string | undefined): readonly RegExp[] | null {
  try {
    return listOf(list).map((pattern) => new RegExp(`^(?:${pattern})$`, 'i'));
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
