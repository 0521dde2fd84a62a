import { expect, it } from 'vitest';
import { controlTopics, topicSelector } from '../../../../src/source/kafka/topics.ts';

it('takes the topics of one connector and no other', () => {
  const isOurs = topicSelector({
    topicPrefix: 'prod',
    selectTopic: (topic) => topic !== 'prod.public.secret',
    extraTopics: [/^routed\./],
  });
  expect(controlTopics('prod').every(isOurs)).toBe(true);
  expect(isOurs('prod.public.orders')).toBe(true);
  expect(isOurs('prod.public.secret')).toBe(false);
  expect(isOurs('routed.orders')).toBe(true);
  for (const other of ['prod2.public.orders', 'x.prod.public.orders', 'production', 'offsets']) {
    expect(isOurs(other)).toBe(false);
  }
});

it('the predicate cannot drop transaction boundaries', () => {
  const isOurs = topicSelector({ topicPrefix: 'prod', selectTopic: () => false });
  expect(controlTopics('prod').every(isOurs)).toBe(true);
});
