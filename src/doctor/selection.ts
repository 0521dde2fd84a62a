/** What the connector's own include and exclude lists take in. */
import { listOf, type ConnectorSettings } from '../decode/connectors/settings.ts';

/**
 * Whether the connector's lists of schemas, databases, tables or columns take a full name. They hold
 * Java's regular expressions over whole names, whatever the case; a list that cannot be read here
 * says nothing.
 */
export function selection(
  settings: ConnectorSettings,
  what: 'schema' | 'database' | 'table' | 'column',
): (name: string) => boolean {
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
