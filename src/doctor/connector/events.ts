/** Which events are sent, and what of production's transactions and history they keep. */
import { listOf } from '../../decode/connectors/settings.ts';
import { MARKER_PREFIX } from '../../change/marker-prefix.ts';
import { settingsLike, word, type ConnectorRule, type ConnectorView } from './rule.ts';

const skipped = (view: ConnectorView): readonly string[] =>
  listOf(view.settings.has('skipped.operations') ? word(view, 'skipped.operations') : 't');

/** Java's regular expressions, as far as they mean the same here; null where they do not. */
function matchesAny(patterns: readonly string[], text: string): boolean | null {
  try {
    return patterns.some((pattern) => new RegExp(`^(?:${pattern})$`, 'i').test(text));
  } catch {
    return null;
  }
}

function markerHidden(view: ConnectorView): boolean {
  const include = listOf(view.settings.get('message.prefix.include.list'));
  const exclude = listOf(view.settings.get('message.prefix.exclude.list'));
  if (include.length > 0) return matchesAny(include, MARKER_PREFIX) === false;
  return matchesAny(exclude, MARKER_PREFIX) === true;
}

const otherKeys = (view: ConnectorView): string | false =>
  settingsLike(view, /^message\.key\.columns$/);

/** Do records say of which source transaction they are, which orders them between partitions? */
const keptWhole = (view: ConnectorView): boolean =>
  view.facts.form === 'debezium' && word(view, 'provide.transaction.metadata') === 'true';

export const EVENT_RULES: readonly ConnectorRule[] = [
  {
    id: 'transaction-metadata',
    level: 'warning',
    trapped: (view) => word(view, 'provide.transaction.metadata') !== 'true',
    message:
      'source transactions cannot be kept whole: the guarantee is per key only, and changes of ' +
      'tables without a key are refused',
    cure: 'set provide.transaction.metadata=true',
  },
  {
    id: 'truncates-skipped',
    level: 'error',
    trapped: (view) => skipped(view).includes('t'),
    message: 'TRUNCATE on production is not sent (the default), so the shadow keeps the rows',
    cure: 'set skipped.operations=none',
  },
  {
    id: 'operations-skipped',
    level: 'error',
    trapped: (view) => skipped(view).some((operation) => /^[cud]$/.test(operation)),
    message: 'inserts, updates or deletes are skipped by the connector',
    cure: 'set skipped.operations=none',
  },
  {
    id: 'no-tombstones',
    level: 'warning',
    trapped: (view) => word(view, 'tombstones.on.delete') === 'false',
    message: 'deletes are sent without tombstones: a compacted topic keeps deleted rows for ever',
    cure: 'set tombstones.on.delete=true',
  },
  {
    id: 'messages-excluded',
    level: 'warning',
    trapped: markerHidden,
    message:
      'logical messages are filtered, also those that mark a drift check: its position is then ' +
      'reached late, or not at all on a quiet database',
    cure: `set message.prefix.include.list so that it lets ${MARKER_PREFIX} through, or take it out`,
  },
  {
    id: 'no-heartbeat',
    level: 'warning',
    trapped: (view) => !(Number(view.settings.get('heartbeat.interval.ms') ?? '0') > 0),
    message: 'an idle stream looks like a stalled one, and its position is not committed',
    cure: 'set heartbeat.interval.ms=5000',
  },
  {
    id: 'schema-changes-hidden',
    level: 'warning',
    trapped: (view) =>
      view.facts.log === 'binlog' && word(view, 'include.schema.changes') === 'false',
    message: 'schema changes are not sent: a changed table is met by its first row only',
    cure: 'set include.schema.changes=true',
  },
  {
    id: 'key-columns',
    level: 'warning',
    trapped: (view) => keptWhole(view) && otherKeys(view),
    message:
      'records are keyed by other columns than the key, so that changes of one row may lie in ' +
      'different partitions, where their order is known by source transaction only',
    cure: 'take message.key.columns out',
  },
  {
    id: 'key-columns-unordered',
    level: 'error',
    trapped: (view) => !keptWhole(view) && otherKeys(view),
    message:
      'records are keyed by other columns than the key: under REPLICA IDENTITY DEFAULT a delete lies ' +
      'in another partition than its row, and without source transactions nothing orders the two',
    cure: 'take message.key.columns out, or set provide.transaction.metadata=true and send envelopes',
  },
  {
    id: 'columns-left-out',
    level: 'error',
    trapped: (view) => settingsLike(view, /^column\.(exclude|include)\.list$/),
    message: 'columns are left out of the records and stay empty in the shadow',
    cure: 'take it out; a shadow wants all columns of a table',
  },
  {
    id: 'columns-altered',
    level: 'error',
    // Never by name: that of a mask may hold the salt of its hash.
    trapped: (view) => settingsLike(view, /^column\.(mask|truncate)\./) !== false,
    message: 'values are masked or cut off by the connector, and every such row is drift',
    cure: 'take it out',
  },
  {
    id: 'slot-dropped',
    level: 'error',
    trapped: (view) => view.facts.log === 'slot' && word(view, 'slot.drop.on.stop') === 'true',
    message:
      'the slot goes when the connector stops, and with it what changes until the next start',
    cure: 'set slot.drop.on.stop=false',
  },
  {
    id: 'plugin',
    level: 'warning',
    trapped: (view) => view.facts.log === 'slot' && word(view, 'plugin.name') !== 'pgoutput',
    message: 'the decoding plug-in sends no logical messages, which mark a drift check’s position',
    cure: 'set plugin.name=pgoutput',
  },
];
