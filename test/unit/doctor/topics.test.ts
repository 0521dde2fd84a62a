import { describe, expect, it } from 'vitest';
import { diagnoseTopics, type TopicFacts } from '../../../src/doctor/topics.ts';
import type { TopicSettings } from '../../../src/source/change-source.ts';

const WEEK = 168 * 3_600_000;
const KEPT: TopicSettings = {
  topic: 'p.public.t',
  compacted: false,
  retentionMs: WEEK,
  retentionBytes: null,
  uncleanElection: false,
};
const FOREVER = { ...KEPT, topic: 'p.history', retentionMs: null };

function found(settings: readonly TopicSettings[], changes: Partial<TopicFacts> = {}) {
  return diagnoseTopics({
    settings,
    starts: new Map([['p.public.t/0', 0n]]),
    topicPrefix: 'p',
    historyTopic: 'p.history',
    applied: { offsets: new Map(), eventAgeMs: 1_000 },
    ...changes,
  }).map(({ id, level }) => `${level} ${id}`);
}

describe('the topics', () => {
  it('may be kept for a week, and the history for ever', () => {
    expect(found([KEPT, FOREVER])).toEqual([]);
  });

  it.each([
    ['error log.compacted', { compacted: true }],
    ['warning log.retention-short', { retentionMs: 3_600_000 }],
    ['warning log.retention-bytes', { retentionBytes: 1024 }],
    ['error log.unclean-election', { uncleanElection: true }],
  ])('are found to have %s', (finding, changes) => {
    expect(found([{ ...KEPT, ...changes }])).toEqual([finding]);
    expect(found([{ ...KEPT, ...changes, topic: '__debezium-heartbeat.p' }])).toEqual([]);
  });

  it('are judged beside how late the shadow is', () => {
    const late = { applied: { offsets: new Map(), eventAgeMs: WEEK * 0.6 } };
    expect(found([KEPT], late)).toEqual(['error log.retention-near']);
    expect(found([{ ...KEPT, retentionMs: null }], late)).toEqual([]);
  });

  it('must still hold their beginning where there is no shadow yet', () => {
    const starts = new Map([['p.public.t/0', 5n]]);
    expect(found([KEPT], { starts, applied: null })).toEqual(['error log.beginning-gone']);
    expect(found([KEPT], { starts })).toEqual([]);
    expect(found([KEPT], { applied: null })).toEqual([]);
  });

  it.each([{ retentionMs: WEEK }, { compacted: true }, { retentionBytes: 1 }])(
    'must keep the history of structure whole: %j',
    (changes) => {
      expect(found([{ ...FOREVER, ...changes }])).toEqual(['error log.history-retention']);
    },
  );
});
