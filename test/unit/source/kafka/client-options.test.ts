import { expect, it } from 'vitest';
import { kafkaClientOptions } from '../../../../src/source/kafka/client-options.ts';

it('hands known options on as they are, and names the first that is not one', () => {
  const section = {
    brokers: ['a:9092'],
    ssl: true,
    sasl: { mechanism: 'plain', username: 'u', password: 'p' },
  };
  expect(kafkaClientOptions(section)).toEqual(section);
  expect(() => kafkaClientOptions({ brokers: [], tls: true })).toThrow('source.kafka.tls');
});
