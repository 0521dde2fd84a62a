/**
 * Tables whose rows somebody works off: a candidate's workers would find production's jobs there, and do them
 * a second time, with mails and payments. They are told by their names alone.
 */
import { tableName, type TableId } from '../change/table-id.ts';
import type { Diagnosis } from '../dialect/dialect.ts';

const WORDS: ReadonlySet<string> = new Set([
  ...['job', 'jobs', 'queue', 'queues', 'queued', 'outbox', 'outboxes'],
  ...['task', 'tasks', 'schedule', 'schedules', 'scheduled', 'delayed'],
  ...['jobqueue', 'taskqueue', 'mailqueue', 'messagequeue'],
  // Of Debezium’s own outbox, and of Quartz.
  ...['outboxevent', 'outboxevents', 'qrtz'],
]);

/** By the words of its name, in whichever way they are put together. */
export function looksLikeQueue({ name }: Pick<TableId, 'name'>): boolean {
  const words = name.replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2').toLowerCase();
  return words.split(/[^a-z]+/).some((word) => WORDS.has(word));
}

/** One finding for all of them; none where there are none. `isolates`: those that `overlay.isolate` names. */
export function diagnoseQueues(
  tables: Iterable<TableId>,
  isolates: (table: TableId) => boolean,
): readonly Diagnosis[] {
  const open = [...tables].filter((table) => looksLikeQueue(table) && !isolates(table));
  if (open.length === 0) return [];
  const names = open.map(tableName).toSorted().join(', ');
  return [
    {
      ...{ id: 'rollout.queues', level: 'ok', cure: null },
      message:
        `by their names rows of ${names} are worked off: rollouts follow them, and a candidate’s ` +
        'workers would do production’s jobs again; overlay.isolate keeps such tables apart',
    },
  ];
}
