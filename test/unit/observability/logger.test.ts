import pg from 'pg';
import { expect, it } from 'vitest';
import { UnderstudyError } from '../../../src/errors/understudy-error.ts';
import { createLogger, type LogLevel } from '../../../src/observability/logger.ts';

function logged(
  level: LogLevel,
  act: (logger: ReturnType<typeof createLogger>) => void,
): readonly Readonly<Record<string, unknown>>[] {
  const lines: string[] = [];
  act(createLogger({ level, write: (line) => lines.push(line) }));
  for (const line of lines) expect(line).toMatch(/^[^\n]*\n$/);
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

it('writes one JSON line per event, with its fields and those of its parents', () => {
  const lines = logged('info', (logger) => {
    logger.child({ database: 'shop' }).child({ topic: 't' }).warn('odd\nname', { offset: 7 });
  });
  expect(lines).toEqual([
    {
      ...{ level: 'warn', time: expect.any(String) as string, msg: 'odd\nname' },
      ...{ database: 'shop', topic: 't', offset: 7 },
    },
  ]);
});

it.each([
  ['debug', ['debug', 'info', 'warn', 'error']],
  ['info', ['info', 'warn', 'error']],
  ['warn', ['warn', 'error']],
  ['error', ['error']],
  ['silent', []],
] as const)('at level %s lets through %j', (level, expected) => {
  const lines = logged(level, (logger) => {
    for (const kind of ['debug', 'info', 'warn', 'error'] as const) logger[kind](kind);
  });
  expect(lines.map(({ msg }) => msg)).toEqual(expected);
});

it('tells our errors with their place, and of a database’s own only the code', () => {
  const database = new pg.DatabaseError('duplicate key: hunter2', 10, 'error');
  database.code = '23505';
  database.severity = 'ERROR';
  database.detail = 'Key (name)=(hunter2) already exists.';
  const ours = new UnderstudyError('APPLY_FAILED', 'refused', { table: 'public.t' }, database);
  const lines = logged('info', (logger) => {
    logger.error('a', { error: ours });
    logger.error('b', { error: database });
    logger.error('c', { error: new RangeError('too far') });
    logger.error('d', { error: 'a text' });
  });
  expect(lines.map(({ error }) => error)).toEqual([
    ours.describe(),
    'database error 23505',
    'RangeError: too far',
    'a text',
  ]);
  expect(JSON.stringify(lines)).not.toContain('hunter2');
});
