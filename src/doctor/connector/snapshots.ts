/** Whether the rows that were there before the stream arrive, and with which structure. */
import { settingsLike, word, type ConnectorRule, type ConnectorView } from './rule.ts';

const mode = (view: ConnectorView): string => word(view, 'snapshot.mode');

const isUnlocked = (view: ConnectorView): boolean =>
  view.facts.log === 'binlog' && word(view, 'snapshot.locking.mode') === 'none';

export const SNAPSHOT_RULES: readonly ConnectorRule[] = [
  {
    id: 'no-snapshot',
    level: 'error',
    trapped: (view) => ['never', 'no_data', 'schema_only', 'recovery'].includes(mode(view)),
    message: 'rows from before the connector’s start are never sent, and the shadow lacks them',
    cure: 'set snapshot.mode=initial before the first start; now, signal a snapshot of the tables',
  },
  {
    id: 'snapshot-only',
    level: 'error',
    trapped: (view) => mode(view) === 'initial_only',
    message: 'the connector ends after its snapshot: no change is ever sent',
    cure: 'set snapshot.mode=initial',
  },
  {
    id: 'snapshot-repeated',
    level: 'warning',
    trapped: (view) => ['always', 'when_needed'].includes(mode(view)),
    message:
      'the connector may snapshot again when it starts: rows deleted in between stay in the shadow',
    cure: 'set snapshot.mode=initial',
  },
  {
    id: 'snapshot-partial',
    level: 'error',
    trapped: (view) =>
      settingsLike(view, /^snapshot\.(select\.statement\.overrides|include\.collection\.list)/),
    message: 'the snapshot leaves out rows or tables, and the shadow lacks them',
    cure: 'take it out before the first start; now, signal a snapshot of the tables',
  },
  {
    id: 'snapshot-isolation',
    level: 'error',
    trapped: (view) => /^read_(un)?committed$/.test(word(view, 'snapshot.isolation.mode')),
    message: 'the snapshot is of no one point in time: rows may be missing or be twice',
    cure: 'set snapshot.isolation.mode=repeatable_read',
  },
  {
    // The statements that it sends, and what they see, were looked at on both servers.
    id: 'snapshot-unlocked',
    level: 'error',
    trapped: (view) => isUnlocked(view) && view.facts.seesBeforePosition,
    message:
      'changes that are committed while the snapshot begins are lost, and a table that is altered meanwhile is read by its old structure',
    cure: 'set snapshot.locking.mode=minimal and let the connector begin anew, or write nothing meanwhile',
  },
  {
    id: 'snapshot-alters',
    level: 'warning',
    trapped: (view) => isUnlocked(view) && !view.facts.seesBeforePosition,
    message: 'a table that is altered while the snapshot runs is read by its old structure',
    cure: 'set snapshot.locking.mode=minimal, or alter no table meanwhile',
  },
  {
    id: 'snapshot-parallel',
    level: 'warning',
    trapped: (view) => Number(view.settings.get('snapshot.max.threads') ?? '1') > 1,
    message: 'threads of a parallel snapshot may see different states of production (dbz#2330)',
    cure: 'set snapshot.max.threads=1',
  },
  {
    id: 'history-missing',
    level: 'error',
    trapped: (view) =>
      view.facts.log === 'binlog' &&
      ['', 'io.debezium.storage.kafka.history.kafkaschemahistory'].includes(
        word(view, 'schema.history.internal'),
      ) &&
      !view.settings.has('schema.history.internal.kafka.topic'),
    message: 'the connector has no place for the history of the tables’ structure and cannot start',
    cure: 'set schema.history.internal.kafka.topic and ….kafka.bootstrap.servers',
  },
  {
    id: 'history-in-memory',
    level: 'error',
    trapped: (view) => word(view, 'schema.history.internal').endsWith('.memoryschemahistory'),
    message: 'the history of the tables’ structure is lost with every restart of the connector',
    cure: 'set schema.history.internal.kafka.topic, and take schema.history.internal out',
  },
  {
    id: 'history-incomplete',
    level: 'error',
    trapped: (view) => word(view, 'schema.history.internal.skip.unparseable.ddl') === 'true',
    message:
      'DDL that the connector cannot read is skipped: rows after it are read by an old structure',
    cure: 'set schema.history.internal.skip.unparseable.ddl=false',
  },
];
