/** What a database does, or waits for: the idle told from the stalled. */
import type { FenceState, FollowingNote } from '../dialect/dialect.ts';

/**
 * - `working`: there is something to apply, and it gets on.
 * - `idle`: all is applied, and the connector's heartbeats say that it is alive.
 * - `quiet`: all that came is applied, and nothing tells an idle production from a connector that
 *   stands still.
 * - `stalled`: it does not get on, for the reason given.
 * - `stopped`: nobody follows.
 */
export interface Activity {
  readonly kind: 'working' | 'idle' | 'quiet' | 'stalled' | 'stopped';
  /** How long it has been so, as far as that is known: of `idle`, since the last heartbeat. */
  readonly forMs: number | null;
  /** Of `stalled` and `quiet`: what it waits for, and what to do. Null for the others. */
  readonly reason: string | null;
}

export interface ActivityFacts {
  readonly fence: FenceState;
  /** How long a holder may be silent before others take over. */
  readonly leaseMs: number;
  /** Records in the log, heartbeats aside, that are not applied; null if the log did not answer. */
  readonly behind: number | null;
  /** The log has heartbeats of the connector. */
  readonly heartbeats: boolean;
  /** What keeps the connector from sending, by Kafka Connect's word; null if nothing is known to. */
  readonly connector: string | null;
}

/** Longer than any pause of a follower that gets on. */
const STALL_MS = 10_000;
/** Of the connector's interval, how many may pass without a heartbeat. */
const MISSED_HEARTBEATS = 3;
/** Where the interval is not known: longer than it mostly is. */
const NO_HEARTBEAT_MS = 60_000;

export function activityOf(facts: ActivityFacts): Activity {
  const { fence, leaseMs } = facts;
  if (fence.free) return { kind: 'stopped', forMs: null, reason: null };
  const silentMs = fence.silentMs ?? 0;
  if (silentMs > (leaseMs * 3) / 5) {
    const reason = 'its holder gives no sign of life; a stand-by takes over when the lease is over';
    return { kind: 'stalled', forMs: silentMs, reason };
  }
  if (fence.note?.state === 'log ended') return { kind: 'idle', forMs: null, reason: null };
  const note = fence.note?.following;
  if (note === undefined) return { kind: 'working', forMs: null, reason: null };
  if (note.trouble !== null) {
    return { kind: 'stalled', forMs: note.trouble.sinceMs + silentMs, reason: note.trouble.what };
  }
  return note.waitsFor !== null || (facts.behind ?? 0) > 0
    ? behind(note, silentMs)
    : caughtUp(facts, note, silentMs);
}

function behind(note: FollowingNote, silentMs: number): Activity {
  const forMs = note.unwrittenMs + silentMs;
  if (forMs < STALL_MS) return { kind: 'working', forMs: null, reason: null };
  if (note.waitsFor !== null) {
    const reason = `source transaction ${note.waitsFor} is incomplete, and what follows it waits; after apply.stallLimitSeconds it goes on in parts`;
    return { kind: 'stalled', forMs, reason };
  }
  if (note.silentMs + silentMs < STALL_MS) return { kind: 'working', forMs, reason: null };
  const reason = 'the log has records that do not come: see the log of the process that follows';
  return { kind: 'stalled', forMs: note.silentMs + silentMs, reason };
}

function caughtUp(facts: ActivityFacts, note: FollowingNote, silentMs: number): Activity {
  const quietMs = note.silentMs + silentMs;
  if (facts.connector !== null) return { kind: 'stalled', forMs: quietMs, reason: facts.connector };
  if (!facts.heartbeats && note.heartbeatMs === null) {
    const reason =
      'the connector sends no heartbeats, so that an idle production looks like a connector that ' +
      'stands still; set its heartbeat.interval.ms';
    return { kind: 'quiet', forMs: quietMs, reason };
  }
  const limit =
    note.heartbeatEveryMs === null
      ? NO_HEARTBEAT_MS
      : Math.max(STALL_MS, note.heartbeatEveryMs * MISSED_HEARTBEATS);
  if (quietMs > limit) {
    const reason = 'no heartbeat of the connector comes any more: see its state in Kafka Connect';
    return { kind: 'stalled', forMs: quietMs, reason };
  }
  const heartbeatMs = note.heartbeatMs === null ? null : note.heartbeatMs + silentMs;
  return { kind: 'idle', forMs: heartbeatMs, reason: null };
}
