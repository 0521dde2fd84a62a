import { UnderstudyError } from '../../errors/understudy-error.ts';
import type { KafkaClientOptions } from './cluster.ts';

/** kafkajs' client options that a configuration file can hold. */
const KNOWN = new Set([
  'brokers',
  'ssl',
  'sasl',
  'clientId',
  'connectionTimeout',
  'authenticationTimeout',
  'reauthenticationThreshold',
  'requestTimeout',
  'enforceRequestTimeout',
  'retry',
]);

/**
 * The `source.kafka` section as kafkajs takes it. kafkajs ignores what it does not know, so an
 * unknown name is CONFIG_INVALID here; the values are kafkajs' to judge.
 */
export function kafkaClientOptions(section: {
  readonly brokers: readonly string[];
  readonly [option: string]: unknown;
}): KafkaClientOptions {
  const unknown = Object.keys(section).filter((option) => !KNOWN.has(option));
  if (unknown.length > 0) {
    throw new UnderstudyError('CONFIG_INVALID', `source.kafka.${unknown[0]} is not an option`, {
      detail: `options are ${[...KNOWN].join(', ')}`,
    });
  }
  return { ...section, brokers: [...section.brokers] };
}
