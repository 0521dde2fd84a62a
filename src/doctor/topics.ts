/** Whether the topics keep what a shadow needs of them. */
import type { OffsetMap } from '../change/position.ts';
import { parsePartitionKey } from '../change/position.ts';
import type { Diagnosis } from '../dialect/dialect.ts';
import type { TopicSettings } from '../source/change-source.ts';

const HOUR_MS = 3_600_000;
/** An outage over a weekend is usual. */
const SHORT_RETENTION_MS = 72 * HOUR_MS;
const NAMED = 5;

/** What is known of the topics. `retention` of a topic concerns records not yet applied only. */
export interface TopicFacts {
  readonly settings: readonly TopicSettings[];
  readonly starts: OffsetMap;
  readonly topicPrefix: string;
  /** The connector's topic for the history of tables' structure, which it reads at its start. */
  readonly historyTopic: string | null;
  /** Null where there is no shadow database yet. */
  readonly applied: { readonly offsets: OffsetMap; readonly eventAgeMs: number | null } | null;
}

/** Topics of rows and of what belongs to them; heartbeats may be kept as anyone likes. */
export function isChangeTopic(topic: string, topicPrefix: string): boolean {
  return topic === topicPrefix || topic.startsWith(`${topicPrefix}.`);
}

export function diagnoseTopics(facts: TopicFacts): readonly Diagnosis[] {
  const changes = facts.settings.filter(
    ({ topic }) => isChangeTopic(topic, facts.topicPrefix) && topic !== facts.historyTopic,
  );
  const limited = changes.filter(({ retentionMs }) => retentionMs !== null);
  const shortest = Math.min(...limited.map(({ retentionMs }) => retentionMs ?? Infinity));
  const lag = facts.applied?.eventAgeMs ?? 0;
  const of = (topics: readonly TopicSettings[]): string => named(topics.map(({ topic }) => topic));
  const compacted = changes.filter((one) => one.compacted);
  const short = limited.filter(({ retentionMs }) => (retentionMs ?? 0) < SHORT_RETENTION_MS);
  const bounded = changes.filter(({ retentionBytes }) => retentionBytes !== null);
  const unclean = changes.filter(({ uncleanElection }) => uncleanElection);
  return [
    ...when(compacted.length > 0, {
      id: 'log.compacted',
      level: 'error',
      message:
        `compaction removes changes of rows that changed again, so that source transactions are ` +
        `never whole and a reader that is late misses deletes: ${of(compacted)}`,
      cure: 'set cleanup.policy=delete for them',
    }),
    ...when(short.length > 0, {
      id: 'log.retention-short',
      level: 'warning',
      message: `records are kept for ${hours(shortest)} only: after a longer outage there is a gap, and the shadow must be made anew: ${of(short)}`,
      cure: 'set retention.ms to a week or more',
    }),
    ...when(lag > shortest / 2, {
      id: 'log.retention-near',
      level: 'error',
      message: `the shadow is ${hours(lag)} late, and records are kept for ${hours(shortest)} only`,
      cure: 'raise retention.ms now, and let `understudy run` catch up',
    }),
    ...when(bounded.length > 0, {
      id: 'log.retention-bytes',
      level: 'warning',
      message: `records are removed by size, so a busy day may remove what was not read: ${of(bounded)}`,
      cure: 'set retention.bytes=-1, and limit by retention.ms',
    }),
    ...when(unclean.length > 0, {
      id: 'log.unclean-election',
      level: 'error',
      message: `a broker that lacks records may become the leader, and they are gone in silence: ${of(unclean)}`,
      cure: 'set unclean.leader.election.enable=false',
    }),
    ...diagnoseBeginning(facts),
    ...diagnoseHistory(facts),
  ];
}

/** Without a shadow, the first record must still be there: it is where a new shadow begins. */
function diagnoseBeginning(facts: TopicFacts): readonly Diagnosis[] {
  if (facts.applied !== null) return [];
  const cut = [...facts.starts]
    .filter(([key, start]) => {
      const { topic } = parsePartitionKey(key);
      return start > 0n && topic.startsWith(`${facts.topicPrefix}.`);
    })
    .map(([key]) => parsePartitionKey(key).topic);
  return when(cut.length > 0, {
    id: 'log.beginning-gone',
    level: 'error',
    message: `the topics no longer hold their beginning: a new shadow would lack the rows of the snapshot: ${named([...new Set(cut)])}`,
    cure: 'signal an incremental snapshot of these tables, or let the connector snapshot anew',
  });
}

function diagnoseHistory(facts: TopicFacts): readonly Diagnosis[] {
  const history = facts.settings.find(({ topic }) => topic === facts.historyTopic);
  if (history === undefined) return [];
  return when(
    history.compacted || history.retentionMs !== null || history.retentionBytes !== null,
    {
      id: 'log.history-retention',
      level: 'error',
      message: `${history.topic} loses the history of the tables’ structure, and the connector cannot start again`,
      cure: 'set cleanup.policy=delete, retention.ms=-1 and retention.bytes=-1 for it',
    },
  );
}

function when(is: boolean, finding: Diagnosis): readonly Diagnosis[] {
  return is ? [finding] : [];
}

function hours(ms: number): string {
  return `${Math.round(ms / HOUR_MS)} h`;
}

function named(topics: readonly string[]): string {
  const sorted = topics.toSorted();
  const more = sorted.length > NAMED ? ` and ${sorted.length - NAMED} more` : '';
  return `${sorted.slice(0, NAMED).join(', ')}${more}`;
}
