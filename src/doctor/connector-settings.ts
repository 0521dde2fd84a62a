/**
 * Traps in a Debezium connector's configuration, each with what it costs and its cure. Facts:
 * observed behaviour of Debezium 3.6 (see the README's list of settings).
 */
import { inspectSettings, type ConnectorSettings } from '../decode/connectors/settings.ts';
import type { Diagnosis } from '../dialect/dialect.ts';
import { DELIVERY_RULES } from './connector/delivery.ts';
import { EVENT_RULES } from './connector/events.ts';
import { RECORD_RULES } from './connector/records.ts';
import type { ConnectorRule } from './connector/rule.ts';
import { SNAPSHOT_RULES } from './connector/snapshots.ts';
import { MODE_RULES, VALUE_RULES } from './connector/values.ts';

/** All of them, in the order in which they are shown. */
export const CONNECTOR_RULES: readonly ConnectorRule[] = [
  ...EVENT_RULES,
  ...SNAPSHOT_RULES,
  ...VALUE_RULES,
  ...DELIVERY_RULES,
  ...RECORD_RULES,
];

/** One finding per trap; a single `ok` if there is none. */
export function diagnoseConnector(
  name: string,
  settings: ConnectorSettings,
  options: {
    /** The columns are known, and looked at one by one (see losses.ts). */
    readonly byColumn: boolean;
  },
): readonly Diagnosis[] {
  const view = { settings, facts: inspectSettings(settings) };
  const rules = options.byColumn ? CONNECTOR_RULES : [...CONNECTOR_RULES, ...MODE_RULES];
  const found = rules.flatMap(({ id, level, trapped, message, cure }) => {
    const by = trapped(view);
    if (by === false) return [];
    const what = typeof by === 'string' ? `${message}: ${by}` : message;
    return [{ id: `connector.${id}`, level, message: `connector ${name}: ${what}`, cure }];
  });
  if (found.length > 0) return found;
  return [
    {
      id: 'connector.settings',
      level: 'ok',
      message: `connector ${name}: settings are fit`,
      cure: null,
    },
  ];
}
