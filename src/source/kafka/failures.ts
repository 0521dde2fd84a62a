/**
 * What a failed call to Kafka means for the reader. kafkajs wraps the first cause in errors of
 * its own (retries exceeded, not retriable); the decision needs the cause.
 */
import { isUnderstudyError, type UnderstudyError } from '../../errors/understudy-error.ts';

export type KafkaFailure =
  /** Connections, leaders, coordinators: gone for now, and back after a new look around. */
  | { readonly kind: 'unreachable'; readonly detail: string }
  /** The cluster said no, and will say no again: authentication, authorization, versions. */
  | { readonly kind: 'refused'; readonly detail: string }
  /** A member that is not ours is in the consumer group: simple commits are refused. */
  | { readonly kind: 'foreign-member'; readonly detail: string }
  /** Already one of our errors. */
  | { readonly kind: 'ours'; readonly error: UnderstudyError }
  /** No error of Kafka's or of the network: a bug, here or in kafkajs. */
  | { readonly kind: 'unexpected'; readonly detail: string };

/** Protocol errors by which the broker refuses for good. */
const REFUSED = new Set([
  'TOPIC_AUTHORIZATION_FAILED',
  'GROUP_AUTHORIZATION_FAILED',
  'CLUSTER_AUTHORIZATION_FAILED',
  'SASL_AUTHENTICATION_FAILED',
  'UNSUPPORTED_SASL_MECHANISM',
  'UNSUPPORTED_VERSION',
  'INVALID_TOPIC_EXCEPTION',
]);

const FOREIGN_MEMBER = new Set([
  'UNKNOWN_MEMBER_ID',
  'ILLEGAL_GENERATION',
  'REBALANCE_IN_PROGRESS',
]);

/** kafkajs error names that mean the credentials or the versions do not fit. */
const REFUSED_NAMES = new Set([
  'KafkaJSSASLAuthenticationError',
  'KafkaJSServerDoesNotSupportApiKey',
]);

const WRAPPERS = new Set([
  'KafkaJSNumberOfRetriesExceeded',
  'KafkaJSNonRetriableError',
  'KafkaJSError',
]);

export function classifyFailure(error: unknown): KafkaFailure {
  if (!(error instanceof Error)) return { kind: 'unexpected', detail: String(error) };
  if (isUnderstudyError(error)) return { kind: 'ours', error };
  const type = stringProperty(error, 'type');
  if (type !== null) return byProtocolError(type);
  if (REFUSED_NAMES.has(error.name)) return { kind: 'refused', detail: error.message };
  if (WRAPPERS.has(error.name) && error.cause instanceof Error) return classifyFailure(error.cause);
  if (error.name.startsWith('KafkaJS')) return { kind: 'unreachable', detail: withBroker(error) };
  if (stringProperty(error, 'syscall') !== null) {
    return { kind: 'unreachable', detail: error.message };
  }
  return { kind: 'unexpected', detail: `${error.name}: ${error.message}` };
}

function byProtocolError(type: string): KafkaFailure {
  if (REFUSED.has(type)) return { kind: 'refused', detail: type };
  if (FOREIGN_MEMBER.has(type)) return { kind: 'foreign-member', detail: type };
  return { kind: 'unreachable', detail: type };
}

function withBroker(error: Error): string {
  const broker = stringProperty(error, 'broker');
  return broker === null ? error.message : `${error.message} (${broker})`;
}

function stringProperty(error: Error, property: string): string | null {
  const value: unknown = Object.getOwnPropertyDescriptor(error, property)?.value;
  return typeof value === 'string' ? value : null;
}
