/** Whether every record reaches its topic, once, in order. */
import { settingsLike, word, type ConnectorRule, type ConnectorView } from './rule.ts';

const acks = (view: ConnectorView): string => word(view, 'producer.override.acks');

function reorders(view: ConnectorView): boolean {
  const inFlight = view.settings.get('producer.override.max.in.flight.requests.per.connection');
  if (!(Number(inFlight ?? '1') > 1)) return false;
  return word(view, 'producer.override.enable.idempotence') !== 'true';
}

export const DELIVERY_RULES: readonly ConnectorRule[] = [
  {
    id: 'errors-tolerated',
    level: 'error',
    trapped: (view) => !['', 'none'].includes(word(view, 'errors.tolerance')),
    message: 'records that fail are dropped, and a drift check’s barrier proves nothing',
    cure: 'set errors.tolerance=none',
  },
  {
    id: 'dead-letter-queue',
    level: 'warning',
    trapped: (view) => settingsLike(view, /^errors\.deadletterqueue\.topic\.name$/),
    message: 'Kafka Connect has no dead letter queue for what it reads from a database',
    cure: 'take errors.deadletterqueue.* out, and set errors.tolerance=none',
  },
  {
    id: 'acks',
    level: 'error',
    trapped: (view) => !['', 'all', '-1'].includes(acks(view)),
    message:
      'records count as written before all replicas have them: a broker that fails loses changes, ' +
      'and no committed offset proves anything',
    cure: 'set producer.override.acks=all, or take it out',
  },
  {
    id: 'reordering',
    level: 'error',
    trapped: reorders,
    message: 'a record that is sent again may come behind later changes of its row',
    cure: 'take producer.override.max.in.flight.requests.per.connection out',
  },
];
