/** What a connector must not share with another one of the same Kafka Connect. */
import type { ConnectorSettings } from '../decode/connectors/settings.ts';
import type { Diagnosis } from '../dialect/dialect.ts';

interface Shared {
  readonly id: string;
  /** All of these equal, and the first set, is the trap. */
  readonly settings: readonly string[];
  readonly message: string;
}

const SHARED: readonly Shared[] = [
  {
    id: 'shared-topics',
    settings: ['topic.prefix'],
    message: 'writes into the same topics, so that rows of two sources are mixed',
  },
  {
    id: 'shared-slot',
    settings: ['slot.name', 'database.hostname', 'database.port', 'database.dbname'],
    message: 'reads the same slot, so that each gets a part of the changes',
  },
  {
    id: 'shared-server-id',
    settings: ['database.server.id', 'database.hostname', 'database.port'],
    message: 'has the same database.server.id, so that production ends one of them',
  },
  {
    id: 'shared-history',
    settings: ['schema.history.internal.kafka.topic'],
    message:
      'keeps its history of tables’ structure in the same topic, so that neither can be read',
  },
];

export function diagnoseNeighbours(
  name: string,
  connectors: ReadonlyMap<string, ConnectorSettings>,
): readonly Diagnosis[] {
  const own = connectors.get(name);
  if (own === undefined) return [];
  return [...connectors]
    .filter(([other]) => other !== name)
    .flatMap(([other, theirs]) =>
      SHARED.filter(({ settings }) => {
        const [first] = settings;
        return (
          first !== undefined &&
          own.has(first) &&
          settings.every((setting) => own.get(setting) === theirs.get(setting))
        );
      }).map(({ id, settings, message }) => ({
        id: `connector.${id}`,
        level: 'error' as const,
        message: `connector ${other} ${message}`,
        cure: `set another ${settings[0] ?? ''} for one of them`,
      })),
    );
}
