import { describe, expect, it } from 'vitest';
import { inspectSettings } from '../../../../src/decode/connectors/settings.ts';
import { UnderstudyError } from '../../../../src/errors/understudy-error.ts';
import { settleModes } from '../../../../src/source/connect/settle.ts';

const SETTINGS = {
  'connector.class': 'io.debezium.connector.postgresql.PostgresConnector',
  'topic.prefix': 'prod',
  'time.precision.mode': 'microseconds',
};
const inspected = (changes: Readonly<Record<string, string>> = {}) =>
  inspectSettings(new Map(Object.entries({ ...SETTINGS, ...changes })));
const DECLARED = { connector: 'postgresql', topicPrefix: 'prod', modes: {} } as const;

function catchError(act: () => unknown): UnderstudyError {
  try {
    act();
  } catch (error) {
    if (error instanceof UnderstudyError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('the modes to decode by', () => {
  it('are the connector’s, with its defaults, where nothing is declared', () => {
    expect(settleModes(DECLARED, inspected())).toMatchObject({
      time: 'microseconds',
      decimal: 'precise',
      interval: 'numeric',
    });
  });

  it('may be declared too, as they are', () => {
    const modes = { time: 'microseconds', hstore: 'json' } as const;
    expect(settleModes({ ...DECLARED, modes }, inspected())).toEqual(
      settleModes(DECLARED, inspected()),
    );
  });

  it('are the declared ones where the connector’s cannot be read', () => {
    const facts = inspected({ 'time.precision.mode': '${env:MODE}' });
    const modes = { time: 'isostring' } as const;
    expect(settleModes({ ...DECLARED, modes }, facts).time).toBe('isostring');
    expect(settleModes(DECLARED, facts).time).toBeUndefined();
  });

  it.each([
    [
      { ...DECLARED, modes: { time: 'adaptive' } } as const,
      ['source.modes.time', 'adaptive', 'time.precision.mode', 'microseconds'],
    ],
    [
      { ...DECLARED, modes: { decimal: 'string' } } as const,
      ['source.modes.decimal', 'string', 'decimal.handling.mode', 'precise'],
    ],
    [
      { ...DECLARED, topicPrefix: 'other' } as const,
      ['source.topicPrefix', 'other', 'topic.prefix', 'prod'],
    ],
    [
      { ...DECLARED, connector: 'mysql' } as const,
      ['source.connector', 'mysql', 'connector.class', 'postgresql'],
    ],
  ])('never contradict the connector', (declared, words) => {
    const failure = catchError(() => settleModes(declared, inspected()));
    expect(failure).toMatchObject({ code: 'CONFIG_INVALID' });
    const { detail } = failure.context;
    for (const word of words) expect(detail).toContain(word);
  });
});
