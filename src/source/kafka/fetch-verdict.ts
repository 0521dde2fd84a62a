import { UnderstudyError } from '../../errors/understudy-error.ts';
import type { FetchedPartition } from './fetch-response.ts';

/** Kafka's error codes that say: not here, or not here any more. */
const MOVED = new Set([
  3, // UNKNOWN_TOPIC_OR_PARTITION
  5, // LEADER_NOT_AVAILABLE
  6, // NOT_LEADER_OR_FOLLOWER
  9, // REPLICA_NOT_AVAILABLE
  74, // FENCED_LEADER_EPOCH
  75, // UNKNOWN_LEADER_EPOCH
  78, // OFFSET_NOT_AVAILABLE
  100, // UNKNOWN_TOPIC_ID
]);
const NONE = 0;
const OFFSET_OUT_OF_RANGE = 1;
const TOPIC_AUTHORIZATION_FAILED = 29;

/**
 * What a partition's part of a fetch answer is: records (perhaps none), a partition that is led
 * from elsewhere now, or an offset that the log does not hold. Throws KAFKA_UNREACHABLE for
 * everything else.
 */
export function fetchVerdict(answer: FetchedPartition): 'records' | 'moved' | 'out-of-range' {
  const { errorCode, topic, partition } = answer;
  if (errorCode === NONE) return 'records';
  if (errorCode === OFFSET_OUT_OF_RANGE) return 'out-of-range';
  if (MOVED.has(errorCode)) return 'moved';
  const what =
    errorCode === TOPIC_AUTHORIZATION_FAILED
      ? 'reading the topic is not allowed'
      : `the broker answered with error ${errorCode}`;
  throw new UnderstudyError('KAFKA_UNREACHABLE', what, { topic, partition });
}
