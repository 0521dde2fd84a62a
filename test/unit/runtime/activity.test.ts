import { describe, expect, it } from 'vitest';
import type { FollowingNote } from '../../../src/dialect/dialect.ts';
import { activityOf, type ActivityFacts } from '../../../src/runtime/activity.ts';

const CALM: FollowingNote = {
  trouble: null,
  ...{ silentMs: 900, heartbeatMs: 900, heartbeatEveryMs: 5_000, unwrittenMs: 900, waitsFor: null },
};

function facts(
  note: Partial<FollowingNote> | null,
  more: Partial<Omit<ActivityFacts, 'fence'>> & { readonly silentMs?: number } = {},
): ActivityFacts {
  const { silentMs = 100, ...rest } = more;
  const following = note === null ? {} : { following: { ...CALM, ...note } };
  return {
    fence: {
      ...{ generation: 3n, holder: 'host/1/ab', silentMs, free: false },
      note: { state: 'following', oldestTransactionMs: null, degraded: 0, ...following },
    },
    ...{ leaseMs: 10_000, behind: 0, heartbeats: true, connector: null },
    ...rest,
  };
}

describe('what a database does', () => {
  it('is idle while heartbeats come and all is applied', () => {
    expect(activityOf(facts({}))).toEqual({ kind: 'idle', forMs: 1_000, reason: null });
    expect(activityOf(facts({ silentMs: 14_000, heartbeatMs: 14_000 })).kind).toBe('idle');
  });

  it('is stalled when heartbeats came and come no more', () => {
    const late = { silentMs: 15_000, heartbeatMs: 15_000 };
    const stalled = activityOf(facts(late));
    expect(stalled).toMatchObject({ kind: 'stalled', forMs: 15_100 });
    expect(stalled.reason).toContain('no heartbeat');
    // Another interval, and one that is not known yet.
    expect(activityOf(facts({ ...late, heartbeatEveryMs: 30_000 })).kind).toBe('idle');
    const since = { heartbeatMs: null, heartbeatEveryMs: null };
    expect(activityOf(facts({ ...since, silentMs: 59_000 })).kind).toBe('idle');
    expect(activityOf(facts({ ...since, silentMs: 61_000 })).kind).toBe('stalled');
  });

  it('is quiet where nothing tells whether the connector lives', () => {
    const note = { silentMs: 500_000, heartbeatMs: null, heartbeatEveryMs: null };
    const quiet = activityOf(facts(note, { heartbeats: false }));
    expect(quiet).toMatchObject({ kind: 'quiet', forMs: 500_100 });
    expect(quiet.reason).toContain('heartbeat.interval.ms');
    const failed = activityOf(facts(note, { heartbeats: false, connector: 'task 0 is FAILED' }));
    expect(failed).toMatchObject({ kind: 'stalled', reason: 'task 0 is FAILED' });
  });

  it('is working while something is to be applied and is', () => {
    expect(activityOf(facts({}, { behind: 7 })).kind).toBe('working');
    // One large batch is being written, while more comes.
    expect(activityOf(facts({ unwrittenMs: 60_000 }, { behind: 7 })).kind).toBe('working');
    expect(activityOf(facts(null)).kind).toBe('working');
  });

  it('is stalled by an incomplete transaction, whose id it tells', () => {
    const note = { waitsFor: '7:0/1A', unwrittenMs: 12_000 };
    const stalled = activityOf(facts(note, { behind: 7 }));
    expect(stalled).toMatchObject({ kind: 'stalled', forMs: 12_100 });
    expect(stalled.reason).toContain('source transaction 7:0/1A');
    expect(activityOf(facts({ ...note, unwrittenMs: 900 }, { behind: 7 })).kind).toBe('working');
  });

  it('is stalled when records that are there do not come', () => {
    const note = { silentMs: 20_000, unwrittenMs: 20_000 };
    expect(activityOf(facts(note, { behind: 7 }))).toMatchObject({
      ...{ kind: 'stalled', forMs: 20_100 },
      reason: expect.stringContaining('do not come') as string,
    });
  });

  it('is stalled by whatever it cannot do, with the reason as it was told', () => {
    const trouble = { what: 'SHADOW_UNREACHABLE: could not apply', sinceMs: 4_000 };
    expect(activityOf(facts({ trouble }, { behind: null }))).toEqual({
      ...{ kind: 'stalled', forMs: 4_100, reason: trouble.what },
    });
  });

  it('is stalled when its holder is silent, and stopped when that is over', () => {
    const silent = facts({}, { silentMs: 6_100 });
    expect(activityOf(silent)).toMatchObject({ kind: 'stalled', forMs: 6_100 });
    expect(activityOf({ ...silent, fence: { ...silent.fence, free: true } }).kind).toBe('stopped');
  });

  it('is idle at the end of a recording', () => {
    const ended = facts({ silentMs: 900_000 });
    const note = { state: 'log ended', oldestTransactionMs: null, degraded: 0 };
    expect(activityOf({ ...ended, fence: { ...ended.fence, note } }).kind).toBe('idle');
  });
});
