import { expect, it } from 'vitest';
import { parseConfig } from '../../../src/config/load.ts';
import { UnderstudyError } from '../../../src/errors/understudy-error.ts';
import { silentLogger } from '../../../src/observability/logger.ts';
import { inspectSource } from '../../../src/runtime/inspected-source.ts';

const config = (source: object) =>
  parseConfig(
    JSON.stringify({
      source: { topicPrefix: 'p', modes: { time: 'connect' }, ...source },
      shadow: 'embedded',
    }),
    { file: 'understudy.yaml', env: {} },
  );
const KAFKA = config({ kafka: { brokers: ['b:9092'] } });
const settings = new Map([
  ['connector.class', 'io.debezium.connector.postgresql.PostgresConnector'],
  ['topic.prefix', 'p'],
  ['time.precision.mode', 'connect'],
]);
const connector = { config: () => Promise.resolve(settings) };
const failing = (error: Error) => ({ config: () => Promise.reject(error) });

it('takes the modes of the running connector', async () => {
  const { source } = await inspectSource(KAFKA, connector, silentLogger);
  expect(source.modes).toMatchObject({ time: 'connect', decimal: 'precise', binary: 'bytes' });
});

it('holds to what is declared where there is nobody to ask', async () => {
  expect(await inspectSource(KAFKA, null, silentLogger)).toBe(KAFKA);
  for (const code of ['CONNECT_UNREACHABLE', 'CONNECTOR_MISSING'] as const) {
    const away = failing(new UnderstudyError(code, 'away'));
    expect(await inspectSource(KAFKA, away, silentLogger)).toBe(KAFKA);
  }
});

it('reads a recording by what is declared: its connector may have been another', async () => {
  const recording = config({ recording: './x.recording' });
  expect(await inspectSource(recording, connector, silentLogger)).toBe(recording);
});

it('passes on what is neither', async () => {
  await expect(inspectSource(KAFKA, failing(new TypeError('a bug')), silentLogger)).rejects.toThrow(
    'a bug',
  );
});
