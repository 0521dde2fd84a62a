import { Kafka, logLevel } from 'kafkajs';

/** A kafkajs client for tests: quiet, quick to retry. Brokers are separated by commas. */
export function testKafka(broker: string, clientId = 'test'): Kafka {
  return new Kafka({
    clientId,
    brokers: broker.split(','),
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 100, maxRetryTime: 1_000, retries: 10 },
  });
}
