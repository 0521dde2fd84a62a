import { expect, test } from 'vitest';
import { diagnoseQueues, looksLikeQueue } from '../../../src/doctor/queue-tables.ts';

test.each([
  ...['jobs', 'good_jobs', 'oban_jobs', 'solid_queue_ready_executions', 'failedJobs', 'Outbox'],
  ...[
    'event_outbox',
    'delayed_job',
    'tasks',
    'job-queue',
    'outboxevent',
    'QRTZ_TRIGGERS',
    'JobQueue',
  ],
])('%s looks like a table whose rows are worked off', (name) => {
  expect(looksLikeQueue({ name })).toBe(true);
});

test.each(['orders', 'jobless', 'conqueue', 'multitasker', 'users'])('%s does not', (name) => {
  expect(looksLikeQueue({ name })).toBe(false);
});

test('they are named together, but for those that are kept apart', () => {
  const tables = ['jobs', 'orders', 'outbox', 'tasks'].map((name) => ({ schema: 'public', name }));
  const found = diagnoseQueues(tables, ({ name }) => name === 'tasks');
  expect(found.map(({ id, level }) => [id, level])).toEqual([['rollout.queues', 'ok']]);
  expect(found[0]?.message).toContain('public.jobs, public.outbox');
  expect(diagnoseQueues(tables, () => true)).toEqual([]);
});
