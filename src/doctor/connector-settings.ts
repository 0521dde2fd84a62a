/**
 * Traps in a Debezium connector's configuration, each with what it costs and its cure. Facts:
 * observed behaviour of Debezium 3.6 (see the README's list of settings).
 */
import type { Diagnosis } from '../dialect/dialect.ts';

type ConnectorConfig = Readonly<Record<string, string>>;

interface Rule {
  readonly id: string;
  readonly level: 'warning' | 'error';
  /** True if the configuration falls into the trap. */
  readonly trapped: (config: ConnectorConfig) => boolean;
  readonly message: string;
  readonly cure: string;
}

const converter = (config: ConnectorConfig): string => config['value.converter'] ?? '';
const isJson = (config: ConnectorConfig): boolean =>
  converter(config) === '' || converter(config).endsWith('JsonConverter');
const isAvro = (config: ConnectorConfig): boolean => converter(config).endsWith('AvroConverter');
const isApicurio = (config: ConnectorConfig): boolean =>
  converter(config).startsWith('io.apicurio.');
/** Connectors that read as a replica have no type for intervals, nor that setting. */
const readsAsReplica = (config: ConnectorConfig): boolean => 'database.server.id' in config;

const RULES: readonly Rule[] = [
  {
    id: 'transaction-metadata',
    level: 'warning',
    trapped: (c) => c['provide.transaction.metadata'] !== 'true',
    message: 'source transactions cannot be kept whole: the guarantee is per key only',
    cure: 'set provide.transaction.metadata=true',
  },
  {
    id: 'truncates-skipped',
    level: 'error',
    trapped: (c) => (c['skipped.operations'] ?? 't').split(',').some((op) => op.trim() === 't'),
    message: 'TRUNCATE on production is not sent (the default), so the shadow keeps the rows',
    cure: 'set skipped.operations=none',
  },
  {
    id: 'operations-skipped',
    level: 'error',
    trapped: (c) =>
      (c['skipped.operations'] ?? '').split(',').some((op) => /^[cud]$/.test(op.trim())),
    message: 'inserts, updates or deletes are skipped by the connector',
    cure: 'set skipped.operations=none',
  },
  {
    id: 'null-becomes-default',
    level: 'error',
    trapped: (c) => isJson(c) && c['value.converter.replace.null.with.default'] !== 'false',
    message: 'NULL in a column with a DEFAULT is sent as the default; the shadow cannot tell',
    cure: 'set value.converter.replace.null.with.default=false',
  },
  {
    id: 'null-becomes-default-in-avro',
    level: 'error',
    trapped: (c) =>
      isAvro(c) && (isApicurio(c) || c['value.converter.ignore.default.for.nullables'] !== 'true'),
    message: 'NULL in a column with a DEFAULT is sent as the default; the shadow cannot tell',
    cure:
      'set value.converter.ignore.default.for.nullables=true with Confluent’s converter ' +
      '(Apicurio 2.6 takes no notice of it), or use JSON',
  },
  {
    id: 'json-without-schema',
    level: 'warning',
    trapped: (c) => isJson(c) && c['value.converter.schemas.enable'] === 'false',
    message: 'records carry no types: source.modes must say how values are written',
    cure: 'set value.converter.schemas.enable=true, or fill in source.modes',
  },
  {
    id: 'conversion-failures-hidden',
    level: 'warning',
    trapped: (c) => (c['event.converting.failure.handling.mode'] ?? 'warn') !== 'fail',
    message: 'values that the connector cannot convert are sent as NULL with a warning in its log',
    cure: 'set event.converting.failure.handling.mode=fail',
  },
  {
    id: 'errors-tolerated',
    level: 'error',
    trapped: (c) => c['errors.tolerance'] === 'all',
    message: 'records that fail are dropped, and a drift check’s barrier proves nothing',
    cure: 'set errors.tolerance=none',
  },
  {
    id: 'lossy-time',
    level: 'warning',
    trapped: (c) => c['time.precision.mode'] === 'connect',
    message: 'microseconds are cut off',
    cure: 'set time.precision.mode=adaptive or microseconds',
  },
  {
    id: 'lossy-decimal',
    level: 'warning',
    trapped: (c) => c['decimal.handling.mode'] === 'double',
    message: 'numeric values are rounded to double precision',
    cure: 'set decimal.handling.mode=precise or string',
  },
  {
    id: 'lossy-interval',
    level: 'warning',
    trapped: (c) => !readsAsReplica(c) && (c['interval.handling.mode'] ?? 'numeric') === 'numeric',
    message: 'intervals with months or years are sent as microseconds and cannot be restored',
    cure: 'set interval.handling.mode=string',
  },
  {
    id: 'no-heartbeat',
    level: 'warning',
    trapped: (c) => Number(c['heartbeat.interval.ms'] ?? '0') === 0,
    message: 'an idle stream looks like a stalled one',
    cure: 'set heartbeat.interval.ms=5000',
  },
];

/** One finding per trap; a single `ok` if there is none. */
export function diagnoseConnector(
  name: string,
  settings: ReadonlyMap<string, string>,
): readonly Diagnosis[] {
  const config = Object.fromEntries(settings);
  const found = RULES.filter((rule) => rule.trapped(config)).map((rule) => ({
    id: `connector.${rule.id}`,
    level: rule.level,
    message: `connector ${name}: ${rule.message}`,
    cure: rule.cure,
  }));
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
